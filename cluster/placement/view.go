// Package placement decides where replicas belong and which one change of a shard comes next. It
// is pure: what was observed goes in, decisions come out. What it wants of a shard is written
// into the meta shard's row for it (Intent) before anything is done; then the shard's own
// configuration is brought to that row in small steps (Act) that may each be repeated, by this
// driver or by its successor.
//
//	row == configuration ──Intent──▶ row changed (committed) ──Act──▶ … ──Act──▶ row == configuration
package placement

import (
	"cmp"
	"slices"

	"parley/persistence/keys"
)

// Replication is how many voters a shard has when there are nodes enough, and the meta shard
// from five nodes on.
const (
	Replication     = 3
	MetaReplication = 5
)

// Role is what is wanted of a replica.
type Role byte

// The roles.
const (
	Learner Role = 1
	Voter   Role = 2
	Leaving Role = 3 // to be taken out of the configuration, then destroyed
)

// Replica is one row of the shard map. ID 0 asks for a new id.
type Replica struct {
	ID   uint64
	Node string
	Role Role
}

// Member is a replica in a shard's configuration.
type Member struct {
	ID       uint64
	Node     string
	Voter    bool
	CaughtUp bool // follows the leader closely
}

// Shard is one shard: what is wanted, and what its leader sees.
type Shard struct {
	ID      keys.Shard
	Version uint64    // of the row
	Rows    []Replica // by id

	Observed bool // a leader answered; otherwise nothing below is known
	Leader   uint64
	Joint    bool // a change of configuration is half done
	Members  []Member
}

// Node is a member of the cluster.
type Node struct {
	Name  string
	Holds bool // is a member that is to hold replicas, dead or alive
	Live  bool // gossip believes it alive
	Keeps bool // may keep and get replicas: it is not being removed, nor dead for too long
	Leads bool // may lead as well: it is not draining
	Gone  bool // dead for too long: nothing is asked of it
	Full  bool // its disk is, by hearsay: it keeps what it has and gets no new replica
}

// View is all that decisions are made from.
type View struct {
	Nodes  []Node  // by name
	Shards []Shard // by id
}

// Node gives the member of that name; one that is not known is Gone.
func (v *View) Node(name string) Node {
	i, ok := slices.BinarySearchFunc(v.Nodes, name, func(n Node, name string) int { return cmp.Compare(n.Name, name) })
	if !ok {
		return Node{Name: name, Gone: true}
	}
	return v.Nodes[i]
}

// Wanted is how many replicas the shard should have on the nodes that keep any.
func (v *View) Wanted(s keys.Shard) int {
	n := 0
	for _, node := range v.Nodes {
		if node.Keeps {
			n++
		}
	}
	if s == keys.Meta && n >= MetaReplication {
		return MetaReplication
	}
	return min(Replication, n)
}

// Voters is how many of that many replicas vote: no shard rests at two voters, which would
// tolerate less than one does.
func Voters(replicas int) int {
	if replicas%2 == 0 {
		return replicas - 1
	}
	return replicas
}

// UnderReplicated counts the shards with fewer caught-up voters on live nodes than there could be
// with the nodes that are members.
func (v *View) UnderReplicated() int {
	members := 0
	for _, n := range v.Nodes {
		if n.Holds {
			members++
		}
	}
	count := 0
	for i := range v.Shards {
		s := &v.Shards[i]
		full := min(Replication, members)
		if s.ID == keys.Meta && members >= MetaReplication {
			full = MetaReplication
		}
		if !s.Observed || v.healthy(s) < full {
			count++
		}
	}
	return count
}

// Stuck says that a replica that the shard should have is not there, or far behind, and that nobody can help
// it now: its node is dead, or its disk is full.
func (v *View) Stuck(s *Shard, r Replica) bool {
	m, in := s.member(r.ID)
	n := v.Node(r.Node)
	return r.Role != Leaving && !(in && m.CaughtUp) && (!n.Live || n.Full)
}

// Cramped counts the shards that have fewer replicas than they should because every disk that could take
// another one is full.
func (v *View) Cramped() int {
	count := 0
	for i := range v.Shards {
		s := &v.Shards[i]
		has, waits := 0, false
		for _, r := range s.Rows {
			if n := v.Node(r.Node); r.Role != Leaving && n.Keeps {
				has++
				waits = waits || n.Full && s.coming(r) && v.Stuck(s, r)
			}
		}
		room, full := v.free(s)
		if s.Observed && (waits || has < v.Wanted(s.ID) && full && !room) {
			count++
		}
	}
	return count
}

// free says whether there is a node that could take another replica of the shard, and whether there is one that
// could if its disk were not full.
func (v *View) free(s *Shard) (room, full bool) {
	for _, n := range v.Nodes {
		if n.Keeps && n.Live && !slices.ContainsFunc(s.Rows, func(r Replica) bool { return r.Node == n.Name }) {
			room, full = room || !n.Full, full || n.Full
		}
	}
	return room, full
}

// Tolerated is the smallest number of further failures that every shard survives.
func (v *View) Tolerated() int {
	least := -1
	for i := range v.Shards {
		s := &v.Shards[i]
		spare := max(v.healthy(s)-(s.voters()/2+1), 0)
		if least < 0 || spare < least {
			least = spare
		}
	}
	return max(least, 0)
}

func (v *View) healthy(s *Shard) int {
	n := 0
	for _, m := range s.Members {
		if m.Voter && m.CaughtUp && v.Node(m.Node).Live {
			n++
		}
	}
	return n
}

func (s *Shard) member(id uint64) (Member, bool) {
	for _, m := range s.Members {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// coming says that the shard has still to get a replica, or to make a voter of it.
func (s *Shard) coming(r Replica) bool {
	m, in := s.member(r.ID)
	return r.Role == Learner || r.Role == Voter && in && !m.Voter
}

// lost says that the row counts on a voter that is no member. It was one, since all come as learners: the
// change that took it out was still on its way when the row kept it again. Its id never comes back.
func (s *Shard) lost(r Replica) bool {
	_, in := s.member(r.ID)
	return r.Role == Voter && !in
}

func (s *Shard) row(id uint64) (Replica, bool) {
	for _, r := range s.Rows {
		if r.ID == id {
			return r, true
		}
	}
	return Replica{}, false
}
