package outbox

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"parley/actors/grain"
	"parley/cluster/shard"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

// tenant is the application of every row here.
const tenant = "0de7a7b5-0000-4000-8000-000000000001"

var tenantID = keys.UUID{0x0d, 0xe7, 0xa7, 0xb5, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 1}

func newSinkWorld(t rapid.TB) *world {
	w := newWorld(t)
	w.sinks = true
	w.restart()
	return w
}

// commitFor is commit with rows of the tenant.
func (w *world) commitFor(source string, targets ...string) {
	w.commit(source, targets...)
	for _, r := range w.posted[len(w.posted)-1] {
		r.Row.ApplicationId = tenant
		value, err := r.Row.MarshalVT()
		if err != nil {
			w.t.Fatal(err)
		}
		w.shelf[string(r.Key)] = value
	}
}

// fail ends the ith delivery with an error.
func (w *world) fail(i int, err error) {
	r := w.flying[i]
	w.flying = append(w.flying[:i:i], w.flying[i+1:]...)
	w.step(Delivered{Row: r, Err: err})
}

// letters are the dead letters on the shelf, oldest first.
func (w *world) letters() []*nodev1.DeadLetter {
	prefix := keys.DeadLetters(1, tenantID, byte(nodev1.Kind_KIND_WEBHOOK))
	var letters []*nodev1.DeadLetter
	err := w.shelf.Scan(prefix, keys.End(prefix), false, func(_, v []byte) (bool, error) {
		l := &nodev1.DeadLetter{}
		letters = append(letters, l)
		return true, l.UnmarshalVT(v)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return letters
}

// write lets the write in flight succeed.
func (w *world) commitWrite() {
	w.t.Helper()
	if w.write == nil {
		w.t.Fatal("nothing was proposed")
	}
	w.deleted(nil, true)
}

// later lets time pass until the alarm.
func (w *world) later() {
	w.t.Helper()
	if w.alarm == 0 {
		w.t.Fatal("no alarm was asked for")
	}
	w.now, w.alarm = max(w.now, w.alarm), 0
	w.step(Ticked{})
}

// TestOldRowBecomesADeadLetter: a row is tried until it is too old, then put aside with the reason,
// and the next row of its lane goes on.
func TestOldRowBecomesADeadLetter(t *testing.T) {
	w := newSinkWorld(t)
	w.commitFor("s1", "t1")
	w.tell()
	attempts := uint32(0)
	for w.now < time.Minute.Milliseconds()*2 && w.write == nil {
		if len(w.flying) == 0 {
			w.later()
			continue
		}
		attempts++
		w.fail(0, errors.New("status 500"))
	}
	w.commitFor("s1", "t1")
	w.tell()
	w.commitWrite()
	letters := w.letters()
	if len(letters) != 1 || letters[0].Attempts != attempts || letters[0].Reason != "status 500" || letters[0].DiedMs != w.now {
		t.Fatalf("after %d attempts the letters are %v", attempts, letters)
	}
	if attempts < 5 {
		t.Fatalf("it was given up after %d attempts", attempts)
	}
	w.settle()
	if got := w.received["s1>t1"]; fmt.Sprint(got) != "[2]" {
		t.Fatalf("received %v, want the second row alone", got)
	}
}

// TestFinalFailureIsNotRetried: what no attempt can help is a dead letter at once.
func TestFinalFailureIsNotRetried(t *testing.T) {
	w := newSinkWorld(t)
	w.commitFor("s1", "t1")
	w.tell()
	w.fail(0, &Failure{Err: errors.New("status 410"), Final: true})
	w.commitWrite()
	if l := w.letters(); len(l) != 1 || l[0].Attempts != 1 {
		t.Fatalf("letters %v", l)
	}
}

// TestTargetAsksForTime: a target's wish is heeded up to the longest back-off, and what was not
// tried does not make the back-off grow.
func TestTargetAsksForTime(t *testing.T) {
	w := newSinkWorld(t)
	w.commitFor("s1", "t1")
	w.tell()
	for _, step := range []struct {
		failure *Failure
		pause   time.Duration
	}{
		{&Failure{Err: errors.New("busy"), After: 20 * time.Second}, 20 * time.Second},
		{&Failure{Err: errors.New("busy"), After: time.Hour}, limits().BackoffMax},
		{&Failure{Err: errors.New("left alone"), After: 3 * time.Second, Untried: true}, 3 * time.Second},
		{&Failure{Err: errors.New("busy")}, 4 * limits().BackoffMin / 2}, // the third attempt
	} {
		w.fail(0, step.failure)
		if got := time.Duration(w.alarm-w.now) * time.Millisecond; got != step.pause {
			t.Fatalf("after %v with %v: %s, want %s", step.failure, step.failure.After, got, step.pause)
		}
		w.later()
	}
}

// TestDeadTargetLeavesRoom: a target that never answers holds its share of rows and deliveries, and
// no more: everything else goes through without waiting for it.
func TestDeadTargetLeavesRoom(t *testing.T) {
	w := newSinkWorld(t)
	w.queue.limits.GroupRowsMax, w.queue.limits.GroupFlightMax = 4, 1
	for i := range 50 {
		w.commitFor(fmt.Sprint("s", i), "t1")
	}
	for len(w.posted) > 0 {
		w.tell()
	}
	if len(w.flying) != 1 {
		t.Fatalf("%d deliveries to one target", len(w.flying))
	}
	for i := range 20 {
		w.commitFor(fmt.Sprint("s", i), "t2")
		w.tell()
		if len(w.flying) != 2 {
			t.Fatalf("row %d waits behind another target: %d deliveries", i, len(w.flying))
		}
		w.deliver(1, false)
		w.commitWrite()
	}
	if n := w.queue.Held(); n > 4 {
		t.Fatalf("%d rows are held for a target that does not answer", n)
	}
	w.settle()
	w.check()
}

// TestDeadDestinationsDelayNoOther: the conversations of one application have callbacks of their own.
// However many of them do not answer, they take neither the rows nor the deliveries of the others.
func TestDeadDestinationsDelayNoOther(t *testing.T) {
	w := newSinkWorld(t)
	l := &w.queue.limits
	l.RowsMax, l.GroupRowsMax, l.GroupFlightMax, l.FlightMax, l.ParkedMax = 100, 10, 4, 8, 1000
	dead := errors.New("no answer")
	const many = 40
	for i := range many {
		w.commitFor(fmt.Sprint("dead", i), "t1")
		w.tell()
	}
	for tried := 0; tried < many; tried++ {
		if len(w.flying) == 0 {
			t.Fatalf("after %d attempts the next destination is not asked", tried)
		}
		w.fail(0, dead)
	}
	if w.queue.Held() != 0 {
		t.Errorf("%d rows are held for destinations that are left alone", w.queue.Held())
	}
	for w.later(); len(w.flying) < 2; w.later() { // these never end
	}
	for i := range 20 {
		w.commitFor("live", "t1")
		w.tell()
		at := slices.IndexFunc(w.flying, func(r grain.Row) bool { return r.Row.SourceId == "live" })
		if at < 0 {
			t.Fatalf("row %d waits behind %d deliveries to the dead", i, len(w.flying))
		}
		w.deliver(at, false)
		w.commitWrite()
		for w.alarm != 0 && w.alarm < w.now+100 {
			w.later()
		}
		w.now += 100
	}
	w.settle()
	w.check()
}

// TestLettersAreBounded: the oldest letters of an application make room for the newest.
func TestLettersAreBounded(t *testing.T) {
	w := newSinkWorld(t)
	dropped := 0
	for i := range 10 {
		w.commitFor(fmt.Sprint("s", i), "t1")
		w.tell()
		w.now++
		w.fail(0, &Failure{Err: fmt.Errorf("number %d", i), Final: true})
		w.commitWrite()
	}
	letters := w.letters()
	if len(letters) != 4 || letters[0].Reason != "number 6" || letters[3].Reason != "number 9" {
		t.Fatalf("letters %v", letters)
	}
	for i := range 6 { // six more in one write, of which four have a place
		w.commitFor(fmt.Sprint("s", i), fmt.Sprint("t", i%3))
	}
	for len(w.posted) > 0 {
		w.tell()
	}
	for len(w.flying) > 0 {
		w.fail(0, &Failure{Err: errors.New("new"), Final: true})
	}
	for w.write != nil {
		w.commitWrite()
	}
	for _, l := range w.letters() {
		if l.Reason != "new" {
			dropped++
		}
	}
	if len(w.letters()) != 4 || dropped != 0 {
		t.Fatalf("letters %v", w.letters())
	}
}

// TestRedeliver: letters come back as rows that are as old as now, one by its position or all; or
// they are dropped.
func TestRedeliver(t *testing.T) {
	w := newSinkWorld(t)
	for i := range 3 {
		w.commitFor(fmt.Sprint("s", i), "t1")
		w.tell()
		w.now++
		w.fail(0, &Failure{Err: errors.New("status 410"), Final: true})
		w.commitWrite()
	}
	oldest := w.position(w.letters()[0])
	w.now += limits().BackoffMax.Milliseconds() * 10
	w.step(Redeliver{Application: tenantID, Position: oldest})
	w.commitWrite()
	if got := w.flying[0].Row.CreatedMs; got != w.now {
		t.Fatalf("the row is %d ms old, and would die at its first failure", w.now-got)
	}
	w.deliver(0, false)
	w.commitWrite()
	if got := w.received["s0>t1"]; len(got) != 1 || len(w.letters()) != 2 || w.answers[0].Moved != 1 {
		t.Fatalf("received %v, letters %v, answers %v", w.received, w.letters(), w.answers)
	}
	w.step(Redeliver{Application: tenantID})
	w.deleted(shard.ErrOverloaded, false)
	if len(w.letters()) != 2 || w.answers[1].Err == nil {
		t.Fatalf("letters %v, answers %v", w.letters(), w.answers)
	}
	w.step(Redeliver{Application: tenantID})
	w.commitWrite()
	w.settle()
	if w.answers[2].Moved != 2 || len(w.letters()) != 0 {
		t.Fatalf("letters %v, answers %v", w.letters(), w.answers)
	}
	w.check()
	w.step(Redeliver{Application: tenantID, Discard: true})
	if w.answers[3].Moved != 0 || w.write != nil {
		t.Fatalf("nothing is left to drop: %v", w.answers)
	}
}

func (w *world) position(l *nodev1.DeadLetter) []byte {
	prefix := keys.DeadLetters(1, tenantID, byte(nodev1.Kind_KIND_WEBHOOK))
	for k := range w.shelf {
		if len(k) > len(prefix) && k[:len(prefix)] == string(prefix) {
			one := &nodev1.DeadLetter{}
			if err := one.UnmarshalVT(w.shelf[k]); err == nil && string(one.Key) == string(l.Key) {
				return []byte(k[len(prefix):])
			}
		}
	}
	w.t.Fatal("no such letter")
	return nil
}

// TestSinkRowsArriveOrDie: through every order of commits, failures, lost acks, crashes and
// redeliveries each row is received at least once or is a dead letter, and the first arrivals of a
// lane are in its order but for what was put aside.
func TestSinkRowsArriveOrDie(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newSinkWorld(rt)
		pick := func(rt *rapid.T, prefix string, n int) string {
			return fmt.Sprint(prefix, rapid.IntRange(1, n).Draw(rt, prefix))
		}
		died := map[string]bool{}
		some := func(rt *rapid.T) int {
			if len(w.flying) == 0 {
				rt.Skip()
			}
			return rapid.IntRange(0, len(w.flying)-1).Draw(rt, "which")
		}
		w.queue.limits.LettersMax = 1 << 20
		rt.Repeat(map[string]func(*rapid.T){
			"commit": func(rt *rapid.T) {
				w.commitFor(pick(rt, "s", 3), pick(rt, "t", 3))
				if rapid.Bool().Draw(rt, "told") {
					w.tell()
				}
			},
			"overrun": func(rt *rapid.T) { w.posted = nil; w.step(Overrun{}) },
			"deliver": func(rt *rapid.T) { w.deliver(some(rt), rapid.IntRange(0, 4).Draw(rt, "lost") == 0) },
			"die": func(rt *rapid.T) {
				i := some(rt)
				died[number(w.flying[i])] = true
				w.fail(i, &Failure{Err: errors.New("gone"), Final: true})
			},
			"untried": func(rt *rapid.T) {
				w.fail(some(rt), &Failure{Err: errors.New("left alone"), After: time.Second, Untried: true})
			},
			"write": func(rt *rapid.T) {
				if w.write == nil {
					rt.Skip()
				}
				err := rapid.SampledFrom([]error{nil, nil, shard.ErrOverloaded, shard.ErrUnknown}).Draw(rt, "error")
				w.deleted(err, err == nil || err == shard.ErrUnknown && rapid.Bool().Draw(rt, "applied"))
			},
			"redeliver": func(rt *rapid.T) { w.step(Redeliver{Application: tenantID}) },
			"tick": func(rt *rapid.T) {
				if w.alarm == 0 {
					rt.Skip()
				}
				w.later()
			},
			"crash": func(rt *rapid.T) { w.restart(); w.queue.limits.LettersMax = 1 << 20 },
		})
		w.settle()
		w.checkSinks(died)
	})
}

