package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"parley/cmd/parley/settings"
)

const (
	// healthTimeout bounds one question; a supervisor's own limit should be above it.
	healthTimeout = 5 * time.Second
	// whyBytesMax bounds what is read of an answer.
	whyBytesMax = 4 << 10
)

func newHealth(t *terminal) *cobra.Command {
	command := &cobra.Command{
		Use: "health", Short: "Say whether the node of this configuration serves", Args: between(0, 0, "none"),
		Long: "Asks the node that 'parley serve' with the same configuration runs on this machine, at admin-addr or\n" +
			"else http-addr. Exit code 0 says that it is ready, or with --live that it answers. It is for what\n" +
			"supervises containers and services.",
		RunE: func(command *cobra.Command, _ []string) error { return checkHealth(t, command) },
	}
	settings.Flags(command.Flags())
	command.Flags().Bool("live", false, "ask only whether the process answers (/healthz), not whether it serves (/readyz)")
	return command
}

func checkHealth(t *terminal, command *cobra.Command) error {
	loaded, err := loadSettings(t, command)
	if err != nil {
		return err
	}
	path := "/readyz"
	if flagSet(command, "live") {
		path = "/healthz"
	}
	address, err := nearest(cmp.Or(loaded.Settings.AdminAddr, loaded.Settings.HTTPAddr))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(command.Context(), healthTimeout)
	defer cancel()
	why, err := askHealth(ctx, "http://"+address+path)
	if err != nil {
		return err
	}
	if flagSet(command, "json") {
		return printJSON(t.out, map[string]string{"health": why})
	}
	_, err = fmt.Fprintln(t.out, why)
	return err
}

// nearest is where a process on the same machine reaches an address that a node listens on.
func nearest(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	if port == "0" {
		return "", usagef("the port of %s is chosen anew at each start: give the one that 'parley serve' has printed", address)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip != nil && ip.To4() == nil {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port), nil
}

// askHealth gives the node's words, as an error when they are no yes.
func askHealth(ctx context.Context, address string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", err
	}
	direct := &http.Transport{DisableKeepAlives: true} // no proxy of the environment stands between
	answer, err := (&http.Client{Transport: direct}).Do(request)
	if err != nil {
		return "", fmt.Errorf("nobody answers: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, whyBytesMax))
	if err != nil {
		return "", fmt.Errorf("nobody answers: %w", err)
	}
	why := strings.TrimSpace(string(text))
	if answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("not healthy: %s", cmp.Or(why, answer.Status))
	}
	return why, nil
}
