package shard

import (
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
)

// onTick moves time for the groups that live by it.
func (c *core) onTick() {
	defer c.countIdle()
	for _, g := range c.order {
		if g.quiet() || c.closed || c.stalled && g.leads() {
			continue // a leader whose disk has stalled falls silent, so that others stand for election
		}
		c.ageReads(g)
		if g.leads() {
			c.watchSpace(g)
			g.ageSetbacks()
			if g.idleTicks++; g.idleTicks > c.o.QuiesceTicks && c.quiesce(g) {
				continue
			}
		} else {
			c.askAround(g)
		}
		if g.departure == left {
			continue
		}
		if g.campaignIn > 0 {
			if g.campaignIn--; g.campaignIn == 0 && g.leader == 0 {
				g.campaign()
			}
		}
		g.raft.Tick()
		c.mark(g)
	}
}

// countIdle sees whether anybody still wants ticks.
func (c *core) countIdle() {
	idle := 0
	for _, g := range c.order {
		if g.quiet() {
			idle++
		}
	}
	c.ticking = idle < len(c.order)
	c.m.idle.Set(float64(idle))
}

// quiesce lets an idle group sleep: everybody has everything, so there is nothing that a
// heartbeat could say. Each follower is told term and commit, and sleeps only if its own agree.
func (c *core) quiesce(g *group) bool {
	last, err := g.log.LastIndex()
	if err != nil || len(g.pending)+len(g.waiting)+len(g.held)+g.reads.len() > 0 ||
		g.change != nil || g.install != nil || len(g.unaware()) > 0 {
		return false
	}
	status := g.raft.BasicStatus()
	if status.GetCommit() != last || g.log.Applied().Index != last || status.LeadTransferee != 0 {
		return false
	}
	same := true
	g.raft.WithProgress(func(_ uint64, _ raft.ProgressType, p tracker.Progress) { same = same && p.Match == last })
	if !same {
		return false
	}
	for _, m := range g.members {
		if m.Replica == g.replica {
			continue
		}
		if batch := c.batchFor(g, m.Replica); batch != nil {
			*batch = appendNote(*batch, kindQuiesce, g.shard, note{
				to: ReplicaID(m.Replica), from: ReplicaID(g.replica), term: status.GetTerm(), commit: last,
			})
		}
	}
	g.quiesced = true
	return true
}

// onReceived steps what another node sent, who therefore is not gone.
func (c *core) onReceived(in received) {
	delete(c.down, in.from)
	err := readBatch(in.batch, func(it item) {
		g, to := c.groups[it.shard], uint64(it.note.to)
		if it.message != nil {
			to = it.message.GetTo()
		}
		switch {
		case it.kind == kindLeaving && g != nil: // the one who asks may know of another replica here
			c.onLeaving(g, in.from, it.note)
		case g == nil && c.tombs[it.shard] == to || g != nil && g.replica == to && g.departure == confirmed:
			c.m.dropped.WithLabelValues(dropRemoved).Inc()
		case g == nil:
			c.m.dropped.WithLabelValues(dropNoReplica).Inc()
		case g.replica != to:
			c.m.dropped.WithLabelValues(dropStaleReplica).Inc()
		case it.kind == kindRaft:
			c.onMessage(g, in.from, it.message)
		case it.kind == kindQuiesce:
			c.onQuiesce(g, it.note)
		case it.kind == kindRemoved:
			c.onRemoved(g, it.note)
		}
	})
	if err != nil {
		c.m.dropped.WithLabelValues(dropMalformed).Inc()
	}
}

func (c *core) onMessage(g *group, from string, m *raftpb.Message) {
	if !peerMay(m.GetType()) {
		c.m.dropped.WithLabelValues(dropForeignKind).Inc()
		return
	}
	if g.nodeOf(m.GetFrom()) == "" {
		g.heard[m.GetFrom()] = from
	}
	t := m.GetType()
	if g.departure == belongs && (t == raftpb.MsgHeartbeat || t == raftpb.MsgApp) {
		g.askIn = c.o.ElectionTicks // a leader takes this replica for a member
	}
	if t == raftpb.MsgHeartbeat || t == raftpb.MsgHeartbeatResp {
		g.quiesced = false
		c.mark(g)
		c.ticking = c.ticking || !g.quiet() // awake, it must be able to miss its leader
	} else {
		c.wake(g)
	}
	if c.enough(g, m) {
		return
	}
	_ = g.raft.Step(m) // an error means that Raft has dropped the message, as it may any
}

// peerMay says which kinds of message come from other nodes. Snapshots come as streams, and
// proposals are never forwarded.
func peerMay(t raftpb.MessageType) bool {
	switch t {
	case raftpb.MsgApp, raftpb.MsgAppResp, raftpb.MsgVote, raftpb.MsgVoteResp, raftpb.MsgPreVote, raftpb.MsgPreVoteResp,
		raftpb.MsgHeartbeat, raftpb.MsgHeartbeatResp, raftpb.MsgTimeoutNow, raftpb.MsgReadIndex, raftpb.MsgReadIndexResp:
		return true
	}
	return false
}

func (c *core) onQuiesce(g *group, q note) {
	status := g.raft.BasicStatus()
	if status.GetTerm() == q.term && status.GetCommit() == q.commit && status.Lead == uint64(q.from) && !g.leads() &&
		g.reads.len() == 0 {
		g.quiesced = true
	}
}

// secondCandidateTicks is how long the others wait for the preferred candidate, whose log may
// turn out to be behind.
const secondCandidateTicks = 2

// onPeerChange acts on a hint about a node. A follower of a leader there stands for election
// early, one of them at once and the others a little later; Raft decides. A leader with a
// follower there wakes, to notice whether it still has a quorum, or to bring the returned up
// to date.
func (c *core) onPeerChange(in peerChange) {
	c.reached = slices.DeleteFunc(c.reached, func(node string) bool { return node == in.node })
	if in.up {
		c.reached = append(c.reached, in.node)
		delete(c.down, in.node)
	} else {
		c.down[in.node] = true
	}
	for _, g := range c.order {
		if !g.on(in.node) {
			continue
		}
		g.unstored = 0
		if in.up {
			g.forgive(in.node)
		}
		c.wake(g)
		if in.up || g.leader == 0 || g.leads() || g.nodeOf(g.leader) != in.node {
			continue
		}
		var alive []uint64
		for _, id := range g.conf.GetVoters() {
			if id != g.leader {
				alive = append(alive, id)
			}
		}
		_ = g.raft.ForgetLeader()
		if len(alive) > 0 && alive[int(g.shard)%len(alive)] == g.replica {
			g.campaign()
		} else {
			g.campaignIn = secondCandidateTicks
		}
	}
}

// onStall gives leadership away while the disk does not sync: such a leader would still send
// heartbeats, and everybody would wait for it.
func (c *core) onStall(in stall) {
	c.stalled = in.on
	if !in.on {
		return
	}
	for _, g := range c.order {
		if !g.leads() || g.alone() {
			continue
		}
		c.handOver(g)
	}
}
