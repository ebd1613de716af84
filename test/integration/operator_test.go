//go:build integration

package integration

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestRemovalIsInterruptedAndGivenAgain removes a node by a command that speaks with that very node, takes
// the command away in the middle, and gives it again until it says that all is done.
func TestRemovalIsInterruptedAndGivenAgain(t *testing.T) {
	c := newTrio(t, "n1", "n2", "n3", "n4")
	c.healed(t, "n2", 4)

	said := &lockedBuffer{}
	remove := exec.Command(binary, "node", "remove", "n4", "--yes", "--url", c.nodes["n4"].url)
	remove.Env = append(os.Environ(), "PARLEY_API_KEY="+apiKey, "PARLEY_API_SECRET="+apiSecret)
	remove.Stderr = said
	if err := remove.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- remove.Wait() }()
	c.until(t, "progress", func(context.Context) bool { return strings.Contains(said.String(), "replicas to move") })
	if err := remove.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil && (remove.ProcessState.ExitCode() != 1 || !strings.Contains(said.String(), "goes on without this command")) {
		t.Fatalf("interrupted: %v\n%s", err, said) // without an error it was faster than the signal
	}

	for range 2 { // the second time it is done already
		out, err := c.cli(t.Context(), "n4", "node", "remove", "n4", "--yes", "--json")
		if err != nil && !bytes.Contains(out, []byte("done")) {
			// n4 may have gone before this command asked it anything: an operator names another node then.
			out, err = c.cli(t.Context(), "n1", "node", "remove", "n4", "--yes", "--json")
		}
		if err != nil || !bytes.Contains(out, []byte(`"done": "remove n4"`)) {
			t.Fatalf("given again: %v\n%s", err, out)
		}
	}
	c.healed(t, "n1", 3)
	if err := c.nodes["n4"].cmd.Wait(); err == nil || !strings.Contains(c.nodes["n4"].output.String(), "it was removed") {
		t.Errorf("the removed process: %v\n%s", err, c.nodes["n4"].output)
	}
	for _, verb := range []string{"drain", "drain", "undrain", "undrain"} {
		if out, err := c.cli(t.Context(), "n1", "node", verb, "n2", "--yes"); err != nil || !strings.HasPrefix(string(out), "Done: "+verb) {
			t.Errorf("%s: %v\n%s", verb, err, out)
		}
	}
	if out, err := c.cli(t.Context(), "n3", "cluster", "rebalance", "--yes"); err != nil || string(out) != "Done: rebalance\n" {
		t.Errorf("rebalance: %v\n%s", err, out)
	}
}
