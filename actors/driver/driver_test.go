package driver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"parley/actors/conversation/world"
	"parley/actors/grain"
	"parley/actors/placement"
	"parley/cluster/version"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// stage is a cluster whose placement is the real machine and whose shards obey at once.
type stage struct {
	rows   world.Rows
	shards map[uint32]*nodev1.ObservedShard
	live   map[string]bool
	silent map[string]bool // live, but without an answer
	full   []string        // nodes that make no replica
	orders []string
	epoch  uint64 // of the driver
	heard  uint64 // the latest driver that the nodes have obeyed
}

func newStage(t *testing.T, shards uint32) *stage {
	s := &stage{rows: world.Rows{}, shards: map[uint32]*nodev1.ObservedShard{}, live: map[string]bool{"a": true}, silent: map[string]bool{}, epoch: 6}
	f := &nodev1.FoundPlacement{Founder: disk("a"), NextReplica: uint64(shards) + 1}
	for n := range shards {
		f.Shards = append(f.Shards, &eventv1.ShardMap{Shard: n, Replicas: []*eventv1.PlacedReplica{{Id: uint64(n) + 1, Node: "a", Role: eventv1.ReplicaRole_REPLICA_ROLE_VOTER}}})
		s.shards[n] = &nodev1.ObservedShard{Shard: n, Epoch: 6, Leader: uint64(n) + 1, Configured: 9, Replicas: []*nodev1.ObservedReplica{{Id: uint64(n) + 1, Node: "a", Voter: true, CaughtUp: true}}}
	}
	s.place(t, &nodev1.Command{Body: &nodev1.Command_FoundPlacement{FoundPlacement: f}})
	return s
}

func disk(node string) *eventv1.Store {
	return &eventv1.Store{Uuid: id.Derive(id.Application, "", node, ""), Node: node, Incarnation: 1, Gossip: "g:1", Rpc: "r:1", Raft: "f:1"}
}

func (s *stage) place(t *testing.T, c *nodev1.Command) {
	t.Helper()
	if err := s.Place(t.Context(), command(c)); err != nil {
		t.Fatal(err)
	}
}

func (s *stage) join(t *testing.T, node string) {
	s.live[node] = true
	s.place(t, &nodev1.Command{Body: &nodev1.Command_PutStore{PutStore: &nodev1.PutStore{Store: disk(node)}}})
}

// Place runs the placement's machine.
func (s *stage) Place(_ context.Context, c *nodev1.Command) error {
	m := placement.New(grain.Entity{Kind: nodev1.Kind_KIND_PLACEMENT, ID: placement.ID})
	if err := m.Load(s.rows, 0, nil, c); err != nil {
		return err
	}
	d, err := m.Decide(1, c)
	for _, op := range d.Ops {
		s.rows[string(op.Key)] = op.Value
	}
	return err
}

func (s *stage) Epoch() uint64            { return s.epoch }
func (s *stage) Public() store.Reader     { return s.rows }
func (s *stage) Live(node string) bool    { return s.live[node] }
func (s *stage) Leaving(node string) bool { return false }
func (s *stage) Full() []string           { return s.full }

func (s *stage) Observe(_ context.Context, nodes []string) (answers []Answer) {
	for _, node := range nodes {
		if s.silent[node] {
			continue
		}
		a := Answer{Node: node}
		for _, o := range s.shards {
			if nodeOf(o) == node {
				a.Shards = append(a.Shards, o)
			}
		}
		answers = append(answers, a)
	}
	return answers
}

// Order obeys at once.
func (s *stage) Order(_ context.Context, node string, o *nodev1.Order) error {
	if o.DriverEpoch < s.heard || o.DriverEpoch == 0 {
		return fmt.Errorf("an order of driver %d after one of %d", o.DriverEpoch, s.heard)
	}
	s.heard = o.DriverEpoch
	s.orders = append(s.orders, fmt.Sprint(o.Kind, " ", node, " ", o.Shard))
	shard := s.shards[o.Shard]
	switch o.Kind {
	case nodev1.OrderKind_ORDER_KIND_TRANSFER:
		if node != nodeOf(shard) {
			return fmt.Errorf("%s does not lead shard %d", node, o.Shard)
		}
		shard.Leader, shard.Epoch = o.Replica, shard.Epoch+1
	case nodev1.OrderKind_ORDER_KIND_CONFIGURE:
		if o.Configured != shard.Configured {
			return fmt.Errorf("shard %d: a change of configuration %d, but it is %d", o.Shard, o.Configured, shard.Configured)
		}
		shard.Configured++
		for _, c := range o.Changes {
			i := slices.IndexFunc(shard.Replicas, func(r *nodev1.ObservedReplica) bool { return r.Id == c.Replica })
			switch c.Kind {
			case 1:
				shard.Replicas = append(shard.Replicas, &nodev1.ObservedReplica{Id: c.Replica, Node: c.Node, CaughtUp: true})
			case 2:
				shard.Replicas[i].Voter = true
			case 3:
				shard.Replicas = slices.Delete(shard.Replicas, i, i+1)
			}
		}
	}
	return nil
}

