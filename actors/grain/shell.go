package grain

import (
	"encoding/binary"
	"errors"
	"fmt"

	"parley/cluster/shard"
	"parley/internal/invariant"
	"parley/persistence/store"
	nodev1 "parley/proto/node/v1"
)

// Shell runs one entity in one epoch. It is a step function: Step takes what happened and gives
// what must be done; it has no goroutine, clock or disk beyond the Reader. Its rules:
//
//   - One batch in flight. Commands that arrive meanwhile wait, bounded, and are then decided
//     together against the committed state: nothing speculative is ever rolled back.
//   - A reply to a write, and every reply decided in the same batch after it, leaves when the
//     batch has committed: the commit proves the state that they were decided on.
//   - A reply of a batch without writes leaves after a ReadIndex of the epoch, one for all that
//     wait, when the entity is still the same then, or after the next commit if that comes first; a
//     Proven one leaves at once.
//   - What others change meanwhile throws the machine away, before it has decided on two moments at once.
//   - A failed batch throws the machine away. An unknown outcome ends the shell's deciding.
//   - Fan-out and outbox rows leave after the commit, before the replies, in order.
type Shell struct {
	// Fixed.
	entity  Entity
	epoch   shard.Epoch
	headKey []byte
	create  func(Entity) Machine
	reader  store.Reader
	options Options
	metrics *Metrics

	// The view: nil until the first command and after a failed batch.
	machine  Machine
	revision uint64
	head     []byte // the kind's own part of the head row, as committed

	// What waits to be decided.
	waiting      []Arrived
	waitingBytes int

	flight     *batch    // proposed, nil when none
	reading    bool      // a ReadIndex is in flight
	confirming []verdict // wait for it
	unasked    []verdict // wait for the next one
	done       bool      // halted or ended

	out []Output
}

// verdict is a reply on its way out, with the fan-out of its command when nothing was written.
type verdict struct {
	respond func(*nodev1.GrainReply)
	reply   *nodev1.GrainReply
	fanout  []*nodev1.Fanout
	wrote   bool
}

// NewShell makes the shell of an entity for one epoch; create makes a fresh machine. An identity
// that no key can be made of is an error.
func NewShell(e Entity, epoch shard.Epoch, create func(Entity) Machine, r store.Reader, o Options) (*Shell, error) {
	key, err := HeadKey(e)
	if err != nil {
		return nil, err
	}
	return &Shell{entity: e, epoch: epoch, headKey: key, create: create, reader: r, options: o, metrics: o.Metrics}, nil
}

// Step takes one input at time now (Unix milliseconds). The outputs are valid until the next Step.
func (s *Shell) Step(now int64, in Input) []Output {
	clear(s.out)
	s.out = s.out[:0]
	switch in := in.(type) {
	case Arrived:
		s.onArrived(now, in)
	case Committed:
		s.onCommitted(now, in)
	case Confirmed:
		s.onConfirmed(now, in)
	case Ended:
		s.onEnded()
	}
	return s.out
}

// Idle says that nothing waits and nothing is in flight.
func (s *Shell) Idle() bool {
	return s.flight == nil && !s.reading && len(s.waiting) == 0 && len(s.unasked) == 0
}

func (s *Shell) emit(o Output) { s.out = append(s.out, o) }

func (s *Shell) answer(respond func(*nodev1.GrainReply), r *nodev1.GrainReply) {
	s.metrics.answered(r)
	s.emit(Answer{Respond: respond, Reply: r})
}

func (s *Shell) onArrived(now int64, a Arrived) {
	if s.done {
		s.answer(a.Respond, notLeader(s.epoch))
		return
	}
	size := a.Command.SizeVT()
	if len(s.waiting) >= s.options.WaitingMax || len(s.waiting) > 0 && s.waitingBytes+size > s.options.WaitingBytesMax {
		s.metrics.dropped.Inc()
		s.answer(a.Respond, refusal(s.epoch, busy("too many commands wait for this entity")))
		return
	}
	s.waiting = append(s.waiting, a)
	s.waitingBytes += size
	s.decide(now)
}

// decide takes waiting commands into batches until one must be waited for.
func (s *Shell) decide(now int64) {
	for s.flight == nil && len(s.waiting) > 0 && !s.done {
		b := s.collect(now)
		if b.count == 0 {
			continue // the view could not be read: all were answered
		}
		s.metrics.batch.Observe(float64(b.count))
		if b.wrote {
			s.flight, b.head = b, s.machine.Head()
			s.emit(Propose{Write: shard.Write{Entity: s.headKey, Base: s.revision, Head: b.head, Ops: b.ops}})
			continue
		}
		s.machine.Settle()
		s.unasked = append(s.unasked, b.verdicts...)
	}
	s.confirm()
}

// confirm asks for a ReadIndex when replies wait for one and none is in flight. Replies decided
// while one is in flight wait for the next: it must begin after they were asked for.
func (s *Shell) confirm() {
	if s.reading || len(s.unasked) == 0 || s.done {
		return
	}
	s.reading = true
	s.confirming, s.unasked = s.unasked, nil
	s.emit(Confirm{})
}