func number(r grain.Row) string {
	return fmt.Sprint(r.Row.SourceId, ">", r.Row.TargetId, " ", r.Row.Command.GetDeliverEvent().Sequence)
}

func (w *world) checkSinks(died map[string]bool) {
	for _, l := range w.letters() {
		died[number(grain.Row{Row: l.Row})] = true
	}
	if n := w.depth(); n != 0 || w.queue.Held() != 0 || len(w.queue.groups) != 0 {
		w.t.Fatalf("%d rows are left, %d held, %d groups", n, w.queue.Held(), len(w.queue.groups))
	}
	for lane, n := range w.written {
		got := map[uint64]bool{}
		highest := uint64(0)
		for _, sequence := range w.received[lane] {
			if sequence < highest && !got[sequence] && !died[fmt.Sprint(lane, " ", sequence)] {
				w.t.Fatalf("%s: %d came after %d: %v", lane, sequence, highest, w.received[lane])
			}
			got[sequence], highest = true, max(highest, sequence)
		}
		for sequence := uint64(1); sequence <= n; sequence++ {
			if !got[sequence] && !died[fmt.Sprint(lane, " ", sequence)] {
				w.t.Fatalf("%s: %d neither arrived nor died: %v", lane, sequence, w.received[lane])
			}
		}
	}
}

