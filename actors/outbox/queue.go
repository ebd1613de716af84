package outbox

import (
	"fmt"
	"strings"

	"parley/actors/grain"
	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/persistence/store"
	nodev1 "parley/proto/node/v1"
)

// Input is one thing that happens to a Queue: Started, Posted, Overrun, Delivered, Deleted,
// Redeliver or Ticked.
type Input interface{ input() }

// Started begins the epoch: what the disk holds is looked up.
type Started struct{}

// Posted brings rows with their commit, in key order per lane.
type Posted struct{ Rows []grain.Row }

// Overrun says that rows were posted which did not get here: they are on disk.
type Overrun struct{}

// Delivered is the outcome of a Deliver: nil when the target has acked or has refused for good. A
// *Failure says more than another error.
type Delivered struct {
	Row grain.Row
	Err error
}

// Deleted is the outcome of the Propose in flight.
type Deleted struct{ Err error }

// Redeliver asks for dead letters of an application to be delivered again: those that are there when
// its turn comes, in as many writes as that takes. Those that a target refuses again at once stay. Done
// is handed back in exactly one Answer.
type Redeliver struct {
	Application keys.UUID
	Position    []byte // of one letter, as listed; empty = all
	Discard     bool   // drop them instead
	Done        func(moved int, err error)

	last  []byte // key of the last letter that is meant; nil = not looked up yet
	moved int    // by the writes before
}

// Ticked says that the time asked for by the last Alarm has come.
type Ticked struct{}

func (Started) input()   {}
func (Posted) input()    {}
func (Overrun) input()   {}
func (Delivered) input() {}
func (Deleted) input()   {}
func (Redeliver) input() {}
func (Ticked) input()    {}

// Output is one thing that a Queue asks for: Deliver, Propose, Answer or Alarm.
type Output interface{ output() }

// Deliver asks for a row's command to be brought to its target. Attempt counts from 1, since the
// epoch began.
type Deliver struct {
	Row     grain.Row
	Attempt int
}

// Propose asks for the write that deletes delivered rows. Never more than one in flight. Died rows
// become dead letters with it, and Dropped older letters make room for them.
type Propose struct {
	Write   shard.Write
	Died    []*nodev1.DeadLetter
	Dropped int
}

// Answer is the one reply to a Redeliver.
type Answer struct {
	Done  func(moved int, err error)
	Moved int
	Err   error
}

// Alarm asks for a Ticked at a time (Unix milliseconds). A later Alarm replaces an earlier one.
type Alarm struct{ At int64 }

func (Deliver) output() {}
func (Propose) output() {}
func (Answer) output()  {}
func (Alarm) output()   {}

// Queue is the outbox of one shard in one epoch, for all grains or for one kind of sink, as a step
// function. Rows wait in lanes, one per (source, target), of which the first row alone is on its
// way. The lanes of one target shard, or of one application's sink, are a group, which may take
// only a part of what the queue can hold and deliver at once.
type Queue struct {
	// Fixed.
	shard  keys.Shard
	spans  []span
	entity []byte // whose revision fences the deletions
	kind   nodev1.Kind
	reader store.Reader
	limits Limits
	jitter func() float64 // 0 <= j < 1

	lanes   map[string]*lane
	groups  map[string]*group
	turns   []*group            // may deliver now, each once
	blocked laneHeap            // wait for their retryAt
	held    map[string]struct{} // keys in lanes, delivered or being deleted
	flying  int                 // but for the slow
	slow    int                 // deliveries that have left their places to others
	flights []flight            // untried deliveries that may, by when they are due; some have landed
	parked  int                 // lanes
	// Names of lanes for sinks that are empty and whose targets took their last rows: the later half,
	// and the half before.
	took, tookBefore map[string]struct{}
	// behind: the disk has rows of lanes that are not held. Posted rows are then left there.
	behind bool
	lookAt int64 // when the disk may be looked at again for a few rows

	acked    []removal   // delivered or given up, not yet being deleted
	deleting []removal   // in the Propose in flight
	asked    []Redeliver // wait for their write
	moving   *moving     // the one in flight
	revision uint64      // of the outbox entity
	retryAt  int64       // no deletion before, after one failed
	failures int

	alarm int64 // as last asked for, 0 = none
	out   []Output
}

// span is a range of keys, hi excluded.
type span struct{ lo, hi []byte }

// NewQueue makes the queue for the grains that a shard, led by this node, has rows for. jitter gives
// numbers in [0, 1).
func NewQueue(s keys.Shard, r store.Reader, l Limits, jitter func() float64) *Queue {
	first := keys.OutboxKind(s, byte(nodev1.Kind_KIND_WEBHOOK))
	last := keys.OutboxKind(s, byte(nodev1.Kind_KIND_PUSH))
	all := keys.OutboxRows(s)
	q := newQueue(s, r, l, jitter)
	q.spans, q.entity = []span{{all, first}, {keys.End(last), keys.End(all)}}, Entity(s)
	return q
}

// NewSinkQueue makes the queue for one kind of sink.
func NewSinkQueue(s keys.Shard, kind nodev1.Kind, r store.Reader, l Limits, jitter func() float64) *Queue {
	rows := keys.OutboxKind(s, byte(kind))
	q := newQueue(s, r, l, jitter)
	q.spans, q.kind = []span{{rows, keys.End(rows)}}, kind
	q.entity = keys.Head(s, keys.UUID{}, keys.UUID{}, keys.EntityKind(kind))
	return q
}

func newQueue(s keys.Shard, r store.Reader, l Limits, jitter func() float64) *Queue {
	return &Queue{
		shard: s, reader: r, limits: l, jitter: jitter,
		lanes: make(map[string]*lane), groups: make(map[string]*group), held: make(map[string]struct{}),
		took: make(map[string]struct{}),
	}
}

