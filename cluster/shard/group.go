package shard

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"parley/persistence/keys"
	"parley/persistence/raftlog"
	"parley/persistence/snapshot"
)

// group is one replica and all that waits for it. The core owns it.
type group struct {
	// Fixed at open.
	shard   keys.Shard
	replica uint64
	raft    *raft.RawNode
	log     *raftlog.Log

	// As of the last Ready.
	term   uint64
	commit uint64
	leader uint64
	role   raft.StateType
	told   Lead

	// The configuration as of the entries handed to the applier, which is at or ahead of what
	// the log calls applied.
	conf       *raftpb.ConfState
	configured uint64 // index of the entry or snapshot it came with; when opened, what was applied
	members    []raftlog.Member
	parting    parting           // of voters that the configuration takes out
	heard      map[uint64]string // nodes of replicas that wrote to us, until members names them

	// Proposals. pending were never appended; waiting are in the log of this term, in log order.
	pending      []Proposal
	pendingBytes int
	waiting      []waitingEntry
	bytes        int // of both, until the outcome

	// Storage.
	vote      raftlog.Vote // as last handed to the log writer
	handed    uint64       // highest index handed to the log writer
	appending int          // tasks with entries that are not durable yet
	logBytes  int          // handed out since the log was last truncated as far as the flushed state allows
	tailBytes int          // of the log that are kept in memory, as counted last
	received  *snapshotReceived
	install   *logTask          // waits until the applier has replaced the state
	held      []*logTask        // must follow install
	reset     *raftlog.Position // the log begins anew after this, as soon as what was handed out is durable

	// Whether those store who are not spared; of a leader.
	seen     uint64 // the commit at the last tick
	still    int    // ticks for which it has stood still while entries wait
	unstored uint64 // what was not stored in time: until it is, nobody is spared; 0 none

	setbacks map[uint64]setback // of snapshots, by replica; of a leader

	reads    readQueue
	change   *pendingChange
	transfer uint64 // the replica that leadership is being handed to, 0 none

	departure   departure // whether the shard still has this replica
	confChanged bool      // look whether it has
	askIn       int       // ticks without a leader until it asks whether it was removed

	dirty      bool
	quiesced   bool
	idleTicks  int
	campaignIn int // ticks until the second candidate stands, 0 not
}

// waitingEntry is an entry in the log whose writes wait for it to be applied.
type waitingEntry struct {
	done  []func(error)
	bytes int
}

// leads says that this replica leads, as of the last Ready.
func (g *group) leads() bool { return g.role == raft.StateLeader }

// ready says that this replica leads and has applied an entry of its own term (invariant I7).
func (g *group) ready() bool { return g.leads() && g.log.Applied().Term == g.term }

// soleVoter says that this replica alone is the quorum.
func (g *group) soleVoter() bool {
	return len(g.conf.GetVoters()) == 1 && g.conf.GetVoters()[0] == g.replica && len(g.conf.GetVotersOutgoing()) == 0
}

// alone says that there is nobody else to talk to.
func (g *group) alone() bool {
	return g.soleVoter() && len(g.conf.GetLearners()) == 0 && len(g.conf.GetLearnersNext()) == 0
}

// quiet says that the group wants no ticks: it has fallen idle, leads nobody but itself, still
// waits for its first snapshot, or is here no more.
func (g *group) quiet() bool {
	return g.departure == confirmed || g.quiesced && g.departure == belongs || g.leads() && g.alone() ||
		len(g.conf.GetVoters()) == 0 && g.leader == 0
}

// campaign stands for election. Raft refuses by itself who must not.
func (g *group) campaign() { _ = g.raft.Campaign() }

func (g *group) nodeOf(replica uint64) string {
	for i := range g.members {
		if g.members[i].Replica == replica {
			return g.members[i].Node
		}
	}
	return g.heard[replica]
}

// leadNow is the group's leadership as of the last Ready.
func (g *group) leadNow() Lead {
	return Lead{
		Shard: g.shard, Node: g.nodeOf(g.leader), Epoch: Epoch(g.term),
		Local: g.leads(), Ready: g.ready(),
	}
}

// tellLead lets the observer know when leader, epoch or readiness have changed.
func (c *core) tellLead(g *group) {
	now := g.leadNow()
	if now == g.told {
		return
	}
	if now.Local != g.told.Local {
		if now.Local {
			c.m.leading.Inc()
		} else {
			c.m.leading.Dec()
		}
	}
	g.told = now
	c.out.leads = append(c.out.leads, now)
}

// follow takes over what a Ready says of term and role. A leader whose term ends loses all that
// waits in it.
func (c *core) follow(g *group, rd raft.Ready) {
	term, role := g.term, g.role
	if rd.HardState != nil {
		term, g.commit = rd.HardState.GetTerm(), rd.HardState.GetCommit()
	}
	if rd.SoftState != nil {
		role, g.leader = rd.RaftState, rd.Lead
	}
	if term == g.term && role == g.role {
		return
	}
	if g.leads() {
		c.endTerm(g, ErrNotLeader)
	} else {
		c.failReads(g, ErrNotLeader)
	}
	g.term, g.role, g.transfer = term, role, 0
	g.still, g.unstored = 0, 0
	clear(g.setbacks)
}

// endTerm answers all that waits in a group: what may be in the log with ErrUnknown, what surely
// is not with unsent.
func (c *core) endTerm(g *group, unsent error) {
	for i := range g.waiting {
		w := &g.waiting[i]
		for _, done := range w.done {
			c.answer(done, ErrUnknown)
		}
		c.release(g, w.bytes)
	}
	g.waiting = nil
	c.failPending(g, unsent)
	c.failReads(g, unsent)
	if g.change != nil {
		c.answer(g.change.done, ErrUnknown)
		g.change = nil
	}
}

func (c *core) answer(done func(error), err error) {
	c.out.answers = append(c.out.answers, answer{done, err})
	c.m.outcomes.WithLabelValues(outcome(err)).Inc()
}

// release returns bytes to the budgets of the group and of the node.
func (c *core) release(g *group, bytes int) {
	g.bytes -= bytes
	c.out.released += bytes
}

// discard drops a received snapshot that Raft has no use for.
func (c *core) discard(f *snapshot.File) {
	c.m.dropped.WithLabelValues(dropSnapshot).Inc()
	c.out.discards = append(c.out.discards, f)
}
