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

// Tolerated is the smallest number of further failures that every shard survives.
func (v *View) Tolerated() int {
	least := -1
	for i := range v.Shards {
		voters := 0
		for _, m := range v.Shards[i].Members {
			if m.Voter {
				voters++
			}
		}
		spare := max(v.healthy(&v.Shards[i])-(voters/2+1), 0)
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

func (s *Shard) row(id uint64) (Replica, bool) {
	for _, r := range s.Rows {
		if r.ID == id {
			return r, true
		}
	}
	return Replica{}, false
}
