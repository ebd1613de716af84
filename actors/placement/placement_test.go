package placement_test

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"parley/actors/conversation/world"
	"parley/actors/grain"
	"parley/actors/placement"
	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// book is the placement over rows: each command is a batch of its own, on a machine that may have
// been thrown away since the last one.
type book struct {
	rows    world.Rows
	machine grain.Machine
	forgets bool
	now     int64
}

func newBook(forgets bool) *book {
	return &book{rows: world.Rows{}, forgets: forgets, now: 1000}
}

func (b *book) do(c *nodev1.Command) (*nodev1.Reply, error) {
	if b.machine == nil || b.forgets {
		b.machine = placement.New(grain.Entity{Kind: nodev1.Kind_KIND_PLACEMENT, Application: placement.ID, ID: placement.ID})
	}
	b.now++
	c.Principal = &nodev1.Principal{Admin: true}
	if err := b.machine.Load(b.rows, 0, nil, c); err != nil {
		return nil, err
	}
	d, err := b.machine.Decide(b.now, c)
	if err != nil {
		return nil, err
	}
	b.machine.Evolve(d)
	for _, op := range d.Ops {
		if op.Kind != store.OpPut {
			return nil, fmt.Errorf("an op of kind %d", op.Kind)
		}
		b.rows[string(op.Key)] = op.Value
	}
	b.machine.Settle()
	return d.Reply, nil
}

func disk(node string, n int) *eventv1.Store {
	return &eventv1.Store{Uuid: id.Derive(id.Application, "", node, fmt.Sprint(n)), Node: node, Incarnation: 1, Gossip: "g:1", Rpc: "r:1", Raft: "f:1"}
}

// edge is the disk of a node that holds no replicas.
func edge(node string) *eventv1.Store {
	s := disk(node, 1)
	s.Roles = []string{"edge"}
	return s
}

func found(founder *eventv1.Store, shards uint32) *nodev1.Command {
	f := &nodev1.FoundPlacement{Founder: founder, NextReplica: uint64(shards) + 1}
	for s := range shards {
		f.Shards = append(f.Shards, &eventv1.ShardMap{Shard: s, Replicas: []*eventv1.PlacedReplica{
			{Id: uint64(s) + 1, Node: founder.Node, Role: eventv1.ReplicaRole_REPLICA_ROLE_VOTER}}})
	}
	return &nodev1.Command{Body: &nodev1.Command_FoundPlacement{FoundPlacement: f}}
}

func put(s *eventv1.Store) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_PutStore{PutStore: &nodev1.PutStore{Store: s}}}
}

func set(node string, s eventv1.StoreState, force bool) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_SetStore{SetStore: &nodev1.SetStore{Node: node, State: s, Force: force}}}
}

const (
	up       = eventv1.StoreState_STORE_STATE_UP
	draining = eventv1.StoreState_STORE_STATE_DRAINING
	removing = eventv1.StoreState_STORE_STATE_REMOVING
	removed  = eventv1.StoreState_STORE_STATE_REMOVED
)

// TestMembership tells the life of members step by step, also over machines that forget.
func TestMembership(t *testing.T) {
	later, older := disk("b", 1), disk("b", 1)
	later.Incarnation, later.Rpc, older.Incarnation = 5, "r:2", 4
	renamed := disk("b", 1)
	renamed.Node, renamed.Incarnation = "x", 9
	for _, forgets := range []bool{false, true} {
		b := newBook(forgets)
		for i, step := range []struct {
			what string
			do   *nodev1.Command
			want code.Code // "" = done
		}{
			{"nobody joins before the founding", put(disk("b", 1)), code.Unavailable},
			{"the founding", found(disk("a", 1), 3), ""},
			{"the founding again", found(disk("z", 1), 9), ""},
			{"a second node", put(disk("b", 1)), ""},
			{"a second node again", put(disk("b", 1)), ""},
			{"its next start", put(later), ""},
			{"an earlier start, late", put(older), code.Permission},
			{"another name for its disk", put(renamed), code.ValidationFail},
			{"another disk under its name", put(disk("b", 2)), code.Permission},
			{"a store without addresses", put(&eventv1.Store{Uuid: id.New(id.Application), Node: "q"}), code.ValidationFail},
			{"drain", set("b", draining, false), ""},
			{"drain again", set("b", draining, false), ""},
			{"undrain", set("b", up, false), ""},
			{"somebody unknown", set("q", draining, false), code.NotFound},
			{"removal leaves one", set("b", removing, false), code.ClusterState},
			{"a third node", put(disk("c", 1)), ""},
			{"a fourth node", put(disk("d", 1)), ""},
			{"removal at once", set("b", removed, false), code.ClusterState},
			{"removal leaves three", set("b", removing, false), ""},
			{"it cannot be undone", set("b", up, false), code.ClusterState},
			{"a node that is being removed says where it is", put(later), ""},
			{"the end of the removal", set("b", removed, false), ""},
			{"the removed disk", put(later), code.Permission},
			{"a new disk under the old name", put(disk("b", 2)), ""},
			{"forced removals", set("b", removing, true), ""},
			{"another", set("c", removing, true), ""},
			{"and another", set("d", removing, true), ""},
			{"an edge", put(edge("e")), ""},
			{"but not the last that holds data", set("a", removing, true), code.ClusterState},
			{"an edge may go without force", set("e", removing, false), ""},
		} {
			_, err := b.do(step.do)
			if e, _ := code.Of(err); (err == nil) != (step.want == "") || err != nil && e.Code != step.want {
				t.Fatalf("step %d, %s: %v, want %q", i, step.what, err, step.want)
			}
		}
		stores, err := placement.Stores(b.rows)
		if err != nil || len(stores) != 6 {
			t.Fatal(stores, err)
		}
	}
}

