package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"parley/cmd/parley/node"
	"parley/cmd/parley/settings"
)

// TestAFleetSharesNoAddress: what the variables say of the first node's addresses and directory is not for the others.
func TestAFleetSharesNoAddress(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	settings.Flags(flags)
	flags.Int(parentFlag, 0, "")
	if err := flags.Parse(fleetArgs(settings.Default(), "node-2", "/data/node-2", "127.0.0.1:7946")[1:]); err != nil {
		t.Fatal(err)
	}
	const taken = "127.0.0.1:9090"
	loaded, err := settings.Load(flags, []string{"PARLEY_DATA_DIR=/data", "PARLEY_NODE_NAME=n1", "PARLEY_HTTP_ADDR=" + taken, "PARLEY_ADMIN_ADDR=" + taken,
		"PARLEY_GOSSIP_ADDR=" + taken, "PARLEY_RPC_ADDR=" + taken, "PARLEY_RAFT_ADDR=" + taken})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"data-dir", "node-name", "http-addr", "admin-addr", "gossip-addr", "rpc-addr", "raft-addr"} {
		if got := loaded.Source(name); got != settings.FromFlag {
			t.Errorf("%s is %q, from the %s", name, loaded.Value(name), got)
		}
	}
}

// TestANodeOfAFleetEnds: why, is told before its log goes with the temporary directory.
func TestANodeOfAFleetEnds(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, fleetLog), []byte("level=INFO msg=opened\nError: admin-addr: address already in use\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &fleet{dirs: []string{dir}, ended: make(chan string, 1)}
	f.ended <- dir
	s := newShell(t)
	err := f.await(t.Context(), newDisplay(s.terminal()), "http://127.0.0.1:1", node.Credentials{})
	if err == nil || !strings.HasSuffix(err.Error(), "Error: admin-addr: address already in use") {
		t.Errorf("told %v", err)
	}
}
