package shard

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"
)

// parting is how voters leave that a joint configuration takes out: they hear last that it has ended.
//
// Who knows that, and is to leave, stands for no election any more. If it knew before the others did, and had more
// in its log than they, because what the leader said last reached it alone, then nobody could follow that leader:
// who may stand still counts on the leaving one's vote, and is refused it. So the leaving are told of no commit after
// the one that the joint configuration came with, and are voters like all others, until a quorum of
// those that stay has stored an entry that was sent with the news.
type parting struct {
	who  []uint64 // the leaving, nil none
	told uint64   // the highest commit that they hear of
	news uint64   // the first entry that was sent with the news; 0 while the configuration is joint
}

// configure takes over a configuration and the index that it came with.
func (g *group) configure(conf *raftpb.ConfState, index uint64) {
	g.conf, g.configured = conf, index
	switch leaving := g.leaving(); {
	case len(leaving) > 0:
		g.parting = parting{who: leaving, told: index}
	case len(g.parting.who) > 0 && g.parting.news == 0:
		g.parting.told, g.parting.news = index-1, g.handed+1
	default:
		g.parting = parting{}
	}
}

// leaving are the voters that a joint configuration takes out, nil when there is none.
func (g *group) leaving() (who []uint64) {
	for _, id := range g.conf.GetVotersOutgoing() {
		if !slices.Contains(g.conf.GetVoters(), id) {
			who = append(who, id)
		}
	}
	return who
}

// leaves says that this replica is a voter that a joint configuration takes out. If it leads, it takes on no writes:
// it has to be no further than the others when it has left, and one of them should lead.
func (g *group) leaves() bool { return slices.Contains(g.leaving(), g.replica) }

// unaware are the replicas that are not to know yet that they have left.
func (g *group) unaware() []uint64 {
	if g.parting.news != 0 && g.commit >= g.parting.news {
		g.parting = parting{}
	}
	return g.parting.who
}

// withhold keeps from a replica that leaves what it is not to know yet.
func (g *group) withhold(m *raftpb.Message) {
	if slices.Contains(g.unaware(), m.GetTo()) && m.GetCommit() > g.parting.told {
		m.Commit = new(g.parting.told)
	}
}
