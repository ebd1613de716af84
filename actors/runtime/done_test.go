package runtime_test

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/actors/driver"
	eventv1 "parley/proto/event/v1"
)

// TestWhoWasRemovedDoesNotJoin: gossip goes on telling of a node that was removed, as long as its process runs.
// A new one under its name joins.
func TestWhoWasRemovedDoesNotJoin(t *testing.T) {
	a := start(t, "a", vfs.NewMem()).ready(t)
	defer closed(t, a.Runtime)
	b := start(t, "b", vfs.NewMem(), a.Addresses().Gossip).ready(t)
	members := func(n int) func(*driver.Picture) bool {
		return func(p *driver.Picture) bool { return len(p.Members()) == n }
	}
	a.until(t, "two members", members(2))
	if err := a.SetMember(t.Context(), "b", eventv1.StoreState_STORE_STATE_REMOVING, true); err != nil {
		t.Fatal(err)
	}
	a.until(t, "one member", members(1))
	if joining := a.Joining(); len(joining) > 0 {
		t.Errorf("%v joins", joining)
	}
	closed(t, b.Runtime)
	again := start(t, "b", vfs.NewMem(), a.Addresses().Gossip).ready(t)
	defer closed(t, again.Runtime)
	a.until(t, "two members again", members(2))
}

// TestANodeSaysWhetherItIsAway: what an operator has written down of a node is one thing, whether it has heard
// of it another; the picture has both.
func TestANodeSaysWhetherItIsAway(t *testing.T) {
	a := start(t, "a", vfs.NewMem()).ready(t)
	defer closed(t, a.Runtime)
	for _, c := range []struct {
		state eventv1.StoreState
		away  bool
	}{{eventv1.StoreState_STORE_STATE_DRAINING, true}, {eventv1.StoreState_STORE_STATE_UP, false}} {
		if err := a.SetMember(t.Context(), "a", c.state, false); err != nil {
			t.Fatal(err)
		}
		a.until(t, "the node's own word", func(p *driver.Picture) bool { away, said := p.Away["a"]; return said && away == c.away })
		if ready, why := a.Ready(); ready == c.away {
			t.Errorf("away %v, ready %v: %s", c.away, ready, why)
		}
	}
}
