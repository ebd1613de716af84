package shard

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"parley/internal/invariant"
	"parley/persistence/keys"
	"parley/persistence/raftlog"
	"parley/persistence/snapshot"
)

// logTask is one replica's change of its log. Tasks become durable in the order in which they
// were handed out; only then do their responses go anywhere (invariant I2).
type logTask struct {
	write     raftlog.Write
	responses []*raftpb.Message
	installed *raftlog.Applied // the state was replaced up to here, the log begins after it
	announced *applyTask       // replaces the state once this is durable
}

// applyTask is committed entries of one replica for its state, or a snapshot to replace it.
type applyTask struct {
	shard     keys.Shard
	entries   []*raftpb.Entry
	owners    []owner         // who waits, ascending by entry
	applied   raftlog.Applied // the row after the last entry
	responses []*raftpb.Message
	bytes     int            // of the owners' writes
	change    bool           // the last change of configuration asked for here is among the entries
	refused   bool           // Raft put an empty entry in the place of that change
	install   *snapshot.File // replaces the state; there are no entries then
	drop      bool           // the shard's state goes away with its replica; there is nothing else then
}

// owner is the writes of one entry that were proposed here.
type owner struct {
	entry int // index into entries
	done  []func(error)
}

// handle turns a Ready into outputs.
func (c *core) handle(g *group, rd raft.Ready) {
	c.follow(g, rd)
	var votes []*raftpb.Message
	for _, m := range rd.Messages {
		switch {
		case m.GetType() == raftpb.MsgVote:
			votes = append(votes, m)
		case m.GetTo() == raft.LocalAppendThread:
			// Raft would let a candidate ask for votes before its term and log are durable. After
			// a crash it could stand in the same term again, with less in its log, and be elected
			// by an answer to its first question. So the question waits for the disk, too.
			m.Responses = append(m.Responses, votes...)
			votes = nil
			c.handleAppend(g, m)
		case m.GetTo() == raft.LocalApplyThread:
			c.handleApply(g, m)
		case m.GetType() == raftpb.MsgSnap:
			c.handleSnapshot(g, m)
		default:
			c.send(g, m)
		}
	}
	for _, m := range votes {
		c.send(g, m) // nothing new to make durable
	}
	if len(rd.ReadStates) > 0 {
		c.onReadStates(g, rd.ReadStates)
	}
	c.tellLead(g)
}

// handleAppend hands a change of the log to the log writer.
func (c *core) handleAppend(g *group, m *raftpb.Message) {
	t := &logTask{responses: m.Responses}
	t.write = raftlog.Write{Shard: g.shard, Replica: g.replica, Entries: m.Entries, Last: g.handed}
	if m.Term != nil {
		vote := raftlog.Vote{Term: m.GetTerm(), For: m.GetVote(), Commit: m.GetCommit()}
		// A commit index alone is not worth a write: replay finds it again from the applied row.
		if vote.Term != g.vote.Term || vote.For != g.vote.For {
			t.write.Vote, g.vote = &vote, vote
		}
	}
	// But who acknowledges entries must still know, after a crash, of the configuration they were
	// counted in; otherwise two learners that became voters could both forget it, and nobody
	// could be elected.
	if len(m.Entries) > 0 && g.commit > g.vote.Commit && !g.alone() {
		g.vote.Commit = g.commit
		vote := g.vote
		t.write.Vote = &vote
	}
	if m.Snapshot != nil {
		c.handleInstall(g, m, t)
	}
	if n := len(m.Entries); n > 0 {
		g.handed = m.Entries[n-1].GetIndex()
		g.appending++
		for _, e := range m.Entries {
			g.logBytes += len(e.Data)
		}
	}
	switch {
	case g.install != nil && t != g.install:
		g.held = append(g.held, t)
	case g.install == nil && (t.write.MustSync() || len(t.responses) > 0):
		c.out.log = append(c.out.log, t)
	}
}

// handleInstall begins to replace the state by a snapshot that Raft has accepted. The log says
// first that it will be; then the state is, through the applier and so after everything applied
// earlier; the log follows when the state is durable. A crash between the last two leaves a log
// that does not reach the applied index, which raftlog.Open sets right because of the first
// (invariant I6).
func (c *core) handleInstall(g *group, m *raftpb.Message, t *logTask) {
	r := g.received
	invariant.That(r != nil && r.applied.Index == m.Snapshot.GetMetadata().GetIndex(),
		"shard %d: snapshot accepted that was not received", g.shard)
	g.received = nil
	g.handed, g.logBytes, g.members = r.applied.Index, 0, r.applied.Members
	g.configure(r.applied.Conf, r.applied.Index)
	t.write.Reset, t.installed = &r.applied.Position, &r.applied
	g.install = t
	before := g.log.Before()
	if g.reset != nil {
		before = *g.reset // of the snapshot before this one, which the log does not know of yet
	}
	c.out.log = append(c.out.log, &logTask{
		write: raftlog.Write{Shard: g.shard, Replica: g.replica, Announce: &raftlog.Announcement{
			Before: before, Snapshot: r.applied.Position,
		}},
		announced: &applyTask{shard: g.shard, applied: r.applied, install: r.file},
	})
}

