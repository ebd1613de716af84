//go:build integration

package integration

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// parley runs a command that needs no node.
func (c *trio) parley(t *testing.T, args ...string) {
	t.Helper()
	command := exec.Command(binary, args...)
	command.Dir = c.dir
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("parley %v: %v\n%s", args, err, out)
	}
}

// newProtected is a cluster with certificates; what each node is given is in the directory NAME-certs.
func newProtected(t *testing.T, names ...string) *trio {
	t.Helper()
	c := emptyFleet(t, map[string][]string{}, names...)
	c.parley(t, "certs", "init", "authority")
	for _, n := range names {
		c.parley(t, "certs", "issue", n, "--out", n+"-certs")
		c.flags[n] = []string{"--certs-dir", filepath.Join(c.dir, n+"-certs"), "--log-level", "info"}
	}
	c.start(t)
	return c
}

// TestTheGossipKeyIsRotatedLive changes the key of three running nodes in the three steps of the manual,
// while clients send. Afterwards a node that has the old key alone cannot join, and one with the new key can.
func TestTheGossipKeyIsRotatedLive(t *testing.T) {
	c := newProtected(t, "n1", "n2", "n3")
	c.healed(t, "n2", 3)
	c.parley(t, "certs", "issue", "old", "--out", "old-certs") // with the key of now
	w := &crowd{cluster: c, app: newApplication(t, c.nodes["n1"].url), http: &http.Client{Timeout: 10 * time.Second}}
	w.open(t, 3, 12)
	for i, step := range []string{"add", "use", "drop"} {
		c.parley(t, "certs", "rotate-gossip", step, "n1-certs", "n2-certs", "n3-certs")
		for _, n := range c.names {
			if err := c.nodes[n].cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		}
		for _, n := range c.names {
			c.until(t, n+" takes the step "+step, func(context.Context) bool {
				return strings.Count(c.nodes[n].output.String(), "gossip keys were changed") == i+1
			})
		}
		w.send(t, 10, func(int64) {})
	}
	c.until(t, "three nodes that are up, with all voters", func(ctx context.Context) bool {
		s, err := c.status(ctx, "n3")
		up := 0
		for _, n := range s.Nodes {
			if n.State == "up" {
				up++
			}
		}
		return err == nil && len(s.Nodes) == 3 && up == 3 && s.UnderReplicated == 0
	})
	for _, n := range c.names {
		w.check(t, n)
	}
	c.add(t, "old", "--certs-dir", filepath.Join(c.dir, "old-certs"))
	c.parley(t, "certs", "issue", "new", "--out", "new-certs")
	c.add(t, "new", "--certs-dir", filepath.Join(c.dir, "new-certs"))
	c.healed(t, "n1", 4) // the new one; the old one is not heard
	if _, err := os.Stat(filepath.Join(c.dir, "old", "addresses.json")); !os.IsNotExist(err) {
		t.Errorf("a node with the old key serves: %v", err)
	}
}

// add starts a further node that joins, and does not wait.
func (c *trio) add(t *testing.T, name string, flags ...string) {
	t.Helper()
	c.ports[name] = [4]string{freePort(t), freePort(t), freePort(t), freePort(t)}
	c.flags[name] = flags
	c.run(t, name, c.ports[c.names[0]][1])
}
