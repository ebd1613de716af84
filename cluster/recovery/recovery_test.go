package recovery

import (
	"errors"
	"io"
	"log/slog"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"parley/persistence/keys"
	"parley/persistence/raftlog"
	"parley/persistence/store"
)

// conf is a configuration of voters with the ids 1, 2, … on the given nodes.
func conf(nodes ...string) (c Conf) {
	for i, n := range nodes {
		c.Voters = append(c.Voters, uint64(i+1))
		c.Members = append(c.Members, raftlog.Member{Replica: uint64(i + 1), Node: n})
	}
	return c
}

// reports are of two survivors of a, b and c, who have one data shard.
func reports(meta, data [2]Replica) []*Report {
	var all []*Report
	for i, node := range []string{"a", "b"} {
		r := &Report{Cluster: "x", Node: node, Store: "store-" + node, Shards: 1}
		for s, replica := range [][2]Replica{meta, data} {
			if replica[i].ID != 0 {
				replica[i].Shard = keys.Shard(s)
				r.Replicas = append(r.Replicas, replica[i])
			}
		}
		all = append(all, r)
	}
	return all
}

func TestDecide(t *testing.T) {
	abc, acd := conf("a", "b", "c"), conf("a", "c", "d")
	joint := abc
	joint.Outgoing = []uint64{3} // c alone: its word is needed, too
	healthy := [2]Replica{{ID: 1, Term: 7, Last: 20, Conf: abc}, {ID: 2, Term: 7, Last: 20, Conf: abc}}
	for _, c := range []struct {
		name   string
		data   [2]Replica
		dead   []string
		chosen string // the node whose replica is chosen for the data shard, "" = none
		lost   bool
		err    error
	}{
		{"a quorum", healthy, []string{"c"}, "", false, ErrNotNeeded},
		{"one survivor", [2]Replica{{ID: 1, Term: 7, Last: 20, Conf: acd}, {}}, []string{"c", "d"}, "a", false, nil},
		{"a survivor that is not told of", [2]Replica{{ID: 1, Conf: acd}, {}}, []string{"c"}, "", false, ErrReportMissing},
		{"half of a joint configuration is dead", [2]Replica{{ID: 1, Term: 7, Last: 20, Conf: joint}, {ID: 2, Term: 7, Last: 21, Conf: joint}}, []string{"c"}, "b", false, nil},
		{"the later term wins", [2]Replica{{ID: 1, Term: 8, Last: 20, Conf: joint}, {ID: 2, Term: 7, Last: 99, Conf: joint}}, []string{"c"}, "a", false, nil},
		{"the later configuration counts", [2]Replica{{ID: 1, Term: 7, Last: 20, Commit: 9, Conf: abc}, {ID: 2, Term: 7, Last: 20, Commit: 5, Conf: joint}}, []string{"c"}, "", false, ErrNotNeeded},
		{"nobody has it", [2]Replica{}, []string{"c"}, "", true, nil},
		{"the dead has reported", healthy, []string{"a"}, "", false, ErrDeadReports},
	} {
		p, err := Decide(reports(healthy, c.data), c.dead)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if err != nil {
			continue
		}
		if c.lost != slices.Equal(p.Lost, []keys.Shard{1}) || (c.chosen != "") != (len(p.Chosen) == 1) || !slices.Equal(p.Kept, []keys.Shard{0}) {
			t.Errorf("%s: %+v", c.name, p)
			continue
		}
		if c.chosen != "" && (p.Chosen[0].Node != c.chosen || p.Chosen[0].Shard != 1) {
			t.Errorf("%s: %+v", c.name, p.Chosen)
		}
	}
	mixed := reports(healthy, healthy)
	mixed[1].Cluster = "y"
	if _, err := Decide(mixed, nil); !errors.Is(err, ErrForeignReport) {
		t.Errorf("reports of two clusters: %v", err)
	}
	if _, err := Decide(nil, nil); !errors.Is(err, ErrReportMissing) {
		t.Errorf("no report: %v", err)
	}
}

