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
// free, and the few bytes of a vote out of the reserve. Who can store is known from hints, and these may
// be wrong for ever: so the leader goes by what is stored, and spares nobody when the commit stands still.
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
			g.unstored = 0
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

// quorum says whether the voters that are able are a quorum, of both sets while they change.
func (g *group) quorum(able func(replica uint64) bool) bool {
	for _, set := range [][]uint64{g.conf.GetVoters(), g.conf.GetVotersOutgoing()} {
		count := 0
		for _, id := range set {
			if able(id) {
				count++
			}
		}
		if len(set) > 0 && count <= len(set)/2 {
			return false
		}
	}
	return true
}

// storable says whether a quorum could store a write, as far as this node knows.
func (c *core) storable(g *group) bool {
	return g.quorum(func(id uint64) bool { return c.stores(g, id) })
}

// noSpaceFor says why a write of the group must not be proposed here for want of space, nil when it
// may. It is for want of space only if there were a quorum otherwise: nodes that are gone do not come
// back when somebody frees a disk. While somebody else could take the lead, the answer is that of a
// leader who goes.
func (c *core) noSpaceFor(g *group) error {
	switch {
	case len(c.full) == 0:
		return nil
	case !c.storable(g) && g.quorum(func(id uint64) bool { return !c.down[g.nodeOf(id)] }):
		return ErrNoSpace
	case c.starved():
		return ErrNotLeader
	default:
		return nil
	}
}

// handOver gives the lead of a group to a voter that was heard of lately, stays one, is on a disk with space,
// and is the furthest of those, if there is one. Asking again while that is under way changes nothing.
func (c *core) handOver(g *group) {
	best, match := uint64(0), uint64(0)
	g.raft.WithProgress(func(id uint64, kind raft.ProgressType, p tracker.Progress) {
		if id != g.replica && kind == raft.ProgressTypePeer && p.RecentActive && p.Match > match && c.stores(g, id) &&
			slices.Contains(g.conf.GetVoters(), id) {
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

// spares says whether a replica, whose disk is full, is sent nothing that grows: the shard does without it.
func (c *core) spares(g *group, replica uint64) bool {
	return len(c.full) > 0 && c.full[g.nodeOf(replica)] && g.unstored == 0 && c.storable(g)
}

// keeps says whether a message is kept from its receiver, which is spared.
func (c *core) keeps(g *group, m *raftpb.Message) bool {
	if !c.spares(g, m.GetTo()) || !grows(m) {
		return false
	}
	c.m.dropped.WithLabelValues(dropNoSpace).Inc()
	return true
}

// enough says whether the answer to a heartbeat tells nothing new: it is from a spared replica that is
// known to live, and no read waits for it. To Raft, each is the occasion to read old entries, which
// then were kept from the replica. It needs one in the time of an election.
func (c *core) enough(g *group, m *raftpb.Message) bool {
	if m.GetType() != raftpb.MsgHeartbeatResp || len(m.GetContext()) > 0 || !g.leads() || !c.spares(g, m.GetFrom()) {
		return false
	}
	alive := false
	g.raft.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
		alive = alive || id == m.GetFrom() && p.RecentActive
	})
	return alive
}

// storeTicks is for how long a commit may stand still before nobody is spared any more.
const storeTicks = 3

// watchSpace is a tick of a leader. It goes when its disk is full or it is about to leave, and sees whether those who are not
// spared do store. If they do not, nobody is spared until they have what they did not store in time, or
// something new is known of somebody. What was kept from a replica reaches it after its next answer to a
// heartbeat.
func (c *core) watchSpace(g *group) {
	if c.starved() && !g.alone() || g.leaves() {
		c.handOver(g)
	}
	if len(c.full) == 0 || g.commit == g.handed || g.commit != g.seen {
		g.seen, g.still = g.commit, 0
	} else {
		g.still++
	}
	switch {
	case len(c.full) == 0:
		g.unstored = 0
	case g.still >= storeTicks:
		g.unstored = g.handed
	case g.unstored != 0 && g.commit >= g.unstored && c.carried(g):
		g.unstored = 0
	}
}

// carried says whether a quorum with space has stored all that is committed.
func (c *core) carried(g *group) bool {
	has := map[uint64]bool{}
	g.raft.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
		has[id] = p.Match >= g.commit && c.stores(g, id)
	})
	return g.quorum(func(id uint64) bool { return has[id] })
}
