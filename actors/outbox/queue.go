package outbox

import (
	"container/heap"
	"encoding/binary"
	"fmt"

	"parley/actors/grain"
	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/persistence/store"
	nodev1 "parley/proto/node/v1"
)

// Input is one thing that happens to a Queue: Started, Posted, Overrun, Delivered, Deleted or Ticked.
type Input interface{ input() }

// Started begins the epoch: what the disk holds is looked up.
type Started struct{}

// Posted brings rows with their commit, in key order per lane.
type Posted struct{ Rows []grain.Row }

// Overrun says that rows were posted which did not get here: they are on disk.
type Overrun struct{}

// Delivered is the outcome of a Deliver: nil when the target has acked or has refused for good.
type Delivered struct {
	Row grain.Row
	Err error
}

// Deleted is the outcome of the Propose in flight.
type Deleted struct{ Err error }

// Ticked says that the time asked for by the last Alarm has come.
type Ticked struct{}

func (Started) input()   {}
func (Posted) input()    {}
func (Overrun) input()   {}
func (Delivered) input() {}
func (Deleted) input()   {}
func (Ticked) input()    {}

// Output is one thing that a Queue asks for: Deliver, Propose or Alarm.
type Output interface{ output() }

// Deliver asks for a row's command to be brought to its target.
type Deliver struct{ Row grain.Row }

// Propose asks for the write that deletes delivered rows. Never more than one in flight.
type Propose struct{ Write shard.Write }

// Alarm asks for a Ticked at a time (Unix milliseconds). A later Alarm replaces an earlier one.
type Alarm struct{ At int64 }

func (Deliver) output() {}
func (Propose) output() {}
func (Alarm) output()   {}

// Queue is the outbox of one shard in one epoch, as a step function. Rows wait in lanes, one per
// (source, target), of which the first row alone is on its way.
type Queue struct {
	// Fixed.
	shard  keys.Shard
	reader store.Reader
	limits Limits
	jitter func() float64 // 0 <= j < 1

	lanes   map[string]*lane
	ready   []*lane             // may deliver now
	blocked laneHeap            // wait for their retryAt
	held    map[string]struct{} // keys in lanes, delivered or being deleted
	flying  int
	// behind: the disk has rows of lanes that are not held. Posted rows are then left there.
	behind bool

	acked    [][]byte // delivered, not yet being deleted
	deleting [][]byte // in the Propose in flight
	revision uint64   // of the outbox entity
	retryAt  int64    // no deletion before, after one failed
	failures int

	alarm int64 // as last asked for, 0 = none
	out   []Output
}

// lane is what one source has for one target.
type lane struct {
	name     string
	rows     []grain.Row
	more     bool // later rows of this lane are on disk only
	flying   bool
	attempts int
	retryAt  int64
}

// NewQueue makes the queue of a shard that this node leads. jitter gives numbers in [0, 1).
func NewQueue(s keys.Shard, r store.Reader, l Limits, jitter func() float64) *Queue {
	return &Queue{
		shard: s, reader: r, limits: l, jitter: jitter,
		lanes: make(map[string]*lane), held: make(map[string]struct{}),
	}
}

// Held is the number of rows in memory that have not been delivered.
func (q *Queue) Held() int { return len(q.held) - len(q.acked) - len(q.deleting) }

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
		q.onPosted(in.Rows)
	case Overrun:
		q.behind = true
	case Delivered:
		err = q.onDelivered(now, in)
	case Deleted:
		err = q.onDeleted(now, in)
	case Ticked:
		q.alarm = 0
	}
	if err != nil {
		return nil, err
	}
	if err := q.refill(); err != nil {
		return nil, err
	}
	q.unblock(now)
	q.deliver()
	q.remove(now)
	q.setAlarm(now)
	return q.out, nil
}

func (q *Queue) onPosted(rows []grain.Row) {
	for _, r := range rows {
		if q.behind {
			return // a later look at the disk finds it, in its place
		}
		if len(q.held) >= q.limits.RowsMax {
			q.behind = true
			return
		}
		q.hold(r)
	}
}

// hold appends a row to its lane, unless it is held already or its lane is full.
func (q *Queue) hold(r grain.Row) {
	if _, known := q.held[string(r.Key)]; known {
		return
	}
	name := grain.Lane(r.Key)
	l := q.lanes[string(name)]
	if l == nil {
		l = &lane{name: string(name)}
		q.lanes[l.name] = l
	}
	if l.more || len(l.rows) >= q.limits.LaneMax {
		l.more = true
		return
	}
	q.held[string(r.Key)] = struct{}{}
	l.rows = append(l.rows, r)
	if len(l.rows) == 1 && !l.flying {
		q.ready = append(q.ready, l)
	}
}