// rounds drives until nothing more happens.
func rounds(t *testing.T, s *stage) *Driver {
	t.Helper()
	o := DefaultOptions()
	o.Cluster, o.Parallel = s, 1 // one after the other: the stage has no lock
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		p, err := d.Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		jobs, _ := d.jobs(p)
		if len(jobs) == 0 {
			return d
		}
		for _, j := range jobs {
			d.do(t.Context(), j)
		}
	}
	t.Fatalf("no rest; last orders: %v", s.orders[len(s.orders)-10:])
	return nil
}

// TestDriverGrowsAndRemoves drives a cluster from one node to three, then replaces one of them.
func TestDriverGrowsAndRemoves(t *testing.T) {
	s := newStage(t, 5)
	rounds(t, s)
	if len(s.orders) != 0 {
		t.Fatalf("orders for a cluster of one: %v", s.orders)
	}
	s.join(t, "b")
	s.join(t, "c")
	rounds(t, s)
	s.join(t, "d")
	s.place(t, &nodev1.Command{Body: &nodev1.Command_SetStore{SetStore: &nodev1.SetStore{Node: "a", State: eventv1.StoreState_STORE_STATE_REMOVING}}})
	d := rounds(t, s)
	p, err := d.Look(t.Context())
	if err != nil || p.View.UnderReplicated() != 0 || len(p.Members()) != 3 {
		t.Fatalf("%d under-replicated, members %v, %v", p.View.UnderReplicated(), p.Members(), err)
	}
	for _, o := range p.Seen {
		for _, r := range o.Replicas {
			if r.Node == "a" || !r.Voter {
				t.Errorf("shard %d has %v", o.Shard, r)
			}
		}
	}
}

// TestDeadNodesAreReplaced: after DeadAfter, when there are others.
func TestDeadNodesAreReplaced(t *testing.T) {
	s := newStage(t, 3)
	for _, n := range []string{"b", "c", "d"} {
		s.join(t, n)
	}
	d := rounds(t, s)
	now := time.Unix(1000, 0)
	d.options.Now = func() time.Time { return now }
	for _, o := range s.shards { // lead elsewhere, then die
		i := slices.IndexFunc(o.Replicas, func(r *nodev1.ObservedReplica) bool { return r.Node != "d" })
		o.Leader = o.Replicas[i].Id
	}
	s.live["d"] = false
	for _, c := range []struct {
		after time.Duration
		keeps bool
	}{{0, true}, {d.options.DeadAfter - 1, true}, {1, false}} {
		now = now.Add(c.after)
		p, err := d.Look(t.Context())
		if err != nil || p.View.Node("d").Keeps != c.keeps {
			t.Fatalf("after %v: %+v %v", c.after, p.View.Node("d"), err)
		}
	}
}

// TestTheSilentLeadNothing: a node that does not answer gets no leaderships, though gossip still
// believes that it is alive.
func TestTheSilentLeadNothing(t *testing.T) {
	s := newStage(t, 12)
	s.join(t, "b")
	s.join(t, "c")
	rounds(t, s)
	for _, o := range s.shards { // as the death of c leaves them
		i := slices.IndexFunc(o.Replicas, func(r *nodev1.ObservedReplica) bool { return r.Node == "a" })
		o.Leader = o.Replicas[i].Id
	}
	s.silent["c"], s.orders = true, nil
	rounds(t, s)
	leads := map[string]int{}
	for _, o := range s.shards {
		leads[nodeOf(o)]++
	}
	if leads["a"] == 0 || leads["b"] == 0 || leads["c"] > 0 {
		t.Errorf("leaderships: %v", leads)
	}
}

