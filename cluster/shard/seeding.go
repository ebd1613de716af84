package shard

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"parley/persistence/keys"
)

// snapshotTask asks for a shard's state to be sent to a replica that the log no longer serves.
type snapshotTask struct {
	shard keys.Shard
	to    ReplicaID
	node  string
	from  uint64
	term  uint64
}

// setback is that snapshots for a replica have failed, of a leader. A disk may be too small for what it is sent,
// and have space again as soon as the attempt is over: so each failure doubles the pause.
type setback struct {
	times int // in a row
	pause int // ticks until the next attempt
}

// The pause after the first failure, and the longest one, in ticks.
const (
	setbackTicks    = 2
	setbackTicksMax = 64
)

// handleSnapshot asks for a snapshot to be sent, unless that would be in vain now. Raft tries again after the
// replica's next answer to a heartbeat.
func (c *core) handleSnapshot(g *group, m *raftpb.Message) {
	node := g.nodeOf(m.GetTo())
	if c.full[node] {
		c.m.dropped.WithLabelValues(dropNoSpace).Inc()
	}
	if node == "" || c.full[node] || !g.seedable(m.GetTo()) {
		g.raft.ReportSnapshot(m.GetTo(), raft.SnapshotFailure)
		return
	}
	c.out.snapshots = append(c.out.snapshots, snapshotTask{
		shard: g.shard, to: ReplicaID(m.GetTo()), node: node, from: m.GetFrom(), term: m.GetTerm(),
	})
}

// seedable says whether the state may be sent to a replica now. It takes only one that names it, as the state
// does when the change that made it a learner has been applied; and after a failure there is a pause.
func (g *group) seedable(replica uint64) bool {
	return contains(g.log.Applied().Conf, replica) && g.setbacks[replica].pause == 0
}

// onSnapshotSent shows Raft how the sending of a snapshot ended.
func (c *core) onSnapshotSent(in snapshotSent) {
	g := c.groups[in.task.shard]
	if g == nil || g.term != in.task.term {
		return // Raft has forgotten it
	}
	to, status := uint64(in.task.to), raft.SnapshotFinish
	if in.err == nil {
		delete(g.setbacks, to)
	} else {
		status = raft.SnapshotFailure
		times := g.setbacks[to].times + 1
		g.setbacks[to] = setback{times: times, pause: min(setbackTicks<<min(times-1, 20), setbackTicksMax)}
	}
	g.raft.ReportSnapshot(to, status)
	c.wake(g)
}

// ageSetbacks is a tick of a leader.
func (g *group) ageSetbacks() {
	for id, s := range g.setbacks {
		s.pause = max(s.pause-1, 0)
		if g.setbacks[id] = s; !contains(g.conf, id) {
			delete(g.setbacks, id)
		}
	}
}

// forgive lets a node that has come back have its snapshots at once.
func (g *group) forgive(node string) {
	for id := range g.setbacks {
		if g.nodeOf(id) == node {
			delete(g.setbacks, id)
		}
	}
}

// needed lowers an index, up to which the log could go, to what a replica still needs of what the log has: one that a
// snapshot is on its way to needs all that comes after it. Nothing is held for nodes that do not answer or whose disks
// are full, nor more than HeldBytes, or they would fill the disks of the others.
func (c *core) needed(g *group, to uint64) uint64 {
	first, _ := g.log.FirstIndex()
	if !g.leads() || c.full[c.o.Node] || c.logBytes() > c.o.HeldBytes {
		return to
	}
	g.raft.WithProgress(func(id uint64, _ raft.ProgressType, p tracker.Progress) {
		has := p.Next - 1 // with the snapshot, or what is tried next
		if p.State == tracker.StateReplicate {
			has = p.Match
		}
		node := g.nodeOf(id)
		if id != g.replica && has+1 >= first && !c.down[node] && !c.full[node] {
			to = min(to, has)
		}
	})
	return to
}

// logBytes is what all logs have grown by since each was last truncated as far as it could be.
func (c *core) logBytes() (bytes int) {
	for _, g := range c.order {
		bytes += g.logBytes
	}
	return bytes
}
