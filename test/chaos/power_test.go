//go:build chaos && linux

package chaos

import (
	"slices"
	"testing"
	"time"
)

// TestPowerCut takes the power of one node, then of all nodes at once, again and again, while
// clients send: what was not synced is gone, and nothing acknowledged was among it.
func TestPowerCut(t *testing.T) {
	need(t, "power cut", canCut)
	c := newCluster(t, 3)
	for _, p := range []struct {
		name    string
		victims []string
	}{{"one node", []string{"n2"}}, {"all nodes", []string{"n1", "n2", "n3"}}} {
		t.Run(p.name, func(t *testing.T) {
			c.t = t
			w := gather(c, shape{conversations: 20, members: 2, rate: 200}, c.others(nil))
			again := min(times(), 20)
			var took []time.Duration
			for range again {
				w.recovered(time.Now())
				for _, name := range p.victims {
					c.must(c.nodes[name].disk.cut())
				}
				for _, name := range p.victims {
					c.nodes[name].kill()
				}
				began := time.Now()
				for _, name := range p.victims {
					c.must(c.nodes[name].disk.remount())
					c.start(c.nodes[name])
				}
				for _, name := range p.victims {
					c.ready(c.nodes[name])
				}
				took = append(took, time.Since(began))
				c.healed(3)
			}
			s := spreadOf(took)
			told.add(t, "serving again after "+plural(again, "cut", "cuts"), s.String(), "max 15s")
			told.add(t, "acknowledged, none lost or doubled", plural(w.check(c.others(nil)), "event", "events"), "0 lost, 0 doubled")
		})
	}
}

// TestDiskFull fills one node's disk, then all, while clients send much. A node writes into the space
// that it has set aside; when that is used up it ends with the reason, as after any failed write of
// its log, and starts again when there is space. Nothing acknowledged is lost, and clients are told
// in words that they know.
func TestDiskFull(t *testing.T) {
	need(t, "disk full", canMount)
	c := newCluster(t, 3)
	for _, p := range []struct {
		name    string
		victims []string
	}{{"one node", []string{"n2"}}, {"all nodes", []string{"n1", "n2", "n3"}}} {
		t.Run(p.name, func(t *testing.T) {
			c.t = t
			w := gather(c, shape{conversations: 10, members: 2, rate: 100, padding: 8 << 10}, c.others(c.nodes["n2"]))
			w.recovered(time.Now())
			began := time.Now()
			for _, name := range p.victims {
				c.must(c.nodes[name].disk.fill())
			}
			lasts, ended := within(10*time.Second, func() bool {
				return !slices.ContainsFunc(p.victims, func(name string) bool { return c.nodes[name].alive() })
			})
			if len(p.victims) < len(c.names) {
				w.recovered(time.Now())
				told.add(t, "sends with one full disk", spreadOf(w.waits(began)).String(), "")
			}
			if ended {
				told.add(t, "nodes ended with the reason after", lasts.Round(time.Millisecond).String(), "")
			}
			for _, name := range p.victims {
				c.must(c.nodes[name].disk.empty())
			}
			freed := time.Now()
			for _, name := range p.victims {
				c.supervise(c.nodes[name], "no space left on device")
			}
			w.recovered(freed)
			told.add(t, "sends go on after space came back", since(freed), "")
			c.healed(3)
			w.check(c.others(nil))
		})
	}
}

// supervise does what a supervisor does about a process that has ended: it looks at the exit code
// and starts it again.
func (c *cluster) supervise(n *node, reason string) {
	c.t.Helper()
	if n.alive() {
		return
	}
	if code := c.exited(n); code == 0 || !n.said(reason) {
		c.t.Errorf("%s ended with exit code %d and did not say %q", n.name, code, reason)
	}
	c.start(n)
	c.ready(n)
}
