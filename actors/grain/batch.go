package grain

import (
	"errors"
	"fmt"
	"math"

	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// batch is what was decided together: one write, or none.
type batch struct {
	count    int // commands decided
	ops      []store.Op
	bytes    int // keys and values of ops
	head     []byte
	rows     []Row
	fanout   []*nodev1.Fanout // of a batch that writes, in order
	verdicts []verdict
	wrote    bool
}

// collect decides waiting commands, oldest first, until the batch is full.
func (s *Shell) collect(now int64) *batch {
	b := &batch{}
	taken := 0
	for taken < len(s.waiting) && taken < s.options.BatchMax {
		a := s.waiting[taken]
		d, err := s.judge(now, a.Command)
		if err == nil && !s.admit(b, &d) {
			break // it opens the next batch
		}
		taken++
		s.waitingBytes -= a.Command.SizeVT()
		if errors.Is(err, shard.ErrStale) {
			s.overtaken(err, append(b.verdicts, verdict{respond: a.Respond}))
			b = &batch{} // the fence would refuse it
			break
		}
		if err != nil {
			s.refuse(b, a, err)
			continue
		}
		s.take(now, b, a, &d)
	}
	s.drop(taken)
	return b
}

// drop forgets the first n waiting commands.
func (s *Shell) drop(n int) {
	rest := copy(s.waiting, s.waiting[n:])
	clear(s.waiting[rest:])
	s.waiting = s.waiting[:rest]
	if rest == 0 {
		s.waitingBytes = 0
	}
}

// judge brings the rows that the command names into the view and decides. Rows of two moments are not
// decided on: then the error is shard.ErrStale.
func (s *Shell) judge(now int64, c *nodev1.Command) (Decision, error) {
	if err := s.view(); err != nil {
		return Decision{}, err
	}
	if err := s.machine.Load(s.reader, s.revision, s.head, c); err != nil {
		return Decision{}, fmt.Errorf("load %s: %w", s.entity.ID, err)
	}
	if err := s.current(); err != nil {
		return Decision{}, fmt.Errorf("load %s: %w", s.entity.ID, err)
	}
	return s.machine.Decide(now, c)
}

// refuse answers a command that leads to nothing. A coded refusal is a statement about the state
// and waits for its proof; anything else is a failure to read it, told at once.
func (s *Shell) refuse(b *batch, a Arrived, err error) {
	if _, coded := code.Of(err); !coded {
		s.metrics.failed(err)
		s.options.Logger.Error("a command could not be decided", "kind", s.entity.Kind.String(), "entity", s.entity.ID, "error", err)
		s.answer(a.Respond, refusal(s.epoch, err))
		return
	}
	b.count++
	b.verdicts = append(b.verdicts, verdict{respond: a.Respond, reply: refusal(s.epoch, err)})
}

// admit says whether the decision still fits; the first one always does. It also turns the
// decision's outbox rows into ops, which need the revision that the batch will have.
func (s *Shell) admit(b *batch, d *Decision) bool {
	if !d.Writes() {
		return true
	}
	size := 0
	for i := range d.Ops {
		size += len(d.Ops[i].Key) + len(d.Ops[i].Value) + len(d.Ops[i].End)
	}
	for _, r := range d.Outbox {
		size += r.SizeVT() + 128
	}
	full := b.bytes+size > s.options.BatchBytesMax || len(b.rows)+len(d.Outbox) > math.MaxUint16
	if full && b.wrote {
		return false
	}
	b.bytes += size
	return true
}

// take folds a decision into the batch and the view.
func (s *Shell) take(now int64, b *batch, a Arrived, d *Decision) {
	b.count++
	v := verdict{respond: a.Respond, wrote: d.Writes(), reply: &nodev1.GrainReply{Reply: d.Reply, Epoch: uint64(s.epoch)}}
	if d.Writes() || d.Changes != nil {
		s.machine.Evolve(*d)
	}
	if d.Proven && !b.wrote && !v.wrote {
		s.answer(v.respond, v.reply) // applied state proves it
		return
	}
	if v.wrote && !b.wrote {
		b.promote()
	}
	if b.wrote {
		b.fanout = append(b.fanout, d.Fanout...)
	} else {
		v.fanout = d.Fanout
	}
	b.ops = append(b.ops, d.Ops...)
	for _, r := range d.Outbox {
		s.post(now, b, r)
	}
	b.verdicts = append(b.verdicts, v)
}

// promote makes a batch one that writes: the fan-out of what was decided before leaves in order
// with the rest.
func (b *batch) promote() {
	b.wrote = true
	for i := range b.verdicts {
		b.fanout = append(b.fanout, b.verdicts[i].fanout...)
		b.verdicts[i].fanout = nil
	}
}

// post adds an outbox row to the batch's write.
func (s *Shell) post(now int64, b *batch, r *nodev1.OutboxRow) {
	r.SourceId = s.entity.ID
	r.Revision = s.revision + 1
	r.CreatedMs = now
	target := Place(r.TargetKind, r.ApplicationId, r.TargetId, s.options.Shards)
	source := digest(s.entity.Kind, s.entity.Application, s.entity.ID)
	to := digest(r.TargetKind, r.ApplicationId, r.TargetId)
	key := keys.Outbox(s.entity.Shard, byte(r.TargetKind), target, source[:], to[:], r.Revision, uint16(len(b.rows)))
	value, err := r.MarshalVT()
	if err != nil {
		panic(fmt.Sprintf("marshal an outbox row: %v", err)) // no message of ours can fail to marshal
	}
	b.ops = append(b.ops, store.Put(key, value))
	b.rows = append(b.rows, Row{Key: key, Target: target, Row: r})
}

// laneTail is the length of an outbox key's last part: revision and index.
const laneTail = 10

// Lane is the part of an outbox key that all rows of one source for one target share, in their
// order of delivery.
func Lane(key []byte) []byte { return key[:len(key)-laneTail] }

// groupHead is the length of an outbox key's first part: span, table, target kind and target shard.
const groupHead = 11

// Group is the part of an outbox key that all rows for one shard, or for one sink of an
// application, share.
func Group(key []byte) []byte { return key[:groupHead] }