// TestFullDisksAreSpared: a node whose disk is full is asked for no replica, as long as that lasts, and the driver
// does not look at what waits for space as at what moves.
func TestFullDisksAreSpared(t *testing.T) {
	s := newStage(t, 5)
	d := rounds(t, s)
	s.join(t, "b")
	s.join(t, "c")
	p, err := d.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	jobs, _ := d.jobs(p)
	for _, j := range jobs { // one shard is to get a replica on c, and has none yet
		d.do(t.Context(), j)
	}
	s.full = []string{"c"}
	d = rounds(t, s)
	p, err = d.Look(t.Context())
	if err != nil || p.View.Cramped() != 5 || p.View.UnderReplicated() != 5 {
		t.Fatalf("%d shards wait for space, %d are under-replicated, %v", p.View.Cramped(), p.View.UnderReplicated(), err)
	}
	if i := slices.IndexFunc(s.orders, func(o string) bool { return strings.Contains(o, "MAKE c ") }); i >= 0 {
		t.Errorf("an order to a full node: %s", s.orders[i])
	}
	if pause := d.round(t.Context()); pause != d.options.IdleEvery {
		t.Errorf("the next look is after %v", pause)
	}
	s.full = nil
	if p, err = rounds(t, s).Look(t.Context()); err != nil || p.View.Cramped() != 0 || p.View.UnderReplicated() != 0 {
		t.Errorf("with space %d shards wait for it, %d are under-replicated, %v", p.View.Cramped(), p.View.UnderReplicated(), err)
	}
}

// TestEdgesHoldNothing: a member without the role shards gets no replicas and counts for none, and
// gives away those that it has when its role is taken.
func TestEdgesHoldNothing(t *testing.T) {
	s := newStage(t, 3)
	for _, node := range []string{"b", "c", "d"} {
		s.join(t, node)
	}
	role := func(node string, incarnation uint64, roles ...string) {
		d := disk(node)
		d.Roles, d.Incarnation = roles, incarnation
		s.live[node] = true
		s.place(t, &nodev1.Command{Body: &nodev1.Command_PutStore{PutStore: &nodev1.PutStore{Store: d}}})
	}
	role("e", 1, RoleEdge)
	look := func(members int, holding ...string) {
		t.Helper()
		p, err := rounds(t, s).Look(t.Context())
		if err != nil || p.View.UnderReplicated() != 0 || len(p.Members()) != members {
			t.Fatalf("%d under-replicated, %d members, %v", p.View.UnderReplicated(), len(p.Members()), err)
		}
		for _, o := range p.Seen {
			if len(o.Replicas) != 3 {
				t.Errorf("shard %d has %d replicas", o.Shard, len(o.Replicas))
			}
			for _, r := range o.Replicas {
				if !slices.Contains(holding, r.Node) {
					t.Errorf("shard %d has a replica on %s", o.Shard, r.Node)
				}
			}
		}
	}
	look(5, "a", "b", "c", "d")
	role("d", 2, RoleEdge)
	look(5, "a", "b", "c")
	role("e", 2, RoleShards)
	role("a", 2, RoleEdge)
	look(5, "b", "c", "e")
}

// TestAnOldDriverIsNotObeyed: whoever looked in an earlier epoch orders as the driver of that epoch, also
// when it leads again by the time of the order.
func TestAnOldDriverIsNotObeyed(t *testing.T) {
	s := newStage(t, 2)
	s.join(t, "b")
	s.join(t, "c")
	d := rounds(t, s)
	s.place(t, &nodev1.Command{Body: &nodev1.Command_SetStore{SetStore: &nodev1.SetStore{Node: "a", State: eventv1.StoreState_STORE_STATE_DRAINING}}})
	old, err := d.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.epoch, s.heard = 9, 9 // a successor was obeyed, and this node leads again
	jobs, _ := d.jobs(old)
	if len(jobs) == 0 {
		t.Fatal("nothing to do for the old driver")
	}
	before := len(s.orders)
	for _, j := range jobs {
		if err := j.run(t.Context()); err == nil {
			t.Errorf("%s: an order of the past was obeyed", j.kind)
		}
	}
	if len(s.orders) != before {
		t.Errorf("orders of the past: %v", s.orders[before:])
	}
	s.epoch = 0
	if pause := d.round(t.Context()); pause != d.options.IdleEvery || len(s.orders) != before {
		t.Error("a node that does not drive gave orders")
	}
}