// deliver sends the first row of each ready lane, as far as deliveries are free.
func (q *Queue) deliver() {
	for q.flying < q.limits.FlightMax && len(q.ready) > 0 {
		l := q.ready[0]
		q.ready = q.ready[1:]
		l.flying = true
		q.flying++
		q.out = append(q.out, Deliver{Row: l.rows[0]})
	}
}

func (q *Queue) onDelivered(now int64, d Delivered) error {
	l := q.lanes[string(grain.Lane(d.Row.Key))]
	if l == nil || !l.flying {
		return fmt.Errorf("a delivery ended that never began: shard %d, source %s", q.shard, d.Row.Row.SourceId)
	}
	l.flying = false
	q.flying--
	if d.Err != nil {
		l.attempts++
		l.retryAt = now + q.backoff(l.attempts)
		heap.Push(&q.blocked, l)
		return nil
	}
	l.attempts = 0
	l.rows = l.rows[1:]
	q.acked = append(q.acked, d.Row.Key)
	return q.advance(l)
}

// advance readies a lane's next row, looks on disk for more, or lets the lane go.
func (q *Queue) advance(l *lane) error {
	if len(l.rows) == 0 && l.more {
		l.more = false
		if err := q.refillLane(l); err != nil {
			return err
		}
	}
	if len(l.rows) == 0 {
		delete(q.lanes, l.name)
		return nil
	}
	q.ready = appendLane(q.ready, l)
	return nil
}

func appendLane(ls []*lane, l *lane) []*lane {
	if len(ls) > 0 && ls[len(ls)-1] == l {
		return ls // refilling has readied it
	}
	return append(ls, l)
}

// backoff doubles from the least to the most, and takes a random part of the upper half: targets
// that failed together do not come back together.
func (q *Queue) backoff(attempts int) int64 {
	ms := q.limits.BackoffMin.Milliseconds() << min(attempts-1, 20)
	ms = min(ms, q.limits.BackoffMax.Milliseconds())
	return max(1, ms/2+int64(q.jitter()*float64(ms/2)))
}

func (q *Queue) unblock(now int64) {
	for len(q.blocked) > 0 && q.blocked[0].retryAt <= now {
		q.ready = append(q.ready, heap.Pop(&q.blocked).(*lane))
	}
}

// setAlarm asks for a tick at the next time that something may be tried again.
func (q *Queue) setAlarm(now int64) {
	at := int64(0)
	if len(q.blocked) > 0 {
		at = q.blocked[0].retryAt
	}
	if len(q.acked) > 0 && q.deleting == nil && q.retryAt > now && (at == 0 || q.retryAt < at) {
		at = q.retryAt
	}
	if at != 0 && at != q.alarm {
		q.alarm = at
		q.out = append(q.out, Alarm{At: at})
	}
}

// Entity is the head key of a shard's outbox: deletions are its writes, so they pass the same
// fence as all others and need no grain.
func Entity(s keys.Shard) []byte {
	return keys.Head(s, keys.UUID{}, keys.UUID{}, keys.EntityKind(nodev1.Kind_KIND_SHARD))
}

func (q *Queue) readRevision() error {
	row, ok, err := q.reader.Get(Entity(q.shard))
	if err != nil {
		return fmt.Errorf("read the outbox head of shard %d: %w", q.shard, err)
	}
	q.revision = 0
	if ok {
		q.revision = binary.BigEndian.Uint64(row)
	}
	return nil
}

// remove proposes the deletion of what was delivered.
func (q *Queue) remove(now int64) {
	if q.deleting != nil || len(q.acked) == 0 || now < q.retryAt {
		return
	}
	n := min(len(q.acked), q.limits.DeleteMax)
	q.deleting = q.acked[:n:n]
	q.acked = q.acked[n:]
	ops := make([]store.Op, n)
	for i, k := range q.deleting {
		ops[i] = store.Delete(k)
	}
	q.out = append(q.out, Propose{Write: shard.Write{Entity: Entity(q.shard), Base: q.revision, Ops: ops}})
}

func (q *Queue) onDeleted(now int64, d Deleted) error {
	keys := q.deleting
	q.deleting = nil
	if d.Err != nil {
		// Deleting twice is harmless, so even an unknown outcome is tried again: the fence
		// lets it through only while the epoch lasts.
		q.acked = append(keys, q.acked...)
		q.failures++
		q.retryAt = now + q.backoff(q.failures)
		return q.readRevision()
	}
	q.failures, q.retryAt = 0, 0
	q.revision++
	for _, k := range keys {
		delete(q.held, string(k))
	}
	return nil
}

// laneHeap orders blocked lanes by the time of their retry.
type laneHeap []*lane

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].retryAt < h[j].retryAt }
func (h laneHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *laneHeap) Push(x any) { *h = append(*h, x.(*lane)) }

// Pop implements heap.Interface.
func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return l
}
