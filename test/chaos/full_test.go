//go:build chaos && linux

package chaos

import (
	"testing"
	"time"

	"parley/edge/admin"
)

// TestDiskFull fills one node's disk at one stroke, then all, while clients send. Every process goes on.
// With one full disk the others lead and store; with all full each send is told so, in a code of its
// own, and what is there can be read at every node. Space that comes back is enough for all to heal.
// Nothing acknowledged is lost.
func TestDiskFull(t *testing.T) {
	need(t, "disk full", canMount)
	c := newCluster(t, 3)
	t.Run("one node", func(t *testing.T) {
		c.t = t
		victim := c.nodes["n2"]
		w := gather(c, shape{conversations: 10, members: 2, rate: 100, padding: 8 << 10}, c.others(victim))
		w.recovered(time.Now())
		began := time.Now()
		c.must(victim.disk.fill())
		told.add(t, "one full disk: it leads nothing after", c.until("another leader of everything", func() bool {
			n, ok := c.seen(victim)
			return ok && n.DiskFull && n.Leads == 0
		}).Round(time.Millisecond).String(), "")
		await(t, fullFor)
		w.recovered(time.Now())
		told.add(t, "one full disk: sends of the others", spreadOf(w.waits(began)).String(), "")
		if n := w.counted(notStored); n > 0 {
			t.Errorf("%d sends were not stored for want of space, and two disks had some", n)
		}
		w.heal(victim)
	})
	t.Run("all nodes", func(t *testing.T) {
		c.t = t
		// Few sends: each is tried again every second until there is space.
		w := gather(c, shape{conversations: 10, members: 2, rate: 20, padding: 8 << 10}, c.others(nil))
		w.recovered(time.Now())
		for _, name := range c.names {
			c.must(c.nodes[name].disk.fill())
		}
		for _, name := range c.names {
			c.until(name+" known as full", func() bool {
				n, ok := c.seen(c.nodes[name])
				return ok && n.DiskFull
			})
		}
		full := time.Now()
		await(t, fullFor)
		w.refusedForSpace(full)
		for _, m := range w.chatters[:3] {
			for _, edge := range c.others(nil) {
				if _, err := w.tenant.readAll(edge, m.conversation, m.token); err != nil {
					t.Errorf("reading at %s with full disks: %v", edge, err)
				}
			}
		}
		w.heal(c.nodes["n1"], c.nodes["n2"], c.nodes["n3"])
	})
}

// fullFor is how long disks stay full: long enough for some elections.
const fullFor = 5 * time.Second

// seen is a node as the cluster sees it.
func (c *cluster) seen(n *node) (admin.Node, bool) {
	for _, url := range c.others(nil) {
		s := &admin.Status{}
		if get(url+admin.Prefix+"status", s) != nil {
			continue
		}
		for _, known := range s.Nodes {
			if known.Name == n.name {
				return known, true
			}
		}
	}
	return admin.Node{}, false
}

// refusedForSpace checks that clients were told why nothing is stored, and that nothing was.
func (w *crowd) refusedForSpace(since time.Time) {
	w.t.Helper()
	var took []time.Duration
	acks := 0
	for _, m := range w.chatters {
		m.mu.Lock()
		for _, a := range m.answers {
			if a.at.After(since) && a.code == notStored {
				took = append(took, a.took)
			}
		}
		for _, d := range m.deeds {
			if d.due.After(since) {
				acks++
			}
		}
		m.mu.Unlock()
	}
	told.add(w.t, "all disks full: "+plural(len(took), "typed answer", "typed answers"), spreadOf(took).String(), "max 2s")
	if len(took) == 0 || acks > 0 {
		w.t.Errorf("with full disks: %d answers that nothing is stored, %d acks", len(took), acks)
	}
}

// heal gives the disks their space back. The processes must be those that were there before.
func (w *crowd) heal(victims ...*node) {
	w.t.Helper()
	c := w.cluster
	for _, n := range victims {
		if !n.alive() {
			w.t.Fatalf("%s ended on a full disk: %s", n.name, n.lastWords())
		}
		c.must(n.disk.empty())
	}
	freed := time.Now()
	for _, n := range victims {
		c.until(n.name+" known to have space", func() bool {
			seen, ok := c.seen(n)
			return ok && !seen.DiskFull
		})
	}
	w.recovered(freed)
	told.add(w.t, "sends go on after space came back", since(freed), "")
	c.healed(len(c.names))
	w.check(c.others(nil))
	for _, n := range victims {
		if !n.alive() {
			w.t.Errorf("%s ended after space came back", n.name)
		}
	}
}