// TestUpgradeOrder walks a cluster from a build of version 1 to one of versions 1 and 2, node by node.
func TestUpgradeOrder(t *testing.T) {
	s := newStage(t, 2)
	start := func(node string, incarnation uint64, oldest, newest uint32) error {
		d := disk(node)
		d.Incarnation, d.VersionOldest, d.VersionNewest = incarnation, oldest, newest
		s.live[node] = true
		return s.Place(t.Context(), command(&nodev1.Command{Body: &nodev1.Command_PutStore{PutStore: &nodev1.PutStore{Store: d}}}))
	}
	for _, step := range []struct {
		what           string
		node           string
		start          uint64
		oldest, newest uint32
		ok             bool
		version        version.Number // of the cluster, when it has come to rest
	}{
		{"the old build", "b", 1, 1, 1, true, 1},
		{"and again", "c", 1, 0, 0, true, 1}, // of before ranges were told
		{"the first upgrade", "b", 2, 1, 2, true, 1},
		{"taken back", "b", 3, 1, 1, true, 1},
		{"and made again", "b", 4, 1, 2, true, 1},
		{"a build that skips versions", "d", 1, 3, 4, false, 1},
		{"the founder's upgrade", "a", 2, 1, 2, true, 1},
		{"the last upgrade", "c", 2, 1, 2, true, 2},
		{"a downgrade", "b", 5, 1, 1, false, 2},
		{"an old build joins", "e", 1, 0, 0, false, 2},
		{"a later build", "b", 6, 2, 3, true, 2},
	} {
		if err := start(step.node, step.start, step.oldest, step.newest); (err == nil) != step.ok {
			t.Fatalf("%s: %v", step.what, err)
		}
		p, err := rounds(t, s).Look(t.Context())
		if err != nil || p.Version != step.version {
			t.Fatalf("%s: the cluster is at %d, want %d (%v)", step.what, p.Version, step.version, err)
		}
	}
	for _, to := range []uint32{1, 3} {
		c := &nodev1.Command{Body: &nodev1.Command_RaiseVersion{RaiseVersion: &nodev1.RaiseVersion{Version: to}}}
		if err := s.Place(t.Context(), command(c)); err == nil {
			t.Errorf("the cluster went to version %d", to)
		}
	}
}

// TestOnlyTheDriverTells: how the cluster fares is shown by the node that drives it, and by no other.
func TestOnlyTheDriverTells(t *testing.T) {
	s := newStage(t, 2)
	s.join(t, "b")
	s.join(t, "c")
	rounds(t, s)
	s.live["c"] = false
	o := DefaultOptions()
	registry := prometheus.NewRegistry()
	o.Cluster, o.Parallel, o.Metrics = s, 1, registry
	d, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	d.round(t.Context())
	want := `
# HELP parley_placement_failures_tolerated Nodes that may fail at once without a shard losing its quorum. Shown by the node that drives.
# TYPE parley_placement_failures_tolerated gauge
parley_placement_failures_tolerated 0
# HELP parley_placement_members Members of the cluster by state. Shown by the node that drives.
# TYPE parley_placement_members gauge
parley_placement_members{state="draining"} 0
parley_placement_members{state="removing"} 0
parley_placement_members{state="up"} 3
# HELP parley_placement_under_replicated_shards Shards with fewer caught-up voters on live nodes than there could be. Shown by the node that drives.
# TYPE parley_placement_under_replicated_shards gauge
parley_placement_under_replicated_shards 2
# HELP parley_placement_waiting_for_space_shards Shards that lack a replica because every disk that could take it is full. Shown by the node that drives.
# TYPE parley_placement_waiting_for_space_shards gauge
parley_placement_waiting_for_space_shards 0
`
	names := []string{"parley_placement_failures_tolerated", "parley_placement_members", "parley_placement_under_replicated_shards",
		"parley_placement_waiting_for_space_shards"}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	d.metrics.hide()
	if n, err := testutil.GatherAndCount(registry, names...); n != 0 || err != nil {
		t.Errorf("%d metrics of a node that does not drive, %v", n, err)
	}
}
