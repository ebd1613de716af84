package outbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"parley/actors/grain"
	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/persistence/store"
	nodev1 "parley/proto/node/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shelf is applied state in memory.
type shelf map[string][]byte

func (s shelf) Get(key []byte) ([]byte, bool, error) {
	v, ok := s[string(key)]
	return bytes.Clone(v), ok, nil
}

func (s shelf) Scan(lo, hi []byte, reverse bool, visit func(k, v []byte) (bool, error)) error {
	var ks []string
	for k := range s {
		if k >= string(lo) && k < string(hi) {
			ks = append(ks, k)
		}
	}
	sort.Strings(ks)
	if reverse {
		slices.Reverse(ks)
	}
	for _, k := range ks {
		if more, err := visit([]byte(k), s[k]); err != nil || !more {
			return err
		}
	}
	return nil
}

// world plays the shard and the targets round one queue after the other.
type world struct {
	t     rapid.TB
	shelf shelf
	queue *Queue
	now   int64
	alarm int64

	posted    [][]grain.Row // committed, not yet told to the queue
	flying    []grain.Row
	write     *shard.Write
	revisions map[string]uint64 // of each source
	deaf      map[string]bool   // targets that do not answer

	sinks    bool // the targets are sinks of one kind
	answers  []Answer
	received map[string][]uint64 // lane -> numbers in the order of delivery
	written  map[string]uint64   // lane -> rows ever
}

func limits() Limits {
	l := DefaultLimits()
	l.RowsMax, l.GroupRowsMax, l.LaneMax, l.FlightMax, l.GroupFlightMax, l.DeleteMax = 8, 5, 2, 3, 3, 5
	l.ParkedMax = 2
	return l
}

func newWorld(t rapid.TB) *world {
	w := &world{
		t: t, shelf: shelf{}, now: 1000, revisions: map[string]uint64{}, deaf: map[string]bool{},
		received: map[string][]uint64{}, written: map[string]uint64{},
	}
	w.restart()
	return w
}

// restart begins an epoch: what was in memory is gone.
func (w *world) restart() {
	w.queue = NewQueue(1, w.shelf, limits(), func() float64 { return 0 })
	if w.sinks {
		l := limits()
		l.AgeMax, l.LettersMax, l.SlowAfter, l.GroupSlowMax = time.Minute, 4, 50*time.Millisecond, 2
		w.queue = NewSinkQueue(1, nodev1.Kind_KIND_WEBHOOK, w.shelf, l, func() float64 { return 0 })
	}
	w.posted, w.flying, w.write, w.alarm = nil, nil, nil, 0
	w.step(Started{})
}

func (w *world) step(in Input) {
	outs, err := w.queue.Step(w.now, in)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, out := range outs {
		switch out := out.(type) {
		case Deliver:
			w.flying = append(w.flying, out.Row)
		case Propose:
			if w.write != nil {
				w.t.Fatal("two deletions in flight")
			}
			write := out.Write
			w.write = &write
			if size := sizeOf(write); size > shard.WriteBytesMax {
				w.t.Fatalf("a write of %d bytes, which no shard takes", size)
			}
		case Answer:
			w.answers = append(w.answers, out)
		case Alarm:
			w.alarm = out.At
		}
	}
	if q := w.queue; len(w.flying) != q.flying+q.slow || max(q.flying, q.slow) > q.limits.FlightMax {
		w.t.Fatalf("%d deliveries at once: %d, and %d that are slow", len(w.flying), q.flying, q.slow)
	}
}

func sizeOf(w shard.Write) (size int) {
	for _, op := range w.Ops {
		size += len(op.Key) + len(op.Value)
	}
	return size
}

// commit writes rows of one batch of a source for some targets; telling the queue is another step.
func (w *world) commit(source string, targets ...string) {
	w.revisions[source]++
	var rows []grain.Row
	for i, target := range targets {
		lane := source + ">" + target
		w.written[lane]++
		row := &nodev1.OutboxRow{SourceId: source, TargetId: target, Revision: w.revisions[source], CreatedMs: w.now, Command: numbered(w.written[lane])}
		key := w.key(source, target, row.Revision, uint16(i))
		value, err := row.MarshalVT()
		if err != nil {
			w.t.Fatal(err)
		}
		w.shelf[string(key)] = value
		rows = append(rows, grain.Row{Key: key, Target: 3, Row: row})
	}
	w.posted = append(w.posted, rows)
}

