package shard

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"parley/persistence/keys"
	"parley/persistence/raftlog"
)

// Removal says that a replica here belongs to its shard no more. Its id never comes back.
//
// That the replica has applied its own removal is not enough to drop it: the others may not know
// yet that the change is committed, and need its vote to elect who tells them. It votes on, and
// asks, until a member that has applied the change, and follows a leader or leads, confirms it. A
// replica that was away when it was removed asks and is told the same way.
type Removal struct {
	Shard   keys.Shard
	Replica ReplicaID
	// Confirmed is set once a member of a configuration without this replica has said so: nobody will ask anything
	// of the replica again, and Host.RemoveReplica may drop it.
	Confirmed bool
}

// departure is how far a replica has gone from its shard.
type departure byte

const (
	belongs   departure = iota
	left                // it has applied its removal, and still votes
	confirmed           // a member of a configuration without it has said so: it is silent
)

// removeRequest asks for a replica to be dropped for ever.
type removeRequest struct {
	shard   keys.Shard
	replica ReplicaID
	done    func(error)
}

// contains says whether a replica is in any set of a configuration.
func contains(conf *raftpb.ConfState, replica uint64) bool {
	for _, set := range [][]uint64{conf.GetVoters(), conf.GetLearners(), conf.GetVotersOutgoing(), conf.GetLearnersNext()} {
		if slices.Contains(set, replica) {
			return true
		}
	}
	return false
}

// notice sees whether the configuration that was applied last still has this replica.
func (c *core) notice(g *group) {
	g.confChanged = false
	conf := g.log.Applied().Conf
	if g.departure == belongs && len(conf.GetVoters()) > 0 && !contains(conf, g.replica) {
		c.depart(g, left)
	}
}

// depart moves a replica away from its shard and says so.
func (c *core) depart(g *group, to departure) {
	g.departure, g.askIn = to, 0
	c.ticking = c.ticking || !g.quiet()
	c.failReads(g, ErrNoReplica)
	c.out.removals = append(c.out.removals, Removal{
		Shard: g.shard, Replica: ReplicaID(g.replica), Confirmed: to == confirmed,
	})
}

// askAround asks, after every election's time in which no leader was heard, whether this replica was
// removed: it may have been away while that happened, and the leader, who speaks to members alone,
// be one that it never heard of. So everybody is asked who can be reached. Nobody could answer a
// replica that has applied nothing, and nobody needs to: it gives way to the next one.
func (c *core) askAround(g *group) {
	if g.askIn--; g.askIn > 0 {
		return
	}
	g.askIn = c.o.ElectionTicks
	applied := g.log.Applied().Index
	if applied == 0 {
		return
	}
	question := note{from: ReplicaID(g.replica), term: g.term, commit: applied}
	for _, node := range c.neighbours(g) {
		batch := c.batchTo(node)
		*batch = appendNote(*batch, kindLeaving, g.shard, question)
	}
}

// neighbours are the nodes of the other members as this replica knows them, and the nodes that
// were reached, in order.
func (c *core) neighbours(g *group) []string {
	nodes := slices.Clone(c.reached)
	for _, m := range g.members {
		nodes = append(nodes, m.Node)
	}
	slices.Sort(nodes)
	return slices.DeleteFunc(slices.Compact(nodes), func(node string) bool { return node == c.o.Node })
}

// onLeaving tells a replica that asks that it was removed, if that is certain. What is applied was
// committed, here as there, and an id never comes back: who is in the configuration as of the index
// that it names, and not in ours as of a later one, was taken out in between. That a leader is known
// who is no stranger to our configuration shows that the shard goes on without the other's vote.
func (c *core) onLeaving(g *group, from string, n note) {
	applied := g.log.Applied()
	if n.commit == 0 || n.commit > applied.Index || contains(applied.Conf, uint64(n.from)) || !contains(applied.Conf, g.leader) {
		return
	}
	batch := c.batchTo(from)
	*batch = appendNote(*batch, kindRemoved, g.shard, note{
		to: n.from, from: ReplicaID(g.replica), term: g.term, commit: applied.Index,
	})
}

// onRemoved believes who has applied as much as this replica or more: it asks nothing and answers
// nothing from now on.
func (c *core) onRemoved(g *group, n note) {
	if g.departure != confirmed && !g.leads() && n.commit >= g.log.Applied().Index {
		c.depart(g, confirmed)
	}
}

// onRemove takes a replica out of the core and begins to drop it: first its log, in one synced
// batch with the tombstone that keeps the id away, behind every earlier write of the log; then
// its state, behind everything applied earlier. What a crash leaves half done, opening finishes.
func (c *core) onRemove(in removeRequest) {
	g := c.groups[in.shard]
	switch {
	case c.closed:
		c.out.answers = append(c.out.answers, answer{in.done, ErrClosed})
		return
	case g == nil && c.tombs[in.shard] == uint64(in.replica):
		c.out.answers = append(c.out.answers, answer{in.done, nil})
		return
	case g == nil || g.replica != uint64(in.replica):
		c.out.answers = append(c.out.answers, answer{in.done, ErrNoReplica})
		return
	}
	c.endTerm(g, ErrNoReplica)
	if g.received != nil {
		c.discard(g.received.file)
		g.received = nil
	}
	delete(c.groups, g.shard)
	c.tails -= g.tailBytes
	c.order = slices.DeleteFunc(c.order, func(other *group) bool { return other == g })
	c.tombs[g.shard] = g.replica
	c.removing[g.shard] = in.done
	if g.told.Local {
		c.m.leading.Dec()
	}
	c.out.leads = append(c.out.leads, Lead{Shard: g.shard, Epoch: g.told.Epoch})
	c.out.log = append(c.out.log, &logTask{write: raftlog.Write{Shard: g.shard, Replica: g.replica, Remove: true}})
}

// onRemovalLogged goes on with the state when the tombstone is durable.
func (c *core) onRemovalLogged(s keys.Shard) {
	c.out.apply = append(c.out.apply, &applyTask{shard: s, drop: true})
}

// onRemovalDone ends a removal.
func (c *core) onRemovalDone(s keys.Shard) {
	if done := c.removing[s]; done != nil {
		delete(c.removing, s)
		c.out.answers = append(c.out.answers, answer{done, nil})
	}
}

// endRemovals answers those who wait for a removal that the next open will finish.
func (c *core) endRemovals() {
	shards := make([]keys.Shard, 0, len(c.removing))
	for s := range c.removing {
		shards = append(shards, s)
	}
	slices.Sort(shards)
	for _, s := range shards {
		c.out.answers = append(c.out.answers, answer{c.removing[s], ErrClosed})
		delete(c.removing, s)
	}
}
