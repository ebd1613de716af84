package shard

import (
	"context"
	"testing"
	"testing/cryptotest"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/cluster/transport"
)

// leaderAndLearner are n1, which leads shard 1 alone, and n2 with replica 12, which is no member of it yet.
func leaderAndLearner(t *testing.T) *scripted {
	t.Helper()
	cryptotest.SetGlobalRandom(t, 1)
	c := &scripted{t: t, network: transport.NewMemory(), nodes: map[string]*scriptedNode{}, disks: map[string]*vfs.MemFS{}}
	c.open("n1", vfs.NewCrashableMem(), 1)
	c.settle()
	c.open("n2", vfs.NewCrashableMem(), 0)
	if err := c.nodes["n2"].AddReplica(1, 12); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestASnapshotBehindAnother: a second snapshot arrives while the log's new beginning after the first
// is on its way to the disk. A crash then leaves a log that goes on from the first.
func TestASnapshotBehindAnother(t *testing.T) {
	ctx := context.Background()
	c := leaderAndLearner(t)
	leader, learner := c.nodes["n1"], c.nodes["n2"]
	learner.Settle(ctx)
	posted := uint64(0)
	write := func() {
		t.Helper()
		leader.Propose(Proposal{Shard: 1, Epoch: leader.Lead(1).Epoch, Write: post(1, 7, posted), Done: func(err error) {
			if err != nil {
				t.Error(err)
			}
		}})
		posted++
		leader.Settle(ctx)
	}
	write()
	leader.ChangeConf(1, 0, []Change{{Kind: AddLearner, Replica: 12, Node: "n2"}}, func(error) {})
	leader.Settle(ctx)
	send := func() {
		t.Helper()
		status, err := leader.Status(1)
		if err != nil {
			t.Fatal(err)
		}
		if err := leader.sendSnapshot(ctx, snapshotTask{shard: 1, to: 12, node: "n2", from: uint64(status.Replica), term: status.Term}); err != nil {
			t.Fatal(err)
		}
	}
	send()
	learner.Step()     // the snapshot is announced
	learner.WriteLog() //
	learner.SyncLog()  //
	learner.Step()     // the state is replaced
	learner.Apply(ctx) //
	learner.Step()     // the log begins anew
	learner.WriteLog() // and is not known to
	write()
	send()
	learner.Step() // the second is announced
	learner.WriteLog()
	for learner.SyncLog() {
	}
	left := learner.fs.CrashClone(vfs.CrashCloneCfg{})
	learner.stop()
	c.open("n2", left, 0) // fails when the log does not continue
	c.tick("", 40)
	c.settle()
	if got := revisionOf(t, c.nodes["n2"].Reader(), post(1, 7, 0)); got != posted {
		t.Errorf("revision %d, want %d", got, posted)
	}
	for _, name := range c.names() {
		c.nodes[name].stop()
	}
}
