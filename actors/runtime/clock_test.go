package runtime_test

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/actors/driver"
	"parley/actors/runtime"
	eventv1 "parley/proto/event/v1"
)

// TestAClockThatWasAhead: in a node's first life its clock is an hour ahead. It is set right, and the node
// starts again, as a member.
func TestAClockThatWasAhead(t *testing.T) {
	o := options(t, vfs.NewMem())
	o.Now = func() time.Time { return time.Now().Add(time.Hour) }
	closed(t, open(t, o))
	o = options(t, o.Store.FS)
	closed(t, open(t, o))
}

// TestAnEmptyDiskUnderTheNameOfOneThatWasAhead: a machine whose clock is an hour ahead is stopped and removed.
// Another one takes its place under its name, with an empty disk and the right time, while the others run on: it
// gets all replicas, and its edge hears what it asks for.
func TestAnEmptyDiskUnderTheNameOfOneThatWasAhead(t *testing.T) {
	a := startWith(t, "a", vfs.NewMem(), func(o *runtime.Options) { o.Shards = 2 }).ready(t)
	defer closed(t, a.Runtime)
	b := start(t, "b", vfs.NewMem(), a.Addresses().Gossip).ready(t)
	defer closed(t, b.Runtime)
	ahead := func(o *runtime.Options) { o.Now = func() time.Time { return time.Now().Add(time.Hour) } }
	old := startWith(t, "c", vfs.NewMem(), ahead, a.Addresses().Gossip).ready(t)
	a.until(t, "a cluster of three", healed(3))
	con, ann := newConversation(t, a.API(), "", "tea"), newUser(t, a.API(), "ann")
	join(t, a.API(), con.Id, ann.Id)
	old.interest(t, con.Id)
	if err := old.Leave(t.Context()); err != nil { // or its silence would be waited for, again and again
		t.Fatal(err)
	}
	closed(t, old.Runtime)
	a.until(t, "two members", func(p *driver.Picture) bool {
		if err := a.SetMember(t.Context(), "c", eventv1.StoreState_STORE_STATE_REMOVING, true); err != nil {
			t.Log(err) // it may have led the meta shard, and may have been removed by the attempt before
		}
		return len(p.Members()) == 2
	})
	c := start(t, "c", vfs.NewMem(), a.Addresses().Gossip).ready(t)
	defer closed(t, c.Runtime)
	a.until(t, "three members again, of which each leads", func(p *driver.Picture) bool {
		return healed(3)(p) && len(leads(p)) == 3 // else a lead may yet move while its edge listens
	})
	c.hears(t, []*member{a}, con.Id, ann, 1)
}
