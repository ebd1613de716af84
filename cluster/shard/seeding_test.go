package shard

import (
	"context"
	"testing"
)

// TestWritesOvertakeNoSnapshot: while each snapshot is on its way, more is written and flushed than KeepEntries. The
// leader holds what comes after it, so that one is enough; but no more than HeldBytes.
func TestWritesOvertakeNoSnapshot(t *testing.T) {
	for name, tc := range map[string]struct {
		held   int
		enough bool
	}{"held": {1 << 20, true}, "too much to hold": {1, false}} {
		t.Run(name, func(t *testing.T) {
			if got := snapshotsUntilCaughtUp(t, tc.held); (got == 1) != tc.enough {
				t.Errorf("%d snapshots were sent", got)
			}
		})
	}
}

// snapshotsUntilCaughtUp brings up a learner under load, and gives the snapshots that this took, at most 10.
func snapshotsUntilCaughtUp(t *testing.T, held int) (sent int) {
	ctx := context.Background()
	c := leaderAndLearner(t)
	leader, learner := c.nodes["n1"], c.nodes["n2"]
	leader.engine.o.HeldBytes = held
	defer leader.stop()
	defer learner.stop()
	work := func(n *scriptedNode) { // all but the snapshots
		for n.Step() || n.WriteLog() || n.SyncLog() || n.Apply(ctx) {
		}
	}
	posted := uint64(0)
	write := func() {
		for range 3 * leader.engine.o.KeepEntries {
			leader.Propose(Proposal{Shard: 1, Epoch: leader.Lead(1).Epoch, Write: post(1, 7, posted), Done: func(err error) {
				if err != nil {
					t.Error(err)
				}
			}})
			posted++
			work(leader)
		}
		if err := leader.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		work(leader)
	}
	write() // so that the log alone does not serve a new replica
	leader.ChangeConf(1, 0, []Change{{Kind: AddLearner, Replica: 12, Node: "n2"}}, func(error) {})
	for range 200 {
		leader.Tick()
		learner.Tick()
		for moved := true; moved; {
			work(leader)
			work(learner)
			moved = c.network.DeliverAll() > 0
		}
		if len(leader.snapshots) == 0 {
			if sent > 0 && revisionOf(t, learner.Reader(), post(1, 7, 0)) == posted {
				break
			}
			continue
		}
		if sent++; sent == 10 {
			break
		}
		task := leader.snapshots[0]
		leader.snapshots = leader.snapshots[1:]
		err := leader.sendSnapshot(ctx, task) // it holds what is there now, and arrives when all this was written
		write()
		leader.inputs = append(leader.inputs, snapshotSent{task, err})
	}
	if sent < 10 && revisionOf(t, learner.Reader(), post(1, 7, 0)) != posted {
		t.Errorf("the learner has not caught up with %d writes", posted)
	}
	return sent
}
