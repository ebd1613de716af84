package main

import (
	"context"
	"io"
	"strings"
	"testing"
)

// stopAt stops a node when its log says text.
type stopAt struct {
	text string
	stop context.CancelFunc
	out  io.Writer
}

func (s *stopAt) Write(line []byte) (int, error) {
	if strings.Contains(string(line), s.text) {
		s.stop()
	}
	return s.out.Write(line)
}

// TestAStopBeforeItServes: whoever stops a node that still waits for its cluster gets what was asked for, and a
// supervisor sees no failure.
func TestAStopBeforeItServes(t *testing.T) {
	sh := newShell(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	at := sh.terminal()
	at.err = &stopAt{text: "waiting for a node of the cluster to join", stop: stop, out: &sh.errOut}
	code := run(ctx, at, []string{"serve", "--data-dir", t.TempDir(), "--join", "127.0.0.1:1",
		"--http-addr", anyPort, "--gossip-addr", anyPort, "--rpc-addr", anyPort, "--raft-addr", anyPort})
	if said := sh.errOut.String(); code != exitDone || !strings.Contains(said, "stopped before it served") {
		t.Errorf("exit %d\n%s", code, said)
	}
}
