package shard

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"

	"parley/persistence/keys"
)

// Status is how a shard fares, as its replica here sees it.
type Status struct {
	Shard    keys.Shard
	Replica  ReplicaID
	Role     string // RoleLeader, "follower", "candidate"
	Leader   ReplicaID
	Term     uint64
	Commit   uint64
	Applied  uint64
	First    uint64 // first index in the log
	Last     uint64 // last durable index in the log
	Quiesced bool
	Joint    bool // a change of configuration is half done
	// Configured names the configuration that Replicas shows: the same number is the same one, on whichever
	// replica of the shard. One configuration may have several numbers.
	Configured uint64
	Waiting    int // bytes of writes that wait for their outcome
	Replicas   []ReplicaStatus
}

// ReplicaStatus is one replica of a shard. Match and Active are known to the leader alone.
type ReplicaStatus struct {
	Replica ReplicaID
	Node    string
	Voter   bool
	Match   uint64 // highest index known to be in its log
	Active  bool   // heard of lately
	State   string // how the leader feeds it: "probe", StateReplicate, "snapshot"
}

const (
	// RoleLeader is Status.Role of a replica that leads its shard in a term, as far as it knows.
	RoleLeader = "leader"
	// StateReplicate is ReplicaStatus.State of a follower whose log the leader knows: it gets each entry.
	StateReplicate = "replicate"
)

func (c *core) onStatus(in statusRequest) {
	g := c.groups[in.shard]
	if g == nil {
		in.reply(Status{}, ErrNoReplica)
		return
	}
	basic := g.raft.BasicStatus()
	first, _ := g.log.FirstIndex()
	last, _ := g.log.LastIndex()
	s := Status{
		Shard: g.shard, Replica: ReplicaID(g.replica), Role: roleName(basic.RaftState), Leader: ReplicaID(basic.Lead),
		Term: basic.GetTerm(), Commit: basic.GetCommit(), Applied: g.log.Applied().Index, First: first, Last: last,
		Quiesced: g.quiet(), Joint: len(g.conf.GetVotersOutgoing()) > 0, Configured: g.configured, Waiting: g.bytes,
	}
	for _, m := range g.members {
		r := ReplicaStatus{Replica: ReplicaID(m.Replica), Node: m.Node}
		for _, set := range [][]uint64{g.conf.GetVoters(), g.conf.GetVotersOutgoing()} {
			for _, id := range set {
				r.Voter = r.Voter || id == m.Replica
			}
		}
		s.Replicas = append(s.Replicas, r)
	}
	if basic.RaftState == raft.StateLeader {
		g.raft.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
			for i := range s.Replicas {
				if r := &s.Replicas[i]; uint64(r.Replica) == id {
					r.Match, r.Active, r.State = p.Match, p.RecentActive || id == g.replica, stateName(p.State)
				}
			}
		})
	}
	in.reply(s, nil)
}

func roleName(s raft.StateType) string {
	switch s {
	case raft.StateLeader:
		return RoleLeader
	case raft.StateFollower:
		return "follower"
	default:
		return "candidate"
	}
}

func stateName(s tracker.StateType) string {
	switch s {
	case tracker.StateReplicate:
		return StateReplicate
	case tracker.StateSnapshot:
		return "snapshot"
	default:
		return "probe"
	}
}
