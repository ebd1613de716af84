//go:build chaos && linux

package chaos

import (
	"syscall"
	"testing"
	"time"
)

// loss is one way to lose the node that leads.
type loss struct {
	name   string
	needs  []string
	make   func(*cluster, *node)
	repair func(*cluster, *node)
	goal   spread
}

func losses() []loss {
	again := func(c *cluster, n *node) {
		c.start(n)
		c.ready(n)
	}
	quick := spread{500 * time.Millisecond, time.Second, 3 * time.Second}
	return []loss{{
		name:   "kill -9",
		make:   func(_ *cluster, n *node) { n.kill() },
		repair: again, goal: quick,
	}, {
		name: "IO error on fsync", needs: []string{canCut},
		make: func(c *cluster, n *node) {
			c.hold(n)
			c.must(n.disk.cut())
			n.signal(syscall.SIGCONT)
		},
		repair: func(c *cluster, n *node) {
			if code := c.exited(n); code == 0 {
				c.t.Errorf("%s ended with exit code 0 after an IO error", n.name)
			}
			c.must(n.disk.remount())
			again(c, n)
		}, goal: quick,
	}, {
		name:   "SIGSTOP",
		make:   func(_ *cluster, n *node) { n.signal(syscall.SIGSTOP) },
		repair: func(_ *cluster, n *node) { n.signal(syscall.SIGCONT) },
		goal:   spread{900 * time.Millisecond, 1500 * time.Millisecond, 3 * time.Second},
	}, {
		name: "stalled disk", needs: []string{canFreeze},
		make:   func(c *cluster, n *node) { c.must(n.disk.freeze()) },
		repair: func(c *cluster, n *node) { c.must(n.disk.thaw()) },
		goal:   spread{2 * time.Second, 2 * time.Second, 3 * time.Second},
	}}
}

// TestLeaderLost takes the node that leads the most shards away, again and again, while clients of
// the other nodes send 200 events a second, and measures how long the longest send waits.
func TestLeaderLost(t *testing.T) {
	for _, l := range losses() {
		t.Run(l.name, func(t *testing.T) {
			need(t, l.name, l.needs...)
			c := newCluster(t, 3)
			var outages []time.Duration
			acked := 0
			const perCrowd = 20 // rounds between two checks: a crowd's history is kept in memory
			for n := 0; n < times(); {
				w := gather(c, shape{conversations: 20, members: 2, rate: 200}, c.others(nil))
				for range min(perCrowd, times()-n) {
					outages = append(outages, w.lose(l))
					n++
				}
				c.healed(3)
				acked += w.check(c.others(nil))
			}
			s := spreadOf(outages)
			told.add(t, "longest send of "+plural(len(outages), "loss", "losses"), s.String(), l.goal.String())
			told.add(t, "acknowledged, none lost or doubled", plural(acked, "event", "events"), "0 lost, 0 doubled")
			if s.max > 10*l.goal.max {
				t.Errorf("%s: longest send %s, ten times the goal is %s", l.name, s.max, 10*l.goal.max)
			}
		})
	}
}

// lose makes one loss and repairs it, and gives how long the longest send waited.
func (w *crowd) lose(l loss) time.Duration {
	w.t.Helper()
	c := w.cluster
	c.healed(len(c.names))
	victim := c.leader()
	w.place(c.others(victim))
	w.recovered(time.Now()) // all is well
	began := time.Now()
	l.make(c, victim)
	w.recovered(began)
	outage := spreadOf(w.waits(began)).max
	if outage > l.goal.max/2 {
		w.t.Logf("%s of %s, longest send %s: %s", l.name, victim.name, outage, w.slowest(began))
	}
	l.repair(c, victim)
	return outage
}