func (s *Shell) onCommitted(now int64, c Committed) {
	if s.done {
		return // answered when the shell ended
	}
	invariant.That(s.flight != nil, "an outcome without a proposal for %s", s.entity.ID)
	b := s.flight
	s.flight = nil
	if c.Err != nil {
		s.onFailed(now, b, c.Err)
		return
	}
	s.revision, s.head = s.revision+1, b.head
	s.machine.Settle()
	// The commit proves as much as a ReadIndex for all that was decided before it.
	s.release(s.confirming)
	s.release(s.unasked)
	s.confirming, s.unasked = nil, nil
	if len(b.rows) > 0 {
		s.emit(Posted{Rows: b.rows})
	}
	if len(b.fanout) > 0 {
		s.emit(Broadcast{Items: b.fanout})
	}
	for _, v := range b.verdicts {
		s.answer(v.respond, v.reply)
	}
	s.decide(now)
}

// onFailed throws the view away. After an outcome that is sure, the shell may read the state
// again and go on; after an unknown one it must not decide in this epoch.
func (s *Shell) onFailed(now int64, b *batch, err error) {
	s.machine = nil
	s.metrics.failed(err)
	for _, v := range b.verdicts {
		s.answer(v.respond, fate(s.epoch, err, v.wrote))
	}
	if !surelyNotDone(err) {
		s.refuseAll()
		s.emit(Halt{})
		return
	}
	if !proceeds(err) {
		s.refuseWaiting() // the leader is elsewhere: nobody gains by waiting here
	}
	s.decide(now)
}

func (s *Shell) onConfirmed(now int64, c Confirmed) {
	if s.done {
		return
	}
	s.reading = false
	waited := s.confirming
	s.confirming = nil
	switch {
	case len(waited) == 0: // a commit was sooner
	case c.Err != nil || c.Epoch != s.epoch:
		s.turnAway(waited)
	default:
		s.onProven(waited)
	}
	s.decide(now)
}

// onProven lets replies leave whose state is the newest there is. When it is not, and a batch is in flight, it may
// be that one which has changed it: its outcome will tell.
func (s *Shell) onProven(waited []verdict) {
	err := s.current()
	switch {
	case err == nil:
		s.release(waited)
	case s.flight != nil:
		s.unasked = append(waited, s.unasked...)
	default:
		s.overtaken(err, waited)
	}
}

// release lets replies leave that were decided on a state now proven.
func (s *Shell) release(vs []verdict) {
	for _, v := range vs {
		if len(v.fanout) > 0 {
			s.emit(Broadcast{Items: v.fanout})
		}
		s.answer(v.respond, v.reply)
	}
}

// onEnded answers everything: the batch in flight is unknown, the rest was surely not done.
func (s *Shell) onEnded() {
	if s.done {
		return
	}
	if s.flight != nil {
		for _, v := range s.flight.verdicts {
			s.answer(v.respond, fate(s.epoch, shard.ErrUnknown, v.wrote))
		}
		s.flight = nil
	}
	s.refuseAll()
}

func (s *Shell) refuseAll() {
	s.done, s.machine = true, nil
	s.distrust()
	s.refuseWaiting()
}

func (s *Shell) refuseWaiting() {
	for _, a := range s.waiting {
		s.answer(a.Respond, notLeader(s.epoch))
	}
	clear(s.waiting)
	s.waiting, s.waitingBytes = s.waiting[:0], 0
}

// view makes sure that there is a machine over the committed state.
func (s *Shell) view() error {
	if s.machine != nil {
		return nil
	}
	revision, head, err := s.readHead()
	if err != nil {
		return err
	}
	if revision != s.revision {
		s.distrust() // what waits was decided on a state that is over
	}
	s.revision, s.head = revision, head
	s.machine = s.create(s.entity)
	return nil
}

// current says that all that was read so far is of the view's own revision; if not, the error is shard.ErrStale.
// Others change an entity under a shell when an activation of the same epoch was given up with a write on its
// way, and, until the end of the epoch is heard of, when there is a next leader. The fence refuses what is
// written then; but a machine must not see rows of two moments, nor may what it refused be told as of now.
func (s *Shell) current() error {
	revision, _, err := s.readHead()
	if err == nil && revision != s.revision {
		err = fmt.Errorf("revision %d became %d: %w", s.revision, revision, shard.ErrStale)
	}
	return err
}

func (s *Shell) readHead() (revision uint64, head []byte, err error) {
	row, ok, err := s.reader.Get(s.headKey)
	if err != nil {
		return 0, nil, fmt.Errorf("read the head: %w", err)
	}
	if !ok {
		return 0, nil, nil
	}
	if len(row) < 8 {
		return 0, nil, fmt.Errorf("the head has %d bytes", len(row))
	}
	return binary.BigEndian.Uint64(row), row[8:], nil
}

// overtaken throws away a view that is not of now, or not known to be, and what was decided on it: whoever
// asked asks again.
func (s *Shell) overtaken(why error, decided []verdict) {
	s.machine = nil
	s.metrics.failed(why)
	if !errors.Is(why, shard.ErrStale) {
		s.options.Logger.Error("the state could not be read", "kind", s.entity.Kind.String(), "entity", s.entity.ID, "error", why)
	}
	s.turnAway(decided)
	s.distrust()
}

// distrust turns away those who wait for a proof of a state that is over.
func (s *Shell) distrust() {
	s.turnAway(s.confirming)
	s.turnAway(s.unasked)
	s.confirming, s.unasked = nil, nil
}

func (s *Shell) turnAway(vs []verdict) {
	for _, v := range vs {
		s.answer(v.respond, notLeader(s.epoch))
	}
}
