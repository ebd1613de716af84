package runtime_test

import (
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/actors/driver"
	"parley/actors/runtime"
	eventv1 "parley/proto/event/v1"
)

// startHasty is start with a driver that gives up dead nodes at once.
func startHasty(t *testing.T, name string, fs vfs.FS, join ...string) *member {
	t.Helper()
	return startWith(t, name, fs, func(o *runtime.Options) { o.Driver.DeadAfter = 100 * time.Millisecond }, join...)
}

// TestAReturningNodeLetsGoOfWhatItLost: a node that was away for so long that its replicas were given
// to others finds that out, drops them, and gets new ones.
func TestAReturningNodeLetsGoOfWhatItLost(t *testing.T) {
	a := startHasty(t, "a", vfs.NewMem()).ready(t)
	gossip := a.Addresses().Gossip
	for _, name := range []string{"b", "c"} {
		m := startHasty(t, name, vfs.NewMem(), gossip).ready(t)
		defer closed(t, m.Runtime)
	}
	d := startHasty(t, "d", vfs.NewMem(), gossip).ready(t)
	defer closed(t, a.Runtime)
	holds := func(p *driver.Picture, node string) bool {
		return slices.ContainsFunc(p.Maps, func(m *eventv1.ShardMap) bool {
			return slices.ContainsFunc(m.Replicas, func(r *eventv1.PlacedReplica) bool { return r.Node == node })
		})
	}
	atRest := func(p *driver.Picture) bool {
		for i := range p.View.Shards {
			if p.Busy(&p.View.Shards[i]) {
				return false
			}
		}
		return p.View.UnderReplicated() == 0
	}
	a.until(t, "a replica on the fourth node", func(p *driver.Picture) bool { return atRest(p) && holds(p, "d") })
	closed(t, d.Runtime)
	a.until(t, "the dead node's replicas given to others", func(p *driver.Picture) bool { return atRest(p) && !holds(p, "d") })
	d = startHasty(t, "d", d.fs, gossip).ready(t)
	defer closed(t, d.Runtime)
	a.until(t, "new replicas on the node that came back", func(p *driver.Picture) bool { return atRest(p) && holds(p, "d") })
}
