package placement

import (
	"slices"
	"testing"

	"parley/persistence/keys"
)

// on lists the nodes that a shard has replicas on, and how many of these vote.
func (w *world) on(s keys.Shard) (nodes []string, voters int) {
	for _, m := range w.shards[s].Members {
		nodes = append(nodes, m.Node)
		if m.Voter {
			voters++
		}
	}
	slices.Sort(nodes)
	return nodes, voters
}

// expect says where every shard is to be, how many replicas vote, and how many shards wait for space.
func (w *world) expect(t *testing.T, nodes string, voters, cramped int) {
	t.Helper()
	for _, s := range w.shards {
		if on, vote := w.on(s.ID); !slices.Equal(on, split(nodes)) || vote != voters {
			t.Errorf("shard %d is on %v with %d voters, not on %s with %d", s.ID, on, vote, nodes, voters)
		}
	}
	if n := w.view().Cramped(); n != cramped {
		t.Errorf("%d shards wait for space, not %d", n, cramped)
	}
}

func split(names string) (all []string) {
	for _, c := range names {
		all = append(all, string(c))
	}
	return all
}

// TestFullDisksGetNothing: no replica is made on a full disk, nor is one taken from elsewhere before it has another
// place; what a full disk has stays there.
func TestFullDisksGetNothing(t *testing.T) {
	w := newWorld(t, 6)
	w.join("b")
	w.join("c")
	w.nodes["c"].Full = true
	w.run()
	w.expect(t, "ab", 1, 6)
	if on := Assign(w.view())[1]; slices.Contains(on, "c") {
		t.Errorf("shard 1 is wanted on %v", on)
	}
	w.nodes["c"].Full = false
	w.run()
	w.expect(t, "abc", 3, 0)

	w.nodes["b"].Full = true
	w.run()
	w.expect(t, "abc", 3, 0)

	w.join("d")
	w.nodes["d"].Full = true
	w.nodes["c"].Keeps, w.nodes["c"].Leads, w.nodes["c"].Holds = false, false, false // removed, with nowhere to go
	w.run()
	w.expect(t, "abc", 3, 6)
	w.nodes["d"].Full = false
	w.run()
	w.expect(t, "abd", 3, 0)
}

// TestAReplicaGoesWhereThereIsSpace: one that was wanted on a node whose disk is full meanwhile is wanted
// elsewhere, be it made already or not; without another place it waits.
func TestAReplicaGoesWhereThereIsSpace(t *testing.T) {
	for _, made := range []bool{false, true} {
		w := newWorld(t, 1)
		w.join("b")
		w.join("c")
		w.round(1) // learners on b and c are wanted
		if made {
			w.round(1)
		}
		w.nodes["c"].Full = true
		w.run()
		nodes := "ab"
		if made {
			nodes = "abc" // it is there, and has nothing
		}
		w.expect(t, nodes, 1, 1)
		w.join("d")
		w.run()
		w.expect(t, "abd", 3, 0)
		w.nodes["c"].Full = false
		w.run()
		w.expect(t, "abd", 3, 0)
	}
}
