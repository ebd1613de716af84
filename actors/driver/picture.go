package driver

import (
	"context"
	"fmt"
	"slices"
	"time"

	"parley/actors/placement"
	plan "parley/cluster/placement"
	"parley/cluster/version"
	"parley/persistence/keys"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// RoleShards and RoleEdge are what a node may do; one that names none does both.
const (
	RoleShards = placement.RoleShards // keeps replicas
	RoleEdge   = "edge"               // serves clients
)

// CheckRoles says what is wrong with the roles that a node is given, nil when nothing is.
func CheckRoles(roles []string) error {
	if len(roles) == 0 {
		return fmt.Errorf("none is given; there are %s and %s", RoleEdge, RoleShards)
	}
	for i, r := range roles {
		if r != RoleEdge && r != RoleShards {
			return fmt.Errorf("there is no role %q; there are %s and %s", r, RoleEdge, RoleShards)
		}
		if slices.Contains(roles[:i], r) {
			return fmt.Errorf("%s is given twice", r)
		}
	}
	return nil
}

// Picture is the cluster as one node could see it at one moment.
type Picture struct {
	Epoch   uint64           // of the driver that looks, from before it looked; 0 = nobody's who drives
	Version version.Number   // of the cluster
	Stores  []*eventv1.Store // members, removed ones included, by node name
	Maps    []*eventv1.ShardMap
	Seen    map[uint32]*nodev1.ObservedShard // by shard; one without a leader that answered is missing
	Away    map[string]bool                  // by node: Answer.Away of those that said it
	View    *plan.View
}

// Busy says that the shard is on its way: its configuration is not what its row wants, or a new
// replica has not caught up. A replica that waits for its node or for space is nothing that anybody works on.
func (p *Picture) Busy(s *plan.Shard) bool {
	if !s.Observed || s.Joint {
		return true
	}
	for _, r := range s.Rows {
		if p.View.Stuck(s, r) {
			continue
		}
		i := slices.IndexFunc(s.Members, func(m plan.Member) bool { return m.ID == r.ID })
		if i < 0 || r.Role == plan.Leaving || s.Members[i].Voter != (r.Role == plan.Voter) ||
			r.Role == plan.Learner && !s.Members[i].CaughtUp {
			return true
		}
	}
	return false
}

// Look reads the rows that c shows and asks all live members how the shards they lead fare. dead
// says for how long a node has been dead, as far as the asker knows.
func Look(ctx context.Context, c Cluster, dead func(node string) time.Duration, deadAfter time.Duration) (*Picture, error) {
	epoch := c.Epoch() // first: what is decided from older rows must not pass for a later driver's
	r := c.Public()
	row, err := placement.Row(r)
	if err != nil {
		return nil, err
	}
	stores, err := placement.Stores(r)
	if err != nil {
		return nil, err
	}
	maps, err := placement.Shards(r)
	if err != nil {
		return nil, err
	}
	p := &Picture{Epoch: epoch, Version: placement.VersionOf(row), Stores: stores, Maps: maps}
	var live []string
	for _, s := range p.Members() {
		if c.Live(s.Node) {
			live = append(live, s.Node)
		}
	}
	answers := c.Observe(ctx, live)
	p.see(answers)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("look at the cluster: %w", context.Cause(ctx))
	}
	p.View = p.view(live, dead, deadAfter)
	full := c.Full()
	for i := range p.View.Nodes { // gossip may take seconds to notice that a node is dead
		n := &p.View.Nodes[i]
		n.Full = slices.Contains(full, n.Name)
		n.Leads = n.Leads && !c.Leaving(n.Name) && slices.ContainsFunc(answers, func(a Answer) bool { return a.Node == n.Name })
	}
	return p, nil
}

// see takes what nodes have said of themselves. Of two that say they lead a shard the later leader does.
func (p *Picture) see(answers []Answer) {
	p.Seen, p.Away = map[uint32]*nodev1.ObservedShard{}, map[string]bool{}
	for _, a := range answers {
		if a.Away != nil {
			p.Away[a.Node] = *a.Away
		}
		for _, o := range a.Shards {
			if known := p.Seen[o.Shard]; known == nil || known.Epoch < o.Epoch {
				p.Seen[o.Shard] = o
			}
		}
	}
}

// raisable is the latest version that all members speak, dead ones included: they may come back.
func (p *Picture) raisable() version.Number {
	to := version.Number(0)
	for i, s := range p.Members() {
		if spoken := placement.Spoken(s); i == 0 || spoken.Newest < to {
			to = spoken.Newest
		}
	}
	return to
}

// Members are the stores that were not removed.
func (p *Picture) Members() []*eventv1.Store {
	var all []*eventv1.Store
	for _, s := range p.Stores {
		if s.State != eventv1.StoreState_STORE_STATE_REMOVED {
			all = append(all, s)
		}
	}
	return all
}

func (p *Picture) view(live []string, dead func(string) time.Duration, deadAfter time.Duration) *plan.View {
	v := &plan.View{}
	lasting := 0
	for _, s := range p.Members() {
		n := plan.Node{Name: s.Node, Live: slices.Contains(live, s.Node)}
		stays := s.State == eventv1.StoreState_STORE_STATE_UP || s.State == eventv1.StoreState_STORE_STATE_DRAINING
		n.Holds = stays && placement.Holds(s)
		n.Keeps = n.Holds
		n.Leads = n.Holds && s.State == eventv1.StoreState_STORE_STATE_UP
		n.Gone = !n.Live && (!stays || dead(s.Node) >= deadAfter)
		if n.Keeps && !n.Gone {
			lasting++
		}
		v.Nodes = append(v.Nodes, n)
	}
	for i := range v.Nodes {
		if n := &v.Nodes[i]; n.Gone && lasting >= plan.Replication {
			n.Keeps = false // there are others to take its replicas
		} else if n.Keeps {
			n.Gone = false // it may come back, and nobody could take its place
		}
	}
	for _, m := range p.Maps {
		v.Shards = append(v.Shards, shardOf(m, p.Seen[m.Shard]))
	}
	return v
}

func shardOf(m *eventv1.ShardMap, o *nodev1.ObservedShard) plan.Shard {
	s := plan.Shard{ID: keys.Shard(m.Shard), Version: m.ConfVersion}
	for _, r := range m.Replicas {
		s.Rows = append(s.Rows, plan.Replica{ID: r.Id, Node: r.Node, Role: plan.Role(r.Role)})
	}
	if o == nil {
		return s
	}
	s.Observed, s.Leader, s.Joint = true, o.Leader, o.Joint
	for _, r := range o.Replicas {
		s.Members = append(s.Members, plan.Member{ID: r.Id, Node: r.Node, Voter: r.Voter, CaughtUp: r.CaughtUp})
	}
	return s
}

// rowOf is the map row that wants the given replicas.
func rowOf(s *plan.Shard, rows []plan.Replica) *eventv1.ShardMap {
	m := &eventv1.ShardMap{Shard: uint32(s.ID), ConfVersion: s.Version}
	for _, r := range rows {
		m.Replicas = append(m.Replicas, &eventv1.PlacedReplica{Id: r.ID, Node: r.Node, Role: eventv1.ReplicaRole(r.Role)})
	}
	return m
}