// TestStrangers: only nodes and operators change the placement, and only with its own commands.
func TestStrangers(t *testing.T) {
	b := newBook(false)
	if _, err := b.do(found(disk("a", 1), 1)); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*nodev1.Principal{nil, {ApplicationId: id.New(id.Application), Admin: true}, {UserId: "USR-x"}} {
		c := put(disk("b", 1))
		c.Principal = p
		if _, err := b.machine.Decide(1, c); !code.Has(err, code.Permission) {
			t.Errorf("%v: %v", p, err)
		}
	}
	if _, err := b.do(&nodev1.Command{Body: &nodev1.Command_DeleteUser{DeleteUser: &nodev1.DeleteUser{}}}); !code.Has(err, code.InvalidEvent) {
		t.Error(err)
	}
	other := placement.New(grain.Entity{Kind: nodev1.Kind_KIND_PLACEMENT, ID: "other"})
	if _, err := other.Decide(1, put(disk("b", 1))); !code.Has(err, code.Permission) {
		t.Error(err)
	}
}

// TestIdsAreNeverReused lets several deciders change shard rows, each from the row it saw last: one
// of two from the same row wins, and no replica id is given twice.
func TestIdsAreNeverReused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := newBook(rapid.Bool().Draw(t, "forgets"))
		const shards = 3
		if _, err := b.do(found(disk("a", 1), shards)); err != nil {
			t.Fatal(err)
		}
		given := map[uint64]bool{1: true, 2: true, 3: true}
		var seen [2][]*eventv1.ShardMap // by decider
		for d := range seen {
			seen[d] = read(t, b)
		}
		for range rapid.IntRange(1, 20).Draw(t, "decisions") {
			d, s := rapid.IntRange(0, 1).Draw(t, "decider"), rapid.IntRange(0, shards-1).Draw(t, "shard")
			before := read(t, b)[s]
			wanted := proto.CloneOf(seen[d][s])
			wanted.Replicas = append(wanted.Replicas, &eventv1.PlacedReplica{Node: "b", Role: eventv1.ReplicaRole_REPLICA_ROLE_LEARNER})
			reply, err := b.do(&nodev1.Command{Body: &nodev1.Command_PutShard{PutShard: &nodev1.PutShard{Shard: wanted}}})
			switch current := wanted.ConfVersion == before.ConfVersion; {
			case !current && !code.Has(err, code.IdempotencyConflict):
				t.Fatalf("a decision from version %d was taken at %d: %v", wanted.ConfVersion, before.ConfVersion, err)
			case current && err != nil:
				t.Fatal(err)
			case current:
				last := reply.ShardMap.Replicas[len(reply.ShardMap.Replicas)-1].Id
				if given[last] || reply.ShardMap.ConfVersion != before.ConfVersion+1 {
					t.Fatalf("replica %d again, version %d after %d", last, reply.ShardMap.ConfVersion, before.ConfVersion)
				}
				given[last] = true
			}
			if rapid.Bool().Draw(t, "looks") {
				seen[d] = read(t, b)
			}
		}
	})
}

func read(t *rapid.T, b *book) []*eventv1.ShardMap {
	shards, err := placement.Shards(b.rows)
	if err != nil {
		t.Fatal(err)
	}
	return shards
}