// handleApply hands committed entries to the applier, with those who wait for them.
func (c *core) handleApply(g *group, m *raftpb.Message) {
	t := &applyTask{shard: g.shard, entries: m.Entries, responses: m.Responses}
	for i, e := range m.Entries {
		switch {
		case e.GetType() != raftpb.EntryNormal:
			c.applyConf(g, e)
			t.change = true
		case len(e.Data) == 0:
			// The empty entry of a new term, or the place of a change that Raft refused.
			t.refused = t.refused || g.change != nil && e.GetTerm() == g.term && g.ready()
		case g.leads() && e.GetTerm() == g.term && !c.closed:
			// All entries of a term come from its leader, so they return in the order in which
			// this leader proposed them.
			invariant.That(len(g.waiting) > 0, "shard %d: entry %d of our term that we did not propose", g.shard, e.GetIndex())
			t.owners = append(t.owners, owner{i, g.waiting[0].done})
			t.bytes += g.waiting[0].bytes
			g.waiting = g.waiting[1:]
		}
	}
	last := m.Entries[len(m.Entries)-1]
	t.applied = raftlog.Applied{
		Position: raftlog.Position{Index: last.GetIndex(), Term: last.GetTerm()}, Conf: g.conf, Members: g.members,
	}
	c.out.apply = append(c.out.apply, t)
}

// onLogDone shows Raft what is durable now and passes on the responses that waited for it.
func (c *core) onLogDone(in logDone) {
	for _, t := range in.tasks {
		if t.write.Remove {
			c.onRemovalLogged(t.write.Shard)
			continue
		}
		g := c.groups[t.write.Shard]
		if g == nil || g.replica != t.write.Replica {
			if t.announced != nil {
				c.discard(t.announced.install) // its replica was removed meanwhile
			}
			continue
		}
		if t.announced != nil {
			c.out.apply = append(c.out.apply, t.announced)
			continue
		}
		if t.installed != nil {
			g.log.Reset(*t.installed)
			if g.reset == t.write.Reset {
				g.reset = nil
			}
			c.finishReads(g) // there may be no entry behind the snapshot
		}
		if len(t.write.Entries) > 0 {
			g.log.Appended(t.write.Entries)
			g.appending--
		}
		c.countTail(g)
		for _, m := range t.responses {
			if m.GetTo() == g.replica {
				_ = g.raft.Step(m)
			} else {
				c.send(g, m)
			}
		}
		c.mark(g)
	}
}

// onApplyDone shows Raft what is applied now.
func (c *core) onApplyDone(in applyDone) {
	for _, t := range in.tasks {
		g := c.groups[t.shard]
		if t.install != nil {
			c.out.discards = append(c.out.discards, t.install)
		}
		if t.drop {
			c.onRemovalDone(t.shard)
			continue
		}
		if g == nil {
			c.out.released += t.bytes // its replica was removed meanwhile
			continue
		}
		c.mark(g)
		g.confChanged = g.confChanged || t.change
		if t.install != nil {
			c.out.log = append(append(c.out.log, g.install), g.held...)
			g.reset = g.install.write.Reset
			g.install, g.held = nil, nil
			continue
		}
		g.log.SetApplied(t.applied)
		c.release(g, t.bytes)
		for _, m := range t.responses {
			_ = g.raft.Step(m)
		}
		c.finishReads(g)
		c.finishChange(g, t)
		c.tellLead(g)
	}
}

// onFlushed truncates a log to what the disk's state makes superfluous (invariant I3).
func (c *core) onFlushed(in flushed) {
	g := c.groups[in.shard]
	if g == nil || g.install != nil || g.reset != nil {
		return // the log is about to begin anew
	}
	to := in.at
	to.Index = min(to.Index, g.log.Applied().Index) // the applier may be ahead of its report
	if !g.alone() {
		to.Index -= min(to.Index, uint64(c.o.KeepEntries))
	}
	needed := c.needed(g, to.Index)
	if needed == to.Index {
		g.logBytes = 0
	}
	to.Index = needed
	if first, _ := g.log.FirstIndex(); to.Index < first {
		return
	}
	term, err := g.log.Term(to.Index)
	if err != nil {
		return // a snapshot has replaced the log meanwhile
	}
	to.Term = term
	g.log.Truncated(to)
	c.m.truncated.Inc()
	c.out.log = append(c.out.log, &logTask{write: raftlog.Write{Shard: g.shard, Replica: g.replica, Truncate: &to}})
}

func decodeConf(e *raftpb.Entry) (*raftpb.ConfChangeV2, error) {
	if e.GetType() == raftpb.EntryConfChangeV2 {
		cc := &raftpb.ConfChangeV2{}
		return cc, proto.Unmarshal(e.Data, cc)
	}
	cc := &raftpb.ConfChange{}
	if err := proto.Unmarshal(e.Data, cc); err != nil {
		return nil, err
	}
	return cc.AsV2(), nil
}
