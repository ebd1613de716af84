package shard

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"

	"parley/cluster/transport"
	"parley/persistence/keys"
	"parley/persistence/raftlog"
	"parley/persistence/store"
)

// tailed is one node whose logs may keep little in memory.
type tailed struct {
	*Stepper
	t    *testing.T
	next map[keys.Shard]uint64
}

// openTailed opens a node on a store that is bootstrapped.
func openTailed(t *testing.T, st *store.Store, most int) *tailed {
	t.Helper()
	o := testOptions("n1")
	o.TailBytes = most
	s, err := OpenStepper(st, transport.NewMemory().Endpoint("n1"), silence{}, o)
	if err != nil {
		t.Fatal(err)
	}
	n := &tailed{s, t, map[keys.Shard]uint64{}}
	n.check()
	n.settle()
	return n
}

// settle lets all happen that is to happen.
func (n *tailed) settle() {
	n.t.Helper()
	n.Settle(n.t.Context())
	n.check()
}

// check sees that the logs keep no more in memory than they may.
func (n *tailed) check() {
	n.t.Helper()
	sum := 0
	for _, g := range n.core.order {
		sum += g.log.TailBytes()
	}
	if sum != n.core.tails || sum > n.o.TailBytes {
		n.t.Fatalf("the logs keep %d bytes, %d are counted, and %d allowed", sum, n.core.tails, n.o.TailBytes)
	}
}

// write makes a write that is one entry.
func (n *tailed) write(s keys.Shard) {
	n.t.Helper()
	n.Propose(Proposal{Shard: s, Epoch: n.Lead(s).Epoch, Write: post(s, 7, n.next[s]), Done: func(err error) {
		if err != nil {
			n.t.Error(err)
		}
	}})
	n.next[s]++
	n.settle()
}

func (n *tailed) keeps(s keys.Shard) int { return n.core.groups[s].log.TailBytes() }

// TestTailsAreBoundedForTheNode shows that what logs keep in memory is bounded over all shards, also
// after a restart, and that a busy one takes the place of idle ones.
func TestTailsAreBoundedForTheNode(t *testing.T) {
	const most, shards = 16 << 10, 4
	st := testStore(t, vfs.NewMem())
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := Bootstrap(t.Context(), st, "n1", shards); err != nil {
		t.Fatal(err)
	}
	n := openTailed(t, st, most)
	for s := keys.Shard(1); s <= shards; s++ {
		for range 10 {
			n.write(s)
		}
		if n.keeps(s) == 0 {
			t.Errorf("shard %d keeps nothing, while there is room", s)
		}
	}
	for range 1000 {
		n.write(2)
	}
	if n.keeps(1) > 0 || n.keeps(2) < most/4 {
		t.Errorf("the idle shard keeps %d bytes, and the busy one %d of %d", n.keeps(1), n.keeps(2), most)
	}
	n.write(1) // it goes on from an entry that it does not keep
	n.write(3)
	n.RemoveReplica(3, ReplicaID(bootstrapReplica(3)), func(err error) {
		if err != nil {
			t.Error(err)
		}
	})
	n.settle()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = openTailed(t, st, most)
	if err := n.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.settle()
	if n.core.tails != 0 {
		t.Errorf("%d bytes are kept of logs that were truncated to their ends", n.core.tails)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestWhatIsNotInMemoryIsOnTheDisk shows that a replica that was away gets entries, and that everybody
// goes on, when no log keeps in memory what it has applied.
func TestWhatIsNotInMemoryIsOnTheDisk(t *testing.T) {
	c := unopenedTowns(t, 1, "n1", "n2", "n3")
	defer c.close()
	st := testStore(t, c.nodes["n1"].fs)
	if err := errors.Join(Bootstrap(t.Context(), st, "n1", 1), st.Close()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"n1", "n2", "n3"} {
		c.nodes[name].o.TailBytes = 1
		c.revive(name)
	}
	c.grow("n2", "n3")
	c.post(1, 7, 0)
	c.kill("n3")
	for base := uint64(1); base < 10; base++ {
		c.post(1, 7, base)
	}
	c.revive("n3")
	c.agree(1, 7, 10, "n1", "n2", "n3")
}

// TestEntriesOutliveTheirBatch shows that entries do not point into the batch that brought them: a log
// that keeps one in memory would keep all that came with it.
func TestEntriesOutliveTheirBatch(t *testing.T) {
	batch := appendMessage(nil, 7, &raftpb.Message{Type: raftpb.MsgApp.Enum(), Entries: []*raftpb.Entry{
		{Term: new(uint64(6)), Index: new(uint64(11)), Data: []byte("one")},
		{Term: new(uint64(6)), Index: new(uint64(12))},
		{Term: new(uint64(6)), Index: new(uint64(13)), Data: []byte("three")},
	}})
	var entries []*raftpb.Entry
	if err := readBatch(batch, func(it item) { entries = it.message.Entries }); err != nil {
		t.Fatal(err)
	}
	clear(batch)
	for i, want := range []string{"one", "", "three"} {
		if e := entries[i]; !bytes.Equal(e.Data, []byte(want)) || i < 2 && cap(e.Data) != len(want) {
			t.Errorf("entry %d is %q with room for %d", e.GetIndex(), e.Data, cap(e.Data))
		}
	}
}

// TestTailsCountWhatTheyTake: what a follower is taken to keep in memory of the entries that come to it one
// by one is about what they take there, with what the allocator adds to each.
func TestTailsCountWhatTheyTake(t *testing.T) {
	live := func() (bytes int) {
		var m runtime.MemStats
		for same := 0; same < 3; same++ { // what other tests have left goes in several rounds, and not at once
			runtime.GC()
			runtime.ReadMemStats(&m)
			if now := int(m.HeapAlloc); max(now, bytes)-min(now, bytes) > 1<<10 {
				bytes, same = now, 0
			}
		}
		return bytes
	}
	st := testStore(t, vfs.NewMem())
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, payload := range []int{1, 129, 322, 2310} { // the allocator rounds these up most
		log, err := raftlog.Open(st.Log(), 7, 1, raftlog.Applied{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		before := live()
		for index := range uint64(4000) {
			batch := appendMessage(nil, 7, &raftpb.Message{Type: raftpb.MsgApp.Enum(), Entries: []*raftpb.Entry{
				{Term: new(uint64(6)), Index: new(index + 1), Data: make([]byte, payload)}}})
			if err := readBatch(batch, func(it item) { log.Appended(it.message.Entries) }); err != nil {
				t.Fatal(err)
			}
		}
		took, said := live()-before, log.TailBytes()
		if ratio := float64(took) / float64(said); ratio < 0.93 || ratio > 1.07 {
			t.Errorf("entries of %d bytes: %d are said to be kept, and %d are", payload, said, took)
		}
		runtime.KeepAlive(log)
	}
}
