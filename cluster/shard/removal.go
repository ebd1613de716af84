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
// asks, until a leader that has applied the change confirms it.
type Removal struct {
	Shard   keys.Shard
	Replica ReplicaID
	// Confirmed is set once a leader without this replica has said so: nobody will ask anything
	// of the replica again, and Host.RemoveReplica may drop it.
	Confirmed bool
}

// departure is how far a replica has gone from its shard.
type departure byte

const (
	belongs   departure = iota
	left                // it has applied its removal, and still votes
	confirmed           // a leader without it has said so: it is silent
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

// askAround asks the members every election's time whether this replica may go.
func (c *core) askAround(g *group) {
	if g.askIn--; g.askIn > 0 {
		return
	}
	g.askIn = c.o.ElectionTicks
	for _, m := range g.members {
		if batch := c.batchFor(g, m.Replica); batch != nil {
			*batch = appendNote(*batch, kindLeaving, g.shard, note{to: ReplicaID(m.Replica), from: ReplicaID(g.replica), term: g.raft.BasicStatus().GetTerm()})
		}
	}
}

// answerDeparted tells a replica that stands for election, or asks, that it was removed. Only a
// leader may say that, and only when it has applied all it knows to be committed: any
// configuration with the other in it that was committed in a term up to ours is then in what
// we have applied, so an id that is missing there was taken out, and is not one that is to come.
func (c *core) answerDeparted(g *group, from string, replica, term uint64) bool {
	if !g.ready() || term > g.term || contains(g.conf, replica) || g.log.Applied().Index != g.raft.BasicStatus().GetCommit() {
		return false
	}
	g.heard[replica] = from
	if batch := c.batchFor(g, replica); batch != nil {
		*batch = appendNote(*batch, kindRemoved, g.shard, note{to: ReplicaID(replica), from: ReplicaID(g.replica), term: g.term})
	}
	delete(g.heard, replica)
	return true
}

// onRemoved believes a leader: who is told so asks nothing and answers nothing from now on.
func (c *core) onRemoved(g *group, n note) {
	if g.departure != confirmed && !g.leads() && n.term >= g.raft.BasicStatus().GetTerm() {
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