// TestKeys: the placement's rows are in the public part of the meta shard.
func TestKeys(t *testing.T) {
	b := newBook(false)
	if _, err := b.do(found(disk("a", 1), 2)); err != nil {
		t.Fatal(err)
	}
	public := 0
	for _, prefix := range keys.PublicPrefixes() {
		if err := b.rows.Scan(prefix, keys.End(prefix), false, func(_, _ []byte) (bool, error) { public++; return true, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if public != len(b.rows) || public != 4 {
		t.Errorf("%d of %d rows are public", public, len(b.rows))
	}
}

func recovered(c *nodev1.RecoverPlacement) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_RecoverPlacement{RecoverPlacement: c}}
}

// TestANameThatIsStillPlaced: a shard that was not recovered has a dead voter for a while; until it has let
// go of it nobody may come under that name, or it would be waited for on a disk that has nothing.
func TestANameThatIsStillPlaced(t *testing.T) {
	for _, forgets := range []bool{false, true} {
		b := newBook(forgets)
		place := func(version uint64, nodes ...string) *nodev1.Command {
			m := &eventv1.ShardMap{Shard: 2, ConfVersion: version}
			for _, n := range nodes {
				m.Replicas = append(m.Replicas, &eventv1.PlacedReplica{Node: n, Role: eventv1.ReplicaRole_REPLICA_ROLE_VOTER})
			}
			return &nodev1.Command{Body: &nodev1.Command_PutShard{PutShard: &nodev1.PutShard{Shard: m}}}
		}
		for i, step := range []struct {
			do   *nodev1.Command
			want code.Code
		}{
			{found(disk("a", 1), 3), ""},
			{put(disk("b", 1)), ""},
			{place(1, "a", "b"), ""},
			{recovered(&nodev1.RecoverPlacement{Id: "r1", Dead: []string{disk("b", 1).Uuid}, DeadNodes: []string{"b"}}), ""},
			{put(disk("b", 2)), code.Unavailable},
			{put(disk("c", 1)), ""},
			{place(2, "a", "c"), ""},
			{put(disk("b", 2)), ""},
		} {
			_, err := b.do(step.do)
			if e, _ := code.Of(err); (err == nil) != (step.want == "") || err != nil && e.Code != step.want {
				t.Fatalf("step %d: %v, want %q", i, err, step.want)
			}
		}
	}
}

// TestRecoveriesAreTakenOnce: survivors repeat themselves, also after others have spoken, and a store that
// only the lost majority knew never becomes a member.
func TestRecoveriesAreTakenOnce(t *testing.T) {
	b := newBook(true)
	if _, err := b.do(found(disk("a", 1), 2)); err != nil {
		t.Fatal(err)
	}
	unheard := disk("b", 1)
	say := func(recovery string, c *nodev1.RecoverPlacement) bool {
		t.Helper()
		c.Id = recovery
		reply, err := b.do(recovered(c))
		if err != nil {
			t.Fatal(err)
		}
		return reply.Duplicate
	}
	first := &nodev1.RecoverPlacement{Dead: []string{unheard.Uuid}, DeadNodes: []string{"b"},
		Shards: []*eventv1.ShardMap{{Shard: 1, Replicas: []*eventv1.PlacedReplica{{Id: 2, Node: "a", Role: eventv1.ReplicaRole_REPLICA_ROLE_VOTER}}}}}
	if say("r1", first) || say("r2", &nodev1.RecoverPlacement{Dead: []string{unheard.Uuid}}) {
		t.Error("the first word of a survivor counts for nothing")
	}
	if !say("r1", first) || !say("r2", &nodev1.RecoverPlacement{}) {
		t.Error("a survivor that repeats itself is heard twice")
	}
	if _, err := b.do(put(unheard)); !code.Has(err, code.Permission) {
		t.Errorf("a store that was given up: %v", err)
	}
	for i := range 100 {
		say(fmt.Sprint("later", i), &nodev1.RecoverPlacement{})
	}
	row, err := placement.Row(b.rows)
	if err != nil || len(row.EarlierRecoveries) != 63 || row.EarlierRecoveries[62] != "later98" {
		t.Errorf("%d recoveries are remembered: %v", len(row.GetEarlierRecoveries()), err)
	}
	if _, err := b.do(recovered(&nodev1.RecoverPlacement{Id: "r9", Dead: []string{"no uuid"}, DeadNodes: []string{"x"}})); !code.Has(err, code.ValidationFail) {
		t.Errorf("a store without a uuid: %v", err)
	}
}

// TestStoresHaveAddresses: of several things that are wrong the first is told, each time; a node that
// serves no clients has no address for them.
func TestStoresHaveAddresses(t *testing.T) {
	long := strings.Repeat("x", 257)
	for _, c := range []struct {
		change func(*eventv1.Store)
		field  string // "" = taken
	}{
		{func(s *eventv1.Store) { s.Http = "" }, ""},
		{func(s *eventv1.Store) { s.Http = long[:256] }, ""},
		{func(s *eventv1.Store) { s.Http = long }, "http"},
		{func(s *eventv1.Store) { s.Node, s.Gossip, s.Rpc, s.Raft = "", "", "", "" }, "node"},
		{func(s *eventv1.Store) { s.Gossip, s.Rpc, s.Raft, s.Http = long, "", "", long }, "gossip"},
		{func(s *eventv1.Store) { s.Rpc, s.Raft = "", "" }, "rpc"},
		{func(s *eventv1.Store) { s.Raft, s.Http = long, long }, "raft"},
	} {
		for range 20 { // a random order would show
			b := newBook(true)
			if _, err := b.do(found(disk("n1", 1), 2)); err != nil {
				t.Fatal(err)
			}
			s := disk("n2", 1)
			c.change(s)
			_, err := b.do(put(s))
			got := ""
			if e, ok := code.Of(err); ok && len(e.Fields) == 1 {
				got = e.Fields[0].Name
			}
			if got != c.field || (err == nil) != (c.field == "") {
				t.Fatalf("want a refusal of %q, got %v", c.field, err)
			}
		}
	}
}