func openStore(t *testing.T, fs vfs.FS) *store.Store {
	t.Helper()
	o := store.DefaultOptions()
	o.FS, o.Logger = fs, slog.New(slog.NewTextHandler(io.Discard, nil))
	st, err := store.Open("data", o)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// change encodes a change of configuration that adds voters at once.
func change(t *testing.T, members []raftlog.Member, ids ...uint64) []byte {
	t.Helper()
	cc := &raftpb.ConfChangeV2{Transition: raftpb.ConfChangeTransitionJointImplicit.Enum(), Context: raftlog.Applied{Members: members}.Encode()}
	for _, id := range ids {
		cc.Changes = append(cc.Changes, &raftpb.ConfChangeSingle{Type: raftpb.ConfChangeAddNode.Enum(), NodeId: new(id)})
	}
	b, err := proto.Marshal(cc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// withoutQuorum is the disk of node a with replica 5 of the one data shard. The state is of a time when it
// was alone: applied up to 30. The log goes on to 34, 32 of which are known to be committed: 31 adds two
// voters, 32 leaves the joint configuration, and 33 would add a third, but that was never committed.
func withoutQuorum(t *testing.T) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	st := openStore(t, fs)
	if err := st.SetIdentity(store.Identity{ClusterID: "x", NodeName: "a", StoreUUID: "store-a", Shards: 1}); err != nil {
		t.Fatal(err)
	}
	log := st.Log().NewBatch()
	defer log.Close()
	at := raftlog.Position{Index: 30, Term: 7}
	if err := raftlog.StageNew(log, 1, 5, at); err != nil {
		t.Fatal(err)
	}
	members := []raftlog.Member{{Replica: 5, Node: "a"}, {Replica: 6, Node: "b"}, {Replica: 7, Node: "c"}}
	w := raftlog.Write{Shard: 1, Replica: 5, Vote: &raftlog.Vote{Term: 9, For: 6, Commit: 32}}
	for i, data := range [][]byte{change(t, members, 6, 7), nil, change(t, append(members, raftlog.Member{Replica: 8, Node: "d"}), 8), []byte("entry")} {
		e := &raftpb.Entry{Index: new(31 + uint64(i)), Term: new(uint64(8)), Type: raftpb.EntryConfChangeV2.Enum(), Data: data}
		if i == 3 {
			e.Type = raftpb.EntryNormal.Enum()
		}
		w.Entries = append(w.Entries, e)
	}
	if err := w.Stage(log); err != nil {
		t.Fatal(err)
	}
	row := raftlog.Applied{Position: at, Conf: raftpb.EnsureConfState(&raftpb.ConfState{Voters: []uint64{5}}), Members: members[:1]}
	if err := errors.Join(log.Commit(pebble.Sync), st.State().Set(keys.Replica(1), row.Encode(), pebble.NoSync), st.FlushState(t.Context()), st.Close()); err != nil {
		t.Fatal(err)
	}
	return fs
}

// TestApply makes the surviving replica the only voter: all of its log counts, but for changes of
// configuration, in a term that no election of the dead reaches.
func TestApply(t *testing.T) {
	fs := withoutQuorum(t)
	st := openStore(t, fs)
	r, err := Survey(st)
	if err != nil || len(r.Replicas) != 1 {
		t.Fatal(r, err)
	}
	r.Members = []Member{holder("a"), holder("b"), holder("c")}
	p, err := Decide([]*Report{r}, []string{"b", "c"})
	if err != nil || len(p.Chosen) != 1 || p.Chosen[0].Unsure != 2 || !slices.Equal(p.Chosen[0].Before, []string{"a", "b", "c"}) || !slices.Equal(p.Lost, []keys.Shard{0}) {
		t.Fatalf("%+v, %v", p, err)
	}
	if err := Apply(t.Context(), st, p, "recovery-1"); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st = openStore(t, fs)
	defer st.Close()
	h, err := openReplica(st, 1)
	if err != nil {
		t.Fatal(err)
	}
	hard, voters, err := h.log.InitialState()
	if err != nil || hard.GetCommit() != 34 || hard.GetTerm() < 9+termJump || !slices.Equal(voters.GetVoters(), []uint64{5}) || h.applied.Index != 30 {
		t.Errorf("%v, %v, applied %d, %v", hard, voters, h.applied.Index, err)
	}
	entries, err := h.log.Entries(31, 35, 1<<20)
	if err != nil || len(entries) != 4 {
		t.Fatal(entries, err)
	}
	for i, want := range []string{"", "", "", "entry"} {
		if e := entries[i]; string(e.Data) != want || e.GetType() != raftpb.EntryNormal || e.GetTerm() != 8 {
			t.Errorf("entry %d: %v", i, e)
		}
	}
	m, err := ReadMarker(st)
	if err != nil || m.ID != "recovery-1" || !slices.Equal(m.Dead, []DeadStore{{"b", "store-b"}, {"c", "store-c"}}) || !slices.Equal(m.Shards, []Recovered{{1, 5}}) {
		t.Errorf("marker %+v, %v", m, err)
	}
	if err := ClearMarker(st); err != nil {
		t.Fatal(err)
	}
	if m, err := ReadMarker(st); m != nil || err != nil {
		t.Errorf("the marker is still there: %+v, %v", m, err)
	}
	if r, err = Survey(st); err != nil {
		t.Fatal(err)
	}
	if p, err = Decide([]*Report{r}, []string{"b", "c"}); err != nil || len(p.Chosen) != 0 || !slices.Equal(p.Kept, []keys.Shard{1}) {
		t.Errorf("a second time: %+v, %v", p, err)
	}
}

// TestTheShorterLogIsDropped: on the survivor that has less, a tombstone keeps the replica away.
func TestTheShorterLogIsDropped(t *testing.T) {
	st := openStore(t, withoutQuorum(t))
	defer st.Close()
	mine, err := Survey(st)
	if err != nil {
		t.Fatal(err)
	}
	theirs := *mine
	theirs.Node, theirs.Store = "b", "store-b"
	theirs.Replicas = slices.Clone(mine.Replicas)
	theirs.Replicas[0].ID, theirs.Replicas[0].Last = 6, 40
	for i := range theirs.Replicas {
		mine.Replicas[i].Conf.Voters = []uint64{5, 6, 7, 8, 9} // two of five
		mine.Replicas[i].Conf.Members = append(slices.Clone(mine.Replicas[i].Conf.Members), raftlog.Member{Replica: 8, Node: "d"}, raftlog.Member{Replica: 9, Node: "e"})
		theirs.Replicas[i].Conf = mine.Replicas[i].Conf
	}
	p, err := Decide([]*Report{mine, &theirs}, []string{"c", "d", "e"})
	if err != nil || len(p.Chosen) != 1 || p.Chosen[0].Node != "b" || p.Chosen[0].Dropped["a"] != 5 {
		t.Fatalf("%+v, %v", p, err)
	}
	if err := Apply(t.Context(), st, p, "recovery-1"); err != nil {
		t.Fatal(err)
	}
	if r, err := Survey(st); err != nil || len(r.Replicas) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	row, closer, err := st.Log().Get(keys.LocalReplica(1))
	if err != nil {
		t.Fatal(err)
	}
	defer closer.Close()
	if local, err := raftlog.DecodeLocal(row); err != nil || !local.Removed || local.Replica != 5 {
		t.Errorf("%+v, %v", local, err)
	}
	if m, err := ReadMarker(st); err != nil || m == nil || len(m.Shards) != 0 {
		t.Errorf("marker %+v, %v", m, err)
	}
}
