package admin

import (
	"testing"

	"parley/actors/driver"
	plan "parley/cluster/placement"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// TestStatus tells a cluster of three that hold data, one of which is down, an edge that drains, and a node
// that joins.
func TestStatus(t *testing.T) {
	const up, draining, removed = eventv1.StoreState_STORE_STATE_UP, eventv1.StoreState_STORE_STATE_DRAINING, eventv1.StoreState_STORE_STATE_REMOVED
	p := &driver.Picture{Version: 2, Stores: []*eventv1.Store{
		{Node: "a", State: up, VersionOldest: 1, VersionNewest: 3}, {Node: "b", State: up}, {Node: "c", State: up},
		{Node: "e", State: draining, Roles: []string{driver.RoleEdge}}, {Node: "old", State: removed},
	}}
	p.View = &plan.View{Nodes: []plan.Node{{Name: "a", Holds: true, Live: true, Keeps: true, Leads: true}, {Name: "b", Holds: true, Live: true, Keeps: true, Leads: true},
		{Name: "c", Holds: true, Keeps: true, Leads: true}, {Name: "e", Live: true}}}
	p.Seen = map[uint32]*nodev1.ObservedShard{}
	for s := range uint32(2) {
		p.Maps = append(p.Maps, &eventv1.ShardMap{Shard: s})
		shard := plan.Shard{Rows: []plan.Replica{{ID: 1, Node: "a", Role: plan.Voter}, {ID: 2, Node: "b", Role: plan.Voter}, {ID: 3, Node: "c", Role: plan.Voter}}}
		if s == 0 { // nobody answers for the other one
			shard.Observed, shard.Leader = true, 1
			shard.Members = []plan.Member{{ID: 1, Node: "a", Voter: true, CaughtUp: true}, {ID: 2, Node: "b", Voter: true, CaughtUp: true}, {ID: 3, Node: "c", Voter: true}}
			p.Seen[s] = &nodev1.ObservedShard{Shard: s, Leader: 1, Commit: 50, Replicas: []*nodev1.ObservedReplica{
				{Id: 1, Node: "a", Match: 50}, {Id: 2, Node: "b", Match: 48}, {Id: 3, Node: "c", Match: 9}}}
		}
		p.View.Shards = append(p.View.Shards, shard)
	}
	s := StatusOf("x", p, []string{"new"}, []string{"a"})
	if s.Version != 2 || s.Shards != 2 || s.LeaderlessShards != 1 || s.UnderReplicatedShards != 2 || s.FailuresTolerated != 0 || s.MaxLagEntries != 41 ||
		len(s.Removed) != 1 || s.Removed[0] != "old" {
		t.Errorf("%+v", s)
	}
	for i, want := range []struct {
		name, state string
		live        bool
		roles       int
		leads       int
		holds       int
		lag         uint64
		newest      int
	}{
		{"a", "up", true, 2, 1, 1, 0, 3}, {"b", "up", true, 2, 0, 1, 2, 1}, {"c", "down", false, 2, 0, 1, 41, 1},
		{"e", "draining", true, 1, 0, 0, 0, 1}, {"new", "joining", true, 0, 0, 0, 0, 0},
	} {
		n := s.Nodes[i]
		if n.Name != want.name || n.State != want.state || n.Live != want.live || len(n.Roles) != want.roles || n.Leads != want.leads ||
			n.Holds != want.holds || n.DiskFull != (want.name == "a") || n.LagEntries != want.lag || n.Versions[1] != want.newest {
			t.Errorf("%+v, want %+v", n, want)
		}
	}
	for i := range p.View.Nodes {
		p.View.Nodes[i].Full = true
	}
	p.View.Shards[0].Rows = p.View.Shards[0].Rows[:2] // the replica on c was given up
	if s = StatusOf("x", p, nil, nil); s.WaitingForSpace != 0 {
		t.Errorf("%d shards wait for space, but c is down", s.WaitingForSpace)
	}
	p.View.Nodes[2].Live = true
	if s = StatusOf("x", p, nil, nil); s.WaitingForSpace != 1 {
		t.Errorf("%d shards wait for space", s.WaitingForSpace)
	}
	if len(s.Operations) != 0 { // a draining node that leads nothing has come to its end
		t.Errorf("operations %+v", s.Operations)
	}
}