// Held is the number of rows in memory that have not been delivered.
func (q *Queue) Held() int { return len(q.held) - len(q.acked) - len(q.deleting) }

// Oldest is when the oldest row was committed that is held or has failed (Unix milliseconds), 0 when
// there is none. What waits on disk behind many others is not looked for.
func (q *Queue) Oldest() (oldest int64) {
	for _, l := range q.lanes {
		at := l.since
		if !l.parked {
			if len(l.rows) == 0 {
				continue
			}
			at = l.rows[0].Row.CreatedMs
		}
		if at > 0 && (oldest == 0 || at < oldest) {
			oldest = at
		}
	}
	return oldest
}

// Step takes one input at time now (Unix milliseconds). The outputs are valid until the next
// Step. An error means that the state could not be read.
func (q *Queue) Step(now int64, in Input) ([]Output, error) {
	clear(q.out)
	q.out = q.out[:0]
	var err error
	switch in := in.(type) {
	case Started:
		q.behind = true
		err = q.readRevision()
	case Posted:
		err = q.onPosted(in.Rows)
	case Overrun:
		q.behind = true
	case Delivered:
		err = q.onDelivered(now, in)
	case Deleted:
		err = q.onDeleted(now, in)
	case Redeliver:
		q.onRedeliver(in)
	case Ticked:
		q.alarm = 0
	}
	if err != nil {
		return nil, err
	}
	if err := q.refill(now); err != nil {
		return nil, err
	}
	q.unblock(now)
	q.yield(now)
	if err := q.deliver(now); err != nil {
		return nil, err
	}
	if err := q.remove(now); err != nil {
		return nil, err
	}
	q.setAlarm(now)
	return q.out, nil
}

// onPosted takes up rows whose commit is news. It may be late: what a look at the disk has found
// first may be delivered by now, and is not on the disk any more.
func (q *Queue) onPosted(rows []grain.Row) error {
	for _, r := range rows {
		if q.behind {
			return nil // a later look at the disk finds it, in its place
		}
		if len(q.held) >= q.limits.RowsMax {
			q.behind = true
			return nil
		}
		_, waits, err := q.reader.Get(r.Key)
		if err != nil {
			return fmt.Errorf("read an outbox row of shard %d: %w", q.shard, err)
		}
		if waits {
			q.hold(r)
		}
	}
	return nil
}

func (q *Queue) onDelivered(now int64, d Delivered) error {
	l := q.lanes[string(grain.Lane(d.Row.Key))]
	if l == nil || !l.flying {
		return fmt.Errorf("a delivery ended that never began: shard %d, source %s", q.shard, d.Row.Row.SourceId)
	}
	q.land(l)
	q.takeTurn(l.group)
	done := removal{key: d.Row.Key}
	if d.Err != nil {
		f := failureOf(d.Err)
		if !f.Untried {
			l.attempts++
		}
		if !f.Final && !q.expired(now, d.Row) {
			return q.block(l, now+q.pause(l.attempts, f))
		}
		done.letter = &nodev1.DeadLetter{
			Row: d.Row.Row, Key: d.Row.Key, DiedMs: now, Attempts: uint32(l.attempts), Reason: reason(f),
		}
	}
	if d.Err == nil {
		l.standing = proven
	}
	l.attempts = 0
	l.rows = l.rows[1:]
	l.group.rows--
	q.acked = append(q.acked, done)
	return q.advance(l)
}

// reasonMax is the most of a failure that a dead letter keeps, in bytes: a target may answer anything.
const reasonMax = 1 << 10

func reason(f *Failure) string {
	s := f.Error()
	if len(s) <= reasonMax {
		return s
	}
	return strings.ToValidUTF8(s[:reasonMax], "") + "…"
}

// expired says whether a row that has failed is too old to be tried again.
func (q *Queue) expired(now int64, r grain.Row) bool {
	age := q.limits.AgeMax.Milliseconds()
	return age > 0 && now-r.Row.CreatedMs >= age
}

// pause is how long a lane waits after a failure: the back-off, or longer if the target asked for
// it, but never longer than the longest back-off. What was not tried waits as long as was said.
func (q *Queue) pause(attempts int, f *Failure) int64 {
	after := min(f.After, q.limits.BackoffMax).Milliseconds()
	if f.Untried {
		return max(1, after)
	}
	return max(q.backoff(attempts), after)
}

// backoff doubles from the least to the most, and takes a random part of the upper half: targets
// that failed together do not come back together.
func (q *Queue) backoff(attempts int) int64 {
	ms := q.limits.BackoffMin.Milliseconds() << min(attempts-1, 20)
	ms = min(ms, q.limits.BackoffMax.Milliseconds())
	return max(1, ms/2+int64(q.jitter()*float64(ms/2)))
}

// setAlarm asks for a tick at the next time that something may be tried again.
func (q *Queue) setAlarm(now int64) {
	at := int64(0)
	if len(q.blocked) > 0 {
		at = q.blocked[0].retryAt
	}
	if len(q.acked)+len(q.asked) > 0 && q.idle() && q.retryAt > now && (at == 0 || q.retryAt < at) {
		at = q.retryAt
	}
	if q.behind && len(q.held) < q.limits.RowsMax && q.lookAt > now && (at == 0 || q.lookAt < at) {
		at = q.lookAt
	}
	if len(q.flights) > 0 && (at == 0 || q.flights[0].due < at) {
		at = q.flights[0].due
	}
	if at != 0 && at != q.alarm {
		q.alarm = at
		q.out = append(q.out, Alarm{At: at})
	}
}
