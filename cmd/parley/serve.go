package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"parley/cmd/parley/node"
	"parley/cmd/parley/settings"
	"parley/internal/telemetry"
)

func newServe(t *terminal) *cobra.Command {
	command := &cobra.Command{
		Use: "serve", Short: "Start a node",
		Long: "Start a node. Every flag is also a key of the configuration file and a variable: --http-addr is http-addr\n" +
			"and PARLEY_HTTP_ADDR. PARLEY_API_KEY and PARLEY_API_SECRET set the first credentials at the first start.\n" +
			"SIGTERM stops the node in order; with --certs-dir SIGHUP has it read the files there again.",
		Args: between(0, 0, "none"),
		RunE: func(command *cobra.Command, _ []string) error {
			loaded, err := loadSettings(t, command)
			if err != nil {
				return err
			}
			reload := make(chan os.Signal, 1) // one that waits stands for any number
			// Without files to read again a supervisor's reload changes nothing. Only at a terminal does the
			// signal then mean what it means to any program: that this was closed.
			if loaded.Settings.CertsDir != "" || !t.interactive {
				signal.Notify(reload, syscall.SIGHUP)
				defer signal.Stop(reload)
			}
			return withParent(command, func(ctx context.Context) error {
				n, err := open(t, ctx, node.Options{Settings: loaded.Settings, Reload: reload})
				if errors.Is(err, node.ErrStopped) { // as it was asked to: no failure to whoever supervises it
					_, err = fmt.Fprintln(t.err, err)
					return err
				}
				if err != nil {
					return err
				}
				if err := announce(command, n, loaded.Settings.DataDir); err != nil {
					return errors.Join(err, n.Close())
				}
				return n.Run(ctx)
			})
		},
	}
	settings.Flags(command.Flags())
	command.Flags().Int(parentFlag, 0, "stop when the process with this id, which started the node, has ended")
	_ = command.Flags().MarkHidden(parentFlag) // there is such a flag
	return command
}

const (
	parentFlag      = "parent"
	parentLookEvery = time.Second
)

// withParent runs a node until the process that it belongs to has ended, if it belongs to one.
func withParent(command *cobra.Command, run func(context.Context) error) error {
	parent, err := command.Flags().GetInt(parentFlag)
	if err != nil || parent == 0 {
		return errors.Join(err, run(command.Context()))
	}
	ctx, stop := context.WithCancel(command.Context())
	var group errgroup.Group
	group.Go(func() error {
		defer stop()
		ticker := time.NewTicker(parentLookEvery)
		defer ticker.Stop()
		for os.Getppid() == parent { // an orphan is given another
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return nil
			}
		}
		return nil
	})
	err = run(ctx)
	stop()
	return errors.Join(err, group.Wait())
}

// open starts a node that logs to standard error.
func open(t *terminal, ctx context.Context, o node.Options) (*node.Node, error) {
	logOptions, err := o.Settings.LogOptions()
	if err != nil {
		return nil, err
	}
	if o.Logger, err = telemetry.NewLogger(t.err, logOptions); err != nil {
		return nil, err
	}
	return node.Open(ctx, o)
}

// announce tells where things are, and the credentials that nobody will see again.
func announce(command *cobra.Command, n *node.Node, dataDir string) error {
	url, c, w := n.Addresses().HTTPURL(), n.Credentials(), command.OutOrStdout()
	if absolute, err := filepath.Abs(dataDir); err == nil {
		dataDir = absolute
	}
	if flagSet(command, "json") {
		object := map[string]any{"http_url": url, "demo_url": url + "/demo", "docs_url": url + "/docs",
			"data_dir": dataDir, "addresses": n.Addresses()}
		if c.Fresh {
			object["api_key"], object["api_secret"] = c.APIKey, c.APISecret
		}
		return printJSON(w, object)
	}
	printPlaces(w, n, dataDir)
	if c.Fresh {
		fmt.Fprintf(w, "\nFirst start: here are your API key and secret. The secret is not shown again.\n\n"+
			"  API key      %s\n  API secret   %s\n\n  Keep them for the command line:\n    parley setup %s %s%s\n",
			c.APIKey, c.APISecret, c.APIKey, c.APISecret, elsewhere(url))
	}
	_, err := fmt.Fprintf(w, "\nStop with Ctrl-C.\n")
	return err
}

// elsewhere is what commands need to know of a node that is not where they look for it.
func elsewhere(url string) string {
	if url == defaultURL() {
		return ""
	}
	return " --url " + url
}

func printPlaces(w io.Writer, n *node.Node, dataDir string) {
	a := n.Addresses()
	url := a.HTTPURL()
	fmt.Fprintf(w, "Parley is ready.\n\n")
	if n.ServesClients() {
		fmt.Fprintf(w, "  Demo page    %s/demo\n  API          %s/v1\n  API docs     %s/docs\n  Realtime     %s/v1/realtime\n",
			url, url, url, "ws"+url[len("http"):])
	} else {
		fmt.Fprintf(w, "  Operators    %s (no clients: the role edge is not this node's)\n", url)
	}
	fmt.Fprintf(w, "  Data         %s\n  Nodes join   %s (gossip), rpc %s, raft %s\n", dataDir, a.Gossip, a.RPC, a.Raft)
	if admin := a.AdminURL(); admin != "" {
		fmt.Fprintf(w, "  Admin        %s/metrics\n", admin)
	}
}
