package shard

import (
	"errors"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"parley/persistence/raftlog"
)

// ErrNoSpace says that no quorum of the shard's disks has space. The write was never proposed; it may
// be tried again.
//
// A node whose disk is full leads only what nobody with space can lead, and is sent nothing that grows
// where its shard can do without it. Where it cannot, no new write is let in, and it is sent what was
// let in before. So reads and elections go on while nothing grows. It is the leader alone who decides:
// if followers refused what a leader believes they take, two who know different things of a third
// could keep a shard from ever committing. What a late hint costs comes out of the space that is kept
// free, and the few bytes of a vote out of the reserve.
var ErrNoSpace = errors.New("no space on the disks of a quorum")

// spaceChange says that a node's disk has become full, or has space again. For another node than this
// one it is a hint, and late: what follows from it is never wrong, only slow.
type spaceChange struct {
	node string
	full bool
}

// onSpace takes note of a disk. Every group there is woken: its leader goes, or comes back to a
// replica that it has fed nothing.
func (c *core) onSpace(in spaceChange) {
	if c.full[in.node] == in.full {
		return
	}
	if in.full {
		c.full[in.node] = true
	} else {
		delete(c.full, in.node)
	}
	for _, g := range c.order {
		if g.on(in.node) {
			c.wake(g)
		}
	}
}

// on says whether the group has a replica on a node.
func (g *group) on(node string) bool {
	return slices.ContainsFunc(g.members, func(m raftlog.Member) bool { return m.Node == node })
}

// starved says that this node's disk is full.
func (c *core) starved() bool { return c.full[c.o.Node] }

// stores says whether the node of a replica could store a write, as far as this node knows.
func (c *core) stores(g *group, replica uint64) bool {
	node := g.nodeOf(replica)
	return !c.full[node] && !c.down[node]
}

// storable says whether a quorum of the voters, of both sets while they change, could store a write.
func (c *core) storable(g *group) bool {
	for _, set := range [][]uint64{g.conf.GetVoters(), g.conf.GetVotersOutgoing()} {
		able := 0
		for _, id := range set {
			if c.stores(g, id) {
				able++
			}
		}
		if len(set) > 0 && able <= len(set)/2 {
			return false
		}
	}
	return true
}

// noSpaceFor says why a write of the group must not be proposed here for want of space, nil when it
// may. While somebody else could take the lead, the answer is that of a leader who goes.
func (c *core) noSpaceFor(g *group) error {
	switch {
	case len(c.full) == 0:
		return nil
	case !c.storable(g):
		return ErrNoSpace
	case c.starved():
		return ErrNotLeader
	default:
		return nil
	}
}

// handOver gives the lead of a group to a voter that was heard of lately, is on a disk with space, and
// is the furthest of those, if there is one. Asking again while that is under way changes nothing.
func (c *core) handOver(g *group) {
	best, match := uint64(0), uint64(0)
	g.raft.WithProgress(func(id uint64, kind raft.ProgressType, p tracker.Progress) {
		if id != g.replica && kind == raft.ProgressTypePeer && p.RecentActive && p.Match > match && c.stores(g, id) {
			best, match = id, p.Match
		}
	})
	if best != 0 {
		g.raft.TransferLeader(best)
		c.wake(g)
	}
}

// grows says whether a message makes the log of its receiver longer by what a client wrote. The empty
// entry of a new term and changes of the configuration are what a shard needs to stay alive.
func grows(m *raftpb.Message) bool {
	return m.GetType() == raftpb.MsgApp && slices.ContainsFunc(m.Entries, func(e *raftpb.Entry) bool {
		return e.GetType() == raftpb.EntryNormal && len(e.Data) > 0
	})
}

// spares says whether a message is kept from its receiver, whose disk is full: the shard does without it.
func (c *core) spares(g *group, m *raftpb.Message) bool {
	if len(c.full) == 0 || !c.full[g.nodeOf(m.GetTo())] || !grows(m) || !c.storable(g) {
		return false
	}
	c.m.dropped.WithLabelValues(dropNoSpace).Inc()
	return true
}
