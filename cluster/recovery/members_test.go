package recovery

import (
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"parley/persistence/keys"
	"parley/persistence/raftlog"
)

// holder is the member of a name that keeps replicas.
func holder(node string) Member { return Member{Node: node, Store: "store-" + node, Holds: true} }

// TestEverySurvivorIsAsked: also a member that votes nowhere may have the longest log, and a node of which
// only removed stores are known has no vote that could still be counted on.
func TestEverySurvivorIsAsked(t *testing.T) {
	edge, old := holder("e"), holder("c")
	edge.Holds = false
	old.Removed = true
	again := holder("c")
	again.Store = "store-c2"
	abc, acd := conf("a", "b", "c"), conf("a", "c", "d")
	quorum := [2]Replica{{ID: 1, Term: 7, Last: 20, Conf: abc}, {ID: 2, Term: 7, Last: 20, Conf: abc}}
	alone := [2]Replica{{ID: 1, Term: 7, Last: 20, Conf: acd}, {}}
	for _, c := range []struct {
		name    string
		members []Member
		dead    []string
		gone    int // stores that are refused for ever
		err     error
	}{
		{"a learner that nobody votes for", []Member{holder("a"), holder("b"), holder("l")}, []string{"c", "d"}, 0, ErrReportMissing},
		{"it is dead", []Member{holder("a"), holder("b"), holder("l")}, []string{"c", "d", "l"}, 1, nil},
		{"an edge has nothing", []Member{holder("a"), holder("b"), edge}, []string{"c", "d"}, 0, nil},
		{"one that was removed before", []Member{holder("a"), holder("b"), old, holder("d")}, []string{"d"}, 2, nil},
		{"and is named", []Member{holder("a"), holder("b"), old, holder("d")}, []string{"c", "d"}, 2, nil},
		{"its name belongs to another disk, too", []Member{holder("a"), holder("b"), old, again, holder("d")}, []string{"d"}, 0, ErrReportMissing},
		{"both are dead", []Member{holder("a"), holder("b"), old, again, holder("d")}, []string{"c", "d"}, 3, nil},
		{"a report under the name of another store", []Member{holder("a"), {Node: "b", Store: "store-b2", Holds: true}}, []string{"c", "d"}, 0, ErrReportMissing},
		{"a report of a removed store", []Member{holder("a"), {Node: "b", Store: "store-b", Removed: true}, {Node: "b", Store: "store-b2", Holds: true}}, []string{"c", "d"}, 0, ErrDeadReports},
	} {
		all := reports(quorum, alone)
		all[0].Members = c.members
		p, err := Decide(all, c.dead)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if err == nil && (len(p.Chosen) != 1 || len(p.Gone) != c.gone) {
			t.Errorf("%s: %+v", c.name, p)
		}
	}
}

// TestMembersArePutTogether: what one survivor has not heard of, another has.
func TestMembersArePutTogether(t *testing.T) {
	later, removed := holder("c"), holder("b")
	later.Incarnation, later.Addresses, removed.Removed = 5, []string{"c:2"}, true
	for _, order := range [][]int{{0, 1}, {1, 0}} {
		both := []*Report{{Members: []Member{holder("b"), later}}, {Members: []Member{holder("c"), removed, holder("d")}}}
		all := Members([]*Report{both[order[0]], both[order[1]]})
		find := func(node string) Member {
			return all[slices.IndexFunc(all, func(m Member) bool { return m.Node == node })]
		}
		if len(all) != 3 || !find("b").Removed || find("c").Incarnation != 5 || find("d").Removed {
			t.Errorf("%+v", all)
		}
	}
}

// TestAnEmptyReplicaIsDropped: a replica that never got its first snapshot goes, too, where the shard is
// chosen elsewhere; one of a shard that is left alone stays.
func TestAnEmptyReplicaIsDropped(t *testing.T) {
	st := openStore(t, withoutQuorum(t))
	defer st.Close()
	log := st.Log().NewBatch()
	defer log.Close()
	if err := errors.Join(raftlog.StageNew(log, 0, 9, raftlog.Position{}), log.Commit(pebble.Sync)); err != nil {
		t.Fatal(err)
	}
	p := &Plan{Cluster: "x", Chosen: []Choice{{Node: "b", Replica: Replica{Shard: 0, ID: 3}}}}
	if err := Apply(t.Context(), st, p, "recovery-1"); err != nil {
		t.Fatal(err)
	}
	if id, ok, err := localReplica(st, 0); ok || err != nil {
		t.Errorf("replica %d is still here: %v", id, err)
	}
	if id, ok, err := localReplica(st, 1); !ok || id != 5 || err != nil {
		t.Errorf("replica %d of the other shard: %v, %v", id, ok, err)
	}
}

// TestAnUnfinishedRecoveryIsNotForgotten: a second one goes on with what the first one has left to do.
func TestAnUnfinishedRecoveryIsNotForgotten(t *testing.T) {
	st := openStore(t, withoutQuorum(t))
	defer st.Close()
	apply := func(id string, p Plan) *Marker {
		t.Helper()
		p.Cluster = "x"
		if err := Apply(t.Context(), st, &p, id); err != nil {
			t.Fatal(err)
		}
		m, err := ReadMarker(st)
		if err != nil || m == nil || m.ID != id {
			t.Fatal(m, err)
		}
		return m
	}
	h, err := openReplica(st, 1)
	if err != nil {
		t.Fatal(err)
	}
	b, c := DeadStore{"b", "store-b"}, DeadStore{"c", "store-c"}
	here := Choice{Node: "a", Replica: h.describe()}
	apply("recovery-1", Plan{Gone: []DeadStore{b}, Chosen: []Choice{here}})
	m := apply("recovery-2", Plan{Gone: []DeadStore{b, c}, Kept: []keys.Shard{1}})
	if !slices.Equal(m.Dead, []DeadStore{b, c}) || !slices.Equal(m.Shards, []Recovered{{1, 5}}) {
		t.Errorf("the shard of the first one: %+v", m)
	}
	m = apply("recovery-3", Plan{Chosen: []Choice{{Node: "d", Replica: Replica{Shard: 1, ID: 8}}}})
	if len(m.Dead) != 2 || len(m.Shards) != 0 {
		t.Errorf("a shard that is chosen elsewhere: %+v", m)
	}
}
