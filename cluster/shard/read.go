package shard

import (
	"encoding/binary"

	"go.etcd.io/raft/v3"
)

// readQueue is the reads of one group on their way to an index. All that wait when a round
// begins share it; what comes later waits for the next round, so a read never gets an index
// from before it was asked for.
type readQueue struct {
	queued  []func(Epoch, error) // wait for a round to begin
	round   uint64               // number of the round under way, 0 none
	asked   []func(Epoch, error) // wait for the round
	age     int                  // ticks since the round began
	settled []settledRead        // wait until the index is applied, ascending
}

type settledRead struct {
	index uint64
	done  []func(Epoch, error)
}

func (q *readQueue) len() int {
	n := len(q.queued) + len(q.asked)
	for i := range q.settled {
		n += len(q.settled[i].done)
	}
	return n
}

func (c *core) onRead(in readRequest) {
	g := c.groups[in.shard]
	switch {
	case c.closed:
		c.answerRead(in.done, 0, ErrClosed)
	case g == nil || g.departure != belongs:
		c.answerRead(in.done, 0, ErrNoReplica)
	case g.leader == 0:
		c.answerRead(in.done, Epoch(g.term), ErrNotLeader)
	case g.reads.len() >= c.o.ReadsMax:
		c.answerRead(in.done, Epoch(g.term), ErrOverloaded)
	default:
		g.reads.queued = append(g.reads.queued, in.done)
		c.wake(g)
	}
}

// startReads begins a round for the reads that wait. A leader must have applied an entry of its
// own term first: until then it may not know of all that was committed before it.
func (c *core) startReads(g *group) {
	if len(g.reads.queued) == 0 || g.reads.round != 0 || g.leads() && !g.ready() {
		return
	}
	c.reads++
	q := &g.reads
	q.round, q.age = c.reads, 0
	q.asked, q.queued = q.queued, nil
	g.raft.ReadIndex(binary.BigEndian.AppendUint64(nil, q.round))
}

// onReadStates settles the round that Raft has confirmed.
func (c *core) onReadStates(g *group, states []raft.ReadState) {
	for _, s := range states {
		q := &g.reads
		if len(s.RequestCtx) != 8 || binary.BigEndian.Uint64(s.RequestCtx) != q.round {
			continue // of a round that was given up
		}
		q.settled = append(q.settled, settledRead{s.Index, q.asked})
		q.round, q.asked = 0, nil
		c.mark(g)
	}
	c.finishReads(g)
}

// finishReads answers the reads whose index is applied.
func (c *core) finishReads(g *group) {
	q := &g.reads
	for len(q.settled) > 0 && q.settled[0].index <= g.log.Applied().Index {
		for _, done := range q.settled[0].done {
			c.answerRead(done, Epoch(g.term), nil)
		}
		q.settled = q.settled[1:]
	}
}

// failReads ends all reads of a group, because its term has ended.
func (c *core) failReads(g *group, err error) {
	q := &g.reads
	for i := range q.settled {
		q.asked = append(q.asked, q.settled[i].done...)
	}
	for _, done := range append(q.asked, q.queued...) {
		c.answerRead(done, Epoch(g.term), err)
	}
	*q = readQueue{}
}

// askAgain has the reads of a leader's round wait for the next one, when the configuration has changed: those who
// would have confirmed it may have left, and who is alone then sends no heartbeat that would ask again.
func (c *core) askAgain(g *group) {
	q := &g.reads
	if q.round == 0 || !g.leads() {
		return
	}
	q.round, q.asked, q.queued = 0, nil, append(q.asked, q.queued...)
	c.mark(g)
}

// ageReads gives up a follower's round after an election's time: its question or the leader's
// answer was lost. A leader's round needs no such care, as every heartbeat asks again.
func (c *core) ageReads(g *group) {
	if g.reads.round == 0 || g.leads() {
		return
	}
	if g.reads.age++; g.reads.age >= c.o.ElectionTicks {
		c.failReads(g, ErrNotLeader)
	}
}

func (c *core) answerRead(done func(Epoch, error), epoch Epoch, err error) {
	c.out.reads = append(c.out.reads, readAnswer{done, epoch, err})
}
