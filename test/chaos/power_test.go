//go:build chaos && linux

package chaos

import (
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
					c.hold(c.nodes[name])
				}
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