// TestFullQueueStillLooksAtTheDisk: a queue that stays more than half full of rows whose targets do not
// answer takes up what came for others while it was full.
func TestFullQueueStillLooksAtTheDisk(t *testing.T) {
	w := newSinkWorld(t)
	w.queue.limits.LaneMax, w.queue.limits.GroupRowsMax, w.queue.limits.ParkedMax = 1, w.queue.limits.RowsMax, 0
	for i := range w.queue.limits.RowsMax { // a lane each, so that nothing can be squeezed
		w.commitFor(fmt.Sprint("s", i), "t1")
		w.tell()
		for len(w.flying) > 0 {
			w.fail(0, &Failure{Err: errors.New("busy"), After: limits().BackoffMax})
		}
	}
	w.commitFor("late", "t2")
	w.tell() // there is no room
	w.later()
	w.deliver(0, false)
	w.commitWrite() // now there is some
	for range 2 * w.queue.limits.RowsMax {
		for i := len(w.flying) - 1; i >= 0; i-- {
			if w.flying[i].Row.SourceId == "late" {
				return
			}
			w.fail(i, &Failure{Err: errors.New("busy"), After: limits().BackoffMax})
		}
		w.later()
	}
	t.Fatal("a row that came while the queue was full is not looked for")
}

// TestOldest: the age of what is owed is that of the oldest row, also while its target is left alone and the row is
// not in memory.
func TestOldest(t *testing.T) {
	w := newSinkWorld(t)
	if got := w.queue.Oldest(); got != 0 {
		t.Fatalf("an empty queue owes something since %d", got)
	}
	w.commitFor("s1", "t1")
	w.tell()
	first := w.now
	w.now += 500
	w.commitFor("s2", "t1")
	w.tell()
	w.fail(0, errors.New("no answer"))
	if got := w.queue.Oldest(); got != first || w.queue.Held() != 1 {
		t.Fatalf("owed since %d with %d rows held, want %d", got, w.queue.Held(), first)
	}
	w.deliver(0, false)
	w.settle()
	if got := w.queue.Oldest(); got != 0 {
		t.Fatalf("owed since %d when all is delivered", got)
	}
}