// numbered is the command of the nth row of a lane.
func numbered(n uint64) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_DeliverEvent{DeliverEvent: &nodev1.DeliverEvent{Sequence: n}}}
}

// key is that of a row: a grain is found by its shard, which all have in common; each sink is its own.
func (w *world) key(source, target string, revision uint64, i uint16) []byte {
	kind, group := byte(2), keys.Shard(3)
	if w.sinks {
		kind, group = byte(nodev1.Kind_KIND_WEBHOOK), keys.Shard(target[1])
	}
	return keys.Outbox(1, kind, group, []byte(source), []byte(target), revision, i)
}

func (w *world) tell() {
	rows := w.posted[0]
	w.posted = w.posted[1:]
	w.step(Posted{Rows: rows})
}

// deliver ends the ith delivery. It reaches its target even when the ack is lost.
func (w *world) deliver(i int, lost bool) {
	r := w.flying[i]
	w.flying = append(w.flying[:i:i], w.flying[i+1:]...)
	lane := r.Row.SourceId + ">" + r.Row.TargetId
	if w.deaf[r.Row.TargetId] {
		w.step(Delivered{Row: r, Err: errors.New("no answer")})
		return
	}
	w.received[lane] = append(w.received[lane], r.Row.Command.GetDeliverEvent().Sequence)
	if lost {
		w.step(Delivered{Row: r, Err: errors.New("ack lost")})
		return
	}
	w.step(Delivered{Row: r})
}

func (w *world) deleted(err error, applied bool) {
	write := w.write
	w.write = nil
	if applied {
		revision := uint64(0)
		if row, ok := w.shelf[string(write.Entity)]; ok {
			revision = binary.BigEndian.Uint64(row)
		}
		if revision != write.Base {
			w.t.Fatalf("base %d on revision %d", write.Base, revision)
		}
		w.shelf[string(write.Entity)] = binary.BigEndian.AppendUint64(nil, revision+1)
		for _, op := range write.Ops {
			switch {
			case op.Kind == store.OpDelete:
				delete(w.shelf, string(op.Key))
			case w.sinks && op.Kind == store.OpPut:
				w.shelf[string(op.Key)] = op.Value
			default:
				w.t.Fatal("an outbox for grains only deletes")
			}
		}
	}
	w.step(Deleted{Err: err})
}

// settle lets everything come to rest: all targets answer, all acks arrive, time passes.
func (w *world) settle() {
	clear(w.deaf)
	for range 10_000 {
		switch {
		case len(w.posted) > 0:
			w.tell()
		case len(w.flying) > 0:
			w.deliver(0, false)
		case w.write != nil:
			w.deleted(nil, true)
		case w.alarm != 0:
			w.now, w.alarm = max(w.now, w.alarm), 0
			w.step(Ticked{})
		default:
			return
		}
	}
	w.t.Fatal("the queue does not come to rest")
}

func (w *world) depth() int {
	lo := keys.OutboxRows(1)
	n := 0
	_ = w.shelf.Scan(lo, keys.End(lo), false, func(_, _ []byte) (bool, error) { n++; return true, nil })
	return n
}

// check: every row arrived at least once, and the first arrivals of a lane are in its order.
func (w *world) check() {
	if n := w.depth(); n != 0 {
		w.t.Fatalf("%d rows are left", n)
	}
	for lane, n := range w.written {
		next := uint64(1)
		for _, got := range w.received[lane] {
			if got > next {
				w.t.Fatalf("%s: %d came before %d: %v", lane, got, next, w.received[lane])
			}
			if got == next {
				next++
			}
		}
		if next != n+1 {
			w.t.Fatalf("%s: %d of %d arrived: %v", lane, next-1, n, w.received[lane])
		}
	}
	if w.queue.Held() != 0 || len(w.queue.lanes) != 0 || len(w.queue.held) != 0 || len(w.queue.groups) != 0 {
		w.t.Fatalf("an empty outbox holds %d rows, %d lanes", w.queue.Held(), len(w.queue.lanes))
	}
}

