//go:build integration

package integration

import (
	"syscall"
	"testing"
)

// TestAReloadWithoutFilesStopsNoNode: a supervisor's reload sends SIGHUP also to a node that has no certificates
// to read again. Taken for the end of a terminal it would end the node, and as something that was asked for.
func TestAReloadWithoutFilesStopsNoNode(t *testing.T) {
	p := start(t, t.TempDir())
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if code := p.terminate(); code != 0 {
		t.Errorf("ended by the reload, with %d\n%s", code, p.output)
	}
}
