package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"parley/cmd/parley/client"
	"parley/edge/admin"
)

// operator is a connection to the cluster with the operator's credentials. It begins at one node,
// and goes on at another when that one stops, for example because it was the one to remove.
type operator struct {
	*target
	auth   client.Authorization
	others []string // where the nodes that were seen last serve HTTP
}

func openOperator(t *terminal, command *cobra.Command) (*operator, error) {
	g, err := openTarget(t, command)
	if err != nil {
		return nil, err
	}
	auth, err := g.asOperator()
	if err != nil {
		g.node.Close()
		return nil, err
	}
	return &operator{target: g, auth: auth}, nil
}

func (o *operator) close() { o.node.Close() }

func (o *operator) status(ctx context.Context) (*admin.Status, error) {
	s := &admin.Status{}
	if err := o.node.Call(ctx, o.auth, http.MethodGet, admin.Prefix+"status", nil, s); err != nil {
		return nil, err
	}
	o.others = o.others[:0]
	for _, n := range s.Nodes {
		if n.Live && n.HTTP != "" {
			o.others = append(o.others, n.HTTP)
		}
	}
	return s, nil
}

// change asks for something to be done.
func (o *operator) change(ctx context.Context, path string, body any) error {
	return o.node.Call(ctx, o.auth, http.MethodPost, admin.Prefix+path, body, nil)
}

// moveOn turns to another node. To a cluster behind TLS there is one address, whose business that is.
func (o *operator) moveOn() {
	if strings.HasPrefix(o.node.URL(""), "https:") || len(o.others) == 0 {
		return
	}
	next, err := client.New("http://" + o.others[0])
	o.others = append(o.others[1:], o.others[0])
	if err != nil {
		return
	}
	o.node.Close()
	o.node = next
}

// interactive says whether a person can answer.
func interactive(in *os.File) bool {
	now, err := in.Stat()
	if err != nil || now.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	nowhere, err := os.Stat(os.DevNull)
	return err != nil || !sameDevice(now, nowhere)
}

// sameDevice compares what two files stand for: a supervised service has a /dev of its own, and its standard
// input is the null device of another.
func sameDevice(a, b os.FileInfo) bool {
	one, ok := a.Sys().(*syscall.Stat_t)
	two, too := b.Sys().(*syscall.Stat_t)
	return ok && too && one.Rdev == two.Rdev
}

// confirm says what will happen and asks, unless --yes. Where nobody can answer it does not ask: a
// script that forgot --yes learns so from its exit code.
func confirm(t *terminal, command *cobra.Command, what string) error {
	fmt.Fprintln(t.err, what)
	switch {
	case flagSet(command, "yes"):
		return nil
	case !t.interactive:
		return usagef("nobody can be asked, because standard input is no terminal: nothing was done; give --yes to do it")
	}
	fmt.Fprint(t.err, "Go on? [y/N] ")
	var answer string
	_, _ = fmt.Fscanln(t.in, &answer) // nothing means no
	if a := strings.ToLower(answer); a != "y" && a != "yes" {
		return errors.New("not confirmed: nothing was done (--yes does not ask)")
	}
	return nil
}

const (
	// watchEvery is how often progress is looked at.
	watchEvery = 300 * time.Millisecond
	// watchMisses is how many looks in a row may fail, of all nodes in turn, before watching ends:
	// half a minute at least.
	watchMisses = 100
)

// task is something that the cluster does, and how to see how far it is.
type task struct {
	name string
	// remaining says what is left to do; empty when nothing is.
	remaining func(*admin.Status) string
}

// watch shows how much remains until nothing does. To interrupt it stops the watching alone; the
// same command begins to watch again.
func watch(t *terminal, command *cobra.Command, o *operator, of task) error {
	ctx := command.Context()
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	shown, misses := newDisplay(t), 0
	defer shown.end()
	for {
		s, err := o.status(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("%s goes on without this command; give it again to watch", of.name)
		}
		if err == nil {
			misses = 0
			left := of.remaining(s)
			if left == "" {
				shown.end()
				return done(command, of.name)
			}
			shown.tell(of.name + ": " + left)
		} else if misses++; misses >= watchMisses {
			return fmt.Errorf("%s goes on, but nobody says how far it is; give the command again to watch: %w", of.name, err)
		} else {
			o.moveOn()
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

func begun(command *cobra.Command, what string) error {
	if flagSet(command, "json") {
		return printJSON(command.OutOrStdout(), map[string]string{"begun": what})
	}
	_, err := fmt.Fprintf(command.OutOrStdout(), "Begun: %s. See 'parley cluster status'.\n", what)
	return err
}

func done(command *cobra.Command, what string) error {
	if flagSet(command, "json") {
		return printJSON(command.OutOrStdout(), map[string]string{"done": what})
	}
	_, err := fmt.Fprintf(command.OutOrStdout(), "Done: %s\n", what)
	return err
}