// TestEveryRowArrivesInOrder drives queues through every order of commits, deliveries, lost acks,
// failed deletions, deaf targets and crashes that the generator finds.
func TestEveryRowArrivesInOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(rt)
		name := func(rt *rapid.T, prefix string, n int) string {
			return fmt.Sprint(prefix, rapid.IntRange(1, n).Draw(rt, prefix))
		}
		rt.Repeat(map[string]func(*rapid.T){
			"commit": func(rt *rapid.T) {
				targets := rapid.SliceOfN(rapid.SampledFrom([]string{"t1", "t1", "t2", "t3"}), 1, 4).Draw(rt, "targets")
				w.commit(name(rt, "s", 2), targets...)
			},
			"tell": func(rt *rapid.T) {
				if len(w.posted) == 0 {
					rt.Skip()
				}
				w.tell()
			},
			"overrun": func(rt *rapid.T) {
				if len(w.posted) == 0 {
					rt.Skip()
				}
				w.posted = w.posted[1:]
				w.step(Overrun{})
			},
			"deliver": func(rt *rapid.T) {
				if len(w.flying) == 0 {
					rt.Skip()
				}
				w.deliver(rapid.IntRange(0, len(w.flying)-1).Draw(rt, "which"), rapid.IntRange(0, 4).Draw(rt, "lost") == 0)
			},
			"delete": func(rt *rapid.T) {
				if w.write == nil {
					rt.Skip()
				}
				err := rapid.SampledFrom([]error{nil, nil, shard.ErrOverloaded, shard.ErrUnknown}).Draw(rt, "error")
				w.deleted(err, err == nil || err == shard.ErrUnknown && rapid.Bool().Draw(rt, "applied"))
			},
			"deaf": func(rt *rapid.T) { w.deaf[name(rt, "t", 3)] = rapid.Bool().Draw(rt, "deaf") },
			"tick": func(rt *rapid.T) {
				if w.alarm == 0 {
					rt.Skip()
				}
				w.now, w.alarm = max(w.now, w.alarm), 0
				w.step(Ticked{})
			},
			"crash": func(rt *rapid.T) { w.restart() },
		})
		w.settle()
		w.check()
	})
}

// TestBlockedTargetBlocksOnlyItself: one target that never answers, with more rows than may be
// held, holds nobody else back, and gets everything in order when it answers again.
func TestBlockedTargetBlocksOnlyItself(t *testing.T) {
	w := newWorld(t)
	w.deaf["t1"] = true
	for i := range 40 {
		w.commit("s1", "t1")
		w.commit("s1", fmt.Sprint("t", 2+i%3))
	}
	for range 500 {
		switch {
		case len(w.posted) > 0:
			w.tell()
		case len(w.flying) > 0:
			w.deliver(0, false)
		case w.write != nil:
			w.deleted(nil, true)
		}
	}
	for _, lane := range []string{"s1>t2", "s1>t3", "s1>t4"} {
		if got := uint64(len(w.received[lane])); got != w.written[lane] {
			t.Fatalf("%s: %d of %d arrived beside a blocked target", lane, got, w.written[lane])
		}
	}
	if n := w.depth(); n != 40 {
		t.Fatalf("%d rows are left, want the 40 of the blocked target", n)
	}
	w.settle()
	w.check()
}

// TestBackoffGrows: a target that does not answer is asked ever less often, up to the bound.
func TestBackoffGrows(t *testing.T) {
	w := newWorld(t)
	w.deaf["t1"] = true
	w.commit("s1", "t1")
	w.tell()
	var pauses []int64
	for range 12 {
		w.deliver(0, false)
		pauses = append(pauses, w.alarm-w.now)
		w.now, w.alarm = w.alarm, 0
		w.step(Ticked{})
	}
	for i := 1; i < len(pauses); i++ {
		if pauses[i] < pauses[i-1] || pauses[i] > w.queue.limits.BackoffMax.Milliseconds() {
			t.Fatalf("pauses %v", pauses)
		}
	}
	if pauses[0] > 50 || pauses[11] < 15_000 {
		t.Fatalf("pauses %v", pauses)
	}
}

// TestCrashBetweenDeliveryAndDeletion: a row whose deletion did not happen is delivered again.
func TestCrashBetweenDeliveryAndDeletion(t *testing.T) {
	w := newWorld(t)
	w.commit("s1", "t1")
	w.tell()
	w.deliver(0, false)
	if w.write == nil {
		t.Fatal("no deletion was proposed")
	}
	w.restart()
	w.settle()
	w.check()
	if n := len(w.received["s1>t1"]); n != 2 {
		t.Fatalf("delivered %d times, want twice", n)
	}
}
