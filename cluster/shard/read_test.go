package shard

import (
	"encoding/binary"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"

	"parley/cluster/transport"
)

// silence is an observer that listens to nothing.
type silence struct{}

func (silence) LeadChanged(Lead) {}

// TestAReadRoundOfAnEarlierLife: an answer that the leader sent to this node before it was restarted
// arrives after that. It names an index from before the reads that wait now, so it is not for them.
func TestAReadRoundOfAnEarlierLife(t *testing.T) {
	st := testStore(t, vfs.NewMem())
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := Bootstrap(t.Context(), st, "n1", 1); err != nil {
		t.Fatal(err)
	}
	var late []byte // the answer to the first round of the first life
	for range 2 {
		o := testOptions("n1")
		h, err := Open(st, transport.NewMemory().Endpoint("n1"), silence{}, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Close(); err != nil { // from now on the core is the test's
			t.Fatal(err)
		}
		answered := false
		g := h.core.groups[1]
		// However far the election came before Close: another one leads.
		g.role, g.leader = raft.StateFollower, 2
		g.reads.queued = []func(Epoch, error){func(Epoch, error) { answered = true }}
		h.core.startReads(g)
		if g.reads.round == 0 {
			t.Fatal("no round began")
		}
		if late == nil {
			late = binary.BigEndian.AppendUint64(nil, g.reads.round)
		} else if h.core.onReadStates(g, []raft.ReadState{{Index: 1, RequestCtx: late}}); g.reads.round == 0 || answered {
			t.Error("the round was settled by the answer to another life's")
		}
	}
}
