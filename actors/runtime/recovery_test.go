package runtime_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/actors/driver"
	"parley/actors/runtime"
	"parley/cluster/recovery"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// recoverAlone gives up all members but the one whose disk is fs.
func recoverAlone(t *testing.T, fs vfs.FS, dead ...string) {
	t.Helper()
	o := store.DefaultOptions()
	o.FS, o.Logger = fs, slog.New(slog.NewTextHandler(io.Discard, nil))
	st, err := store.Open("data", o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	report, err := recovery.Survey(st)
	if err != nil {
		t.Fatal(err)
	}
	if report.Members, err = runtime.MembersIn(st); err != nil {
		t.Fatal(err)
	}
	plan, err := recovery.Decide([]*recovery.Report{report}, dead)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Chosen) != int(report.Shards)+1 || len(plan.Lost)+len(plan.Kept) != 0 || len(plan.Gone) != len(dead) {
		t.Fatalf("%+v", plan)
	}
	if err := recovery.Apply(t.Context(), st, plan, id.New(id.Application)); err != nil {
		t.Fatal(err)
	}
}

// caughtUp waits until a node's log has, of every shard, what the others know to be committed: the acks
// of what was posted may be those of the two others.
func caughtUp(t *testing.T, m *member, others ...*member) {
	t.Helper()
	m.until(t, "a log with everything", func(p *driver.Picture) bool {
		for _, s := range p.View.Shards {
			here, err := runtime.Replica(t.Context(), m.Runtime, s.ID)
			for _, other := range others {
				there, fault := runtime.Replica(t.Context(), other.Runtime, s.ID)
				if err != nil || fault != nil || here.Last < there.Commit {
					return false
				}
			}
		}
		return true
	})
}

// TestUnsafeRecovery loses two of three disks, goes on with the third, grows to three again, and
// refuses a lost disk that comes back.
func TestUnsafeRecovery(t *testing.T) {
	all := grow(t)
	a := all[0]
	con, ann := newConversation(t, a.API(), "", "tea"), newUser(t, a.API(), "ann")
	join(t, a.API(), con.Id, ann.Id)
	for i := range 10 {
		if _, err := all[i%3].API().Post(t.Context(), as(ann), con.Id, string(rune('a'+i)), text("hi")); err != nil {
			t.Fatal(err)
		}
	}
	caughtUp(t, a, all[1:]...)
	closed(t, all[1].Runtime)
	closed(t, all[2].Runtime)
	// What the survivor logs now has no quorum: its outcome is unknown, and stays in the log where it led.
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := a.API().Post(short, as(ann), con.Id, "unknown", text("hi")); err == nil {
		t.Fatal("an ack without a quorum")
	}
	closed(t, a.Runtime)
	recoverAlone(t, a.fs, "b", "c")

	a = start(t, "a", a.fs).ready(t)
	defer func() { closed(t, a.Runtime) }()
	if _, err := a.API().Post(t.Context(), as(ann), con.Id, "after", text("hi")); err != nil {
		t.Fatal(err)
	}
	l, err := a.API().ListEvents(t.Context(), admin, con.Id, &nodev1.ListEvents{})
	if n := len(l.GetEvents()); err != nil || n != 12 && n != 13 { // with the unknown one, or without
		t.Fatal(n, err)
	}
	for i, e := range l.Events {
		if e.Event.Sequence != uint64(i+1) {
			t.Fatalf("event %d has the sequence %d", i, e.Event.Sequence)
		}
	}
	a.until(t, "the end of the recovery", healed(1))

	old := start(t, "c", all[2].fs, a.Addresses().Gossip)
	if err := old.WaitReady(t.Context()); err == nil || old.WhyExpelled() == nil {
		t.Errorf("a disk that was given up came back: %v", err)
	}
	closed(t, old.Runtime)

	b := start(t, "b", vfs.NewMem(), a.Addresses().Gossip)
	defer func() { closed(t, b.Runtime) }()
	c := start(t, "c", vfs.NewMem(), a.Addresses().Gossip)
	defer func() { closed(t, c.Runtime) }()
	b.ready(t)
	c.ready(t)
	c.until(t, "three again", healed(3))
	if again, err := c.API().Post(t.Context(), as(ann), con.Id, "after", text("hi")); err != nil || !again.Duplicate {
		t.Errorf("a retry after the recovery: %v, %v", again, err)
	}
	p, err := c.Picture(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range p.Maps {
		for _, r := range m.Replicas {
			if r.Node != "a" && r.Id < 1<<20 {
				t.Errorf("shard %d: replica %d may have been given away before", m.Shard, r.Id)
			}
		}
	}
	removed := 0
	for _, s := range p.Stores {
		if s.State == eventv1.StoreState_STORE_STATE_REMOVED {
			removed++
		}
	}
	if removed != 2 {
		t.Errorf("%d stores are removed", removed)
	}
}
