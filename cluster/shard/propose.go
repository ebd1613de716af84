package shard

import (
	"bytes"
	"errors"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"parley/persistence/keys"
	"parley/persistence/store"
)

// ErrMalformed says that a Write touches what is not its own: keys outside its shard, another
// entity's head row, or the replica's row. It was never proposed.
var ErrMalformed = errors.New("write touches keys that are not its own")

// tableAt is where a state key names its table, after 's' and the shard.
const tableAt = 5

// check refuses a write that apply could not carry out safely: head rows are cached by the
// fence, so only the fence may write them.
func check(s keys.Shard, w *Write) error {
	lo, hi := keys.Span(s)
	replica, head := keys.Replica(s), keys.Head(s, keys.UUID{}, keys.UUID{}, 0)
	inside := func(key []byte) bool { return len(key) > tableAt && bytes.HasPrefix(key, lo) }
	if !inside(w.Entity) || w.Entity[tableAt] != head[tableAt] {
		return ErrMalformed
	}
	for i := range w.Ops {
		op := &w.Ops[i]
		if !inside(op.Key) || op.Key[tableAt] == head[tableAt] || op.Key[tableAt] == replica[tableAt] {
			return ErrMalformed
		}
		switch op.Kind {
		case store.OpPut, store.OpDelete:
		case store.OpDeleteRange:
			// A range stays within its table, or ends exactly where the next one begins.
			next := append(bytes.Clone(lo), op.Key[tableAt]+1)
			if bytes.Compare(op.End, op.Key) < 0 || bytes.Compare(op.End, next) > 0 || bytes.Compare(op.End, hi) > 0 {
				return ErrMalformed
			}
		default:
			return ErrMalformed
		}
	}
	return nil
}

// propose queues a proposal with its group, or answers it.
func (c *core) propose(p *Proposal) {
	size := sizeOf(&p.Write)
	g := c.groups[p.Shard]
	if err := c.refusal(p, g, size); err != nil {
		c.out.released += size // no group has counted it
		c.answer(p.Done, err)
		return
	}
	g.bytes += size
	g.pending = append(g.pending, *p)
	g.pendingBytes += size
	c.wake(g)
}

// refusal says why a group does not take a proposal, nil when it does.
func (c *core) refusal(p *Proposal, g *group, size int) error {
	switch {
	case c.closed:
		return ErrClosed
	case g == nil:
		return ErrNoReplica
	case !g.leads() || uint64(p.Epoch) != g.term:
		return ErrNotLeader
	case g.bytes+size > c.o.ShardBytesMax:
		return ErrOverloaded
	}
	return c.noSpaceFor(g)
}

// proposeWaiting appends what waits. While entries of the group are on their way to the disk,
// more proposals gather: the disk's own pace makes the batches, without a timer, and a group
// that is alone waits for nothing.
func (c *core) proposeWaiting(g *group) {
	if len(g.pending) == 0 || g.leads() && g.appending > 0 && g.pendingBytes < c.o.EntryBytes {
		return
	}
	if !g.leads() || g.leaves() {
		c.failPending(g, ErrNotLeader)
		return
	}
	var entries []*raftpb.Entry
	var waiting []waitingEntry
	for rest := g.pending; len(rest) > 0; {
		entry, wait, n := c.encode(rest, Epoch(g.term))
		entries, waiting, rest = append(entries, entry), append(waiting, wait), rest[n:]
	}
	err := g.raft.Step(&raftpb.Message{Type: raftpb.MsgProp.Enum(), From: new(g.replica), Entries: entries})
	if err != nil {
		c.failPending(g, c.proposalError(g, err))
		return
	}
	g.waiting = append(g.waiting, waiting...)
	clear(g.pending)
	g.pending, g.pendingBytes = g.pending[:0], 0
}

// encode puts as many proposals into one entry as belong into it, at least one.
func (c *core) encode(proposals []Proposal, epoch Epoch) (*raftpb.Entry, waitingEntry, int) {
	wait, n := waitingEntry{}, 0
	for n < len(proposals) {
		size := sizeOf(&proposals[n].Write)
		if n > 0 && wait.bytes+size > c.o.EntryBytes {
			break
		}
		wait.bytes += size
		n++
	}
	wait.done = make([]func(error), n)
	payload := appendEntryHeader(make([]byte, 0, entryHeaderMax+wait.bytes), epoch, n)
	for i := range proposals[:n] {
		payload = appendWrite(payload, &proposals[i].Write)
		wait.done[i] = proposals[i].Done
	}
	c.m.entries.Inc()
	c.m.entryBytes.Add(float64(len(payload)))
	return &raftpb.Entry{Type: raftpb.EntryNormal.Enum(), Data: payload}, wait, n
}

// proposalError tells why Raft dropped a proposal, which it does before it appends anything.
func (c *core) proposalError(g *group, err error) error {
	if !errors.Is(err, raft.ErrProposalDropped) {
		return err
	}
	if status := g.raft.BasicStatus(); status.RaftState != raft.StateLeader || status.LeadTransferee != 0 {
		return ErrNotLeader
	}
	return ErrOverloaded
}

// failPending answers what was never appended.
func (c *core) failPending(g *group, err error) {
	for i := range g.pending {
		c.answer(g.pending[i].Done, err)
	}
	c.release(g, g.pendingBytes)
	clear(g.pending)
	g.pending, g.pendingBytes = g.pending[:0], 0
}

// outcome names an error for the metric.
func outcome(err error) string {
	for _, known := range []struct {
		err  error
		name string
	}{
		{nil, "committed"}, {ErrUnknown, "unknown"}, {ErrNotLeader, "not_leader"}, {ErrStale, "stale"},
		{ErrOverloaded, "overloaded"}, {ErrTooLarge, "too_large"}, {ErrMalformed, "malformed"},
		{ErrClosed, "closed"}, {ErrNoReplica, "no_replica"}, {ErrNoSpace, "no_space"},
	} {
		if errors.Is(err, known.err) {
			return known.name
		}
	}
	return "failed"
}
