package admin

import (
	"fmt"
	"slices"
	"time"

	"parley/actors/driver"
	"parley/actors/placement"
	plan "parley/cluster/placement"
	eventv1 "parley/proto/event/v1"
)

// Status is the cluster as an operator sees it; its JSON is an interface for scripts.
type Status struct {
	ClusterID             string      `json:"cluster_id"`
	Nodes                 []Node      `json:"nodes"`   // members, and nodes that are joining, by name
	Removed               []string    `json:"removed"` // names of nodes that were members
	Version               int         `json:"version"` // of the cluster: what every member speaks
	Shards                int         `json:"shards"`
	LeaderlessShards      int         `json:"leaderless_shards"`        // nobody answered for them
	UnderReplicatedShards int         `json:"under_replicated_shards"`  // fewer caught-up voters on live nodes than there could be
	WaitingForSpace       int         `json:"shards_waiting_for_space"` // they lack a replica, and every disk that could take it is full
	FailuresTolerated     int         `json:"failures_tolerated"`       // nodes that may fail at once without a shard losing its quorum
	MaxLagEntries         uint64      `json:"max_lag_entries"`          // of the replica that is furthest behind its leader
	Operations            []Operation `json:"operations"`
}

// Node is one node. State is up, draining, removing, down (a member that gossip does not hear of)
// or joining (not a member yet).
type Node struct {
	Name       string    `json:"name"`
	State      string    `json:"state"`
	Live       bool      `json:"live"`
	DiskFull   bool      `json:"disk_full"`      // it takes on nothing new until there is space
	Away       *bool     `json:"away,omitempty"` // it sends clients to other nodes, and /readyz says no, because it was drained; absent = it does not say
	Roles      []string  `json:"roles"`
	Versions   [2]int    `json:"versions"` // of the cluster that its build speaks, the oldest and the newest
	StoreUUID  string    `json:"store_uuid,omitempty"`
	HTTP       string    `json:"http,omitempty"`
	Gossip     string    `json:"gossip,omitempty"`
	RPC        string    `json:"rpc,omitempty"`
	Raft       string    `json:"raft,omitempty"`
	Leads      int       `json:"shards_led"`
	Holds      int       `json:"shards_held"`
	LagEntries uint64    `json:"lag_entries"`
	JoinedAt   time.Time `json:"joined_at,omitzero"`
}

// Operation is something under way. Kind is move (of a shard), drain or remove (of a node).
type Operation struct {
	Kind      string `json:"kind"`
	Shard     *int   `json:"shard,omitempty"`
	Node      string `json:"node,omitempty"`
	Remaining int    `json:"remaining,omitempty"` // leaderships or replicas that still have to go
	Detail    string `json:"detail"`
}

// StatusOf tells a picture. joining and full are names of nodes.
func StatusOf(cluster string, p *driver.Picture, joining, full []string) Status {
	s := Status{ClusterID: cluster, Nodes: []Node{}, Removed: []string{}, Operations: []Operation{},
		Version: int(p.Version), Shards: len(p.Maps), LeaderlessShards: len(p.Maps) - len(p.Seen), UnderReplicatedShards: p.View.UnderReplicated()}
	for _, store := range p.Stores {
		if store.State == eventv1.StoreState_STORE_STATE_REMOVED {
			s.Removed = append(s.Removed, store.Node)
			continue
		}
		s.Nodes = append(s.Nodes, nodeOf(store, p))
	}
	for _, name := range joining {
		s.Nodes = append(s.Nodes, Node{Name: name, State: "joining", Live: true, Roles: []string{}})
	}
	for i := range s.Nodes {
		s.Nodes[i].DiskFull = slices.Contains(full, s.Nodes[i].Name)
	}
	s.count(p)
	s.FailuresTolerated, s.WaitingForSpace = p.View.Tolerated(), p.View.Cramped()
	s.operations(p)
	return s
}

func nodeOf(store *eventv1.Store, p *driver.Picture) Node {
	n := Node{
		Name: store.Node, State: placement.StateName(store.State), Live: p.View.Node(store.Node).Live, Roles: store.Roles,
		StoreUUID: store.Uuid, HTTP: store.Http, Gossip: store.Gossip, RPC: store.Rpc, Raft: store.Raft, JoinedAt: time.UnixMilli(store.JoinedMs).UTC(),
	}
	spoken := placement.Spoken(store)
	if away, said := p.Away[store.Node]; said {
		n.Away = &away
	}
	n.Versions = [2]int{int(spoken.Oldest), int(spoken.Newest)}
	if len(n.Roles) == 0 {
		n.Roles = []string{driver.RoleEdge, driver.RoleShards}
	}
	if !n.Live && store.State == eventv1.StoreState_STORE_STATE_UP {
		n.State = "down"
	}
	return n
}

// count adds up what each node leads and holds, and how far its replicas are behind.
func (s *Status) count(p *driver.Picture) {
	for _, o := range p.Seen {
		for _, r := range o.Replicas {
			i := slices.IndexFunc(s.Nodes, func(n Node) bool { return n.Name == r.Node })
			if i < 0 {
				continue
			}
			n := &s.Nodes[i]
			n.Holds++
			if r.Id == o.Leader {
				n.Leads++
				continue
			}
			if r.Match < o.Commit {
				n.LagEntries = max(n.LagEntries, o.Commit-r.Match)
				s.MaxLagEntries = max(s.MaxLagEntries, o.Commit-r.Match)
			}
		}
	}
}

// operations lists what is under way.
func (s *Status) operations(p *driver.Picture) {
	for _, store := range p.Members() {
		led, held := 0, 0
		for _, n := range s.Nodes {
			if n.Name == store.Node {
				led, held = n.Leads, n.Holds
			}
		}
		switch {
		case store.State == eventv1.StoreState_STORE_STATE_DRAINING && led > 0:
			s.Operations = append(s.Operations, Operation{Kind: "drain", Node: store.Node, Remaining: led,
				Detail: fmt.Sprintf("leaderships to hand over: %d", led)})
		case store.State == eventv1.StoreState_STORE_STATE_REMOVING:
			s.Operations = append(s.Operations, Operation{Kind: "remove", Node: store.Node, Remaining: held,
				Detail: fmt.Sprintf("replicas to move: %d", held)})
		}
	}
	for i := range p.View.Shards {
		shard := &p.View.Shards[i]
		if !shard.Observed || !p.Busy(shard) {
			continue
		}
		number := int(shard.ID)
		s.Operations = append(s.Operations, Operation{Kind: "move", Shard: &number, Detail: detail(shard)})
	}
}

func detail(s *plan.Shard) string {
	text := ""
	for _, r := range s.Rows {
		role := map[plan.Role]string{plan.Learner: "learner", plan.Voter: "voter", plan.Leaving: "leaving"}[r.Role]
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("%s on %s", role, r.Node)
	}
	return text
}
