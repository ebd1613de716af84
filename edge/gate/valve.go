package gate

import (
	"container/list"
	"time"
)

// valve is the Gate without lock, clock and measurement: who may come in.
//
// A turn waits, then it is inside, then it is out: because its work is done, or because that takes so
// long that it must be waiting for somebody else, such as a shard that has no leader at the moment. What
// waits elsewhere needs no processor here, and must not keep others out.
type valve struct {
	options Options
	inside  list.List        // of *turn, in the order in which they came in
	limit   float64          // how many that may be; at least InsideMin, at most InsideMax
	waiting [ranks]list.List // of *turn, in the order of their coming
	count   int              // of all that wait

	pressed bool    // since the last look somebody had to wait for the limit
	left    int     // since the last look
	rate    float64 // of those that leave while others wait, a second; smoothed, at first the most there could be
}

// turn is somebody who wants to come in.
type turn struct {
	rank  Rank
	comes chan struct{} // closed when it may
	began time.Time     // of its work
	place *list.Element // where it waits, or is inside; nil = out
}

// beginning is how many times the least come in before the first look: enough for every day, and little
// beside a crowd.
const beginning = 4

func newValve(o Options) *valve {
	return &valve{
		options: o, limit: float64(min(beginning*o.InsideMin, o.InsideMax)), rate: float64(o.InsideMax) / o.LookEvery.Seconds(),
	}
}

// enter lets t in, or has it wait, or gives after what time it should come back.
func (v *valve) enter(t *turn, now time.Time) (after time.Duration) {
	if v.count == 0 && v.room() {
		v.begin(t, now)
		return 0
	}
	v.pressed = true
	if wait := v.wait(t.rank); v.count >= v.options.WaitingMax || wait > v.options.WaitMax {
		return max(wait, minAfter)
	}
	t.place = v.waiting[t.rank].PushBack(t)
	v.count++
	return 0
}

// minAfter is how long somebody stays away at least.
const minAfter = time.Second

// room says whether one more may come in.
func (v *valve) room() bool { return v.inside.Len() < int(v.limit) }

func (v *valve) begin(t *turn, now time.Time) {
	t.began, t.place = now, v.inside.PushBack(t)
	close(t.comes)
}

// wait is how long somebody of a rank would wait who comes now.
func (v *valve) wait(r Rank) time.Duration {
	before := 0
	for i := range r + 1 {
		before += v.waiting[i].Len()
	}
	most := 2 * v.options.WaitMax // while nobody leaves the rate goes to nothing, which says little about later
	return time.Duration(min(float64(before)/max(v.rate, rateMin), most.Seconds()) * float64(time.Second))
}

// giveUp takes t out, which waits no longer, and gives after what time it should come back. If it has
// been let in meanwhile, its place goes to the next.
func (v *valve) giveUp(t *turn, now time.Time) (after time.Duration) {
	if !t.began.IsZero() {
		v.leave(t, now)
	} else {
		v.waiting[t.rank].Remove(t.place)
		t.place = nil
		v.count--
	}
	return max(v.wait(t.rank), minAfter)
}

// leave ends the work of t, which was let in.
func (v *valve) leave(t *turn, now time.Time) {
	if t.place != nil {
		v.out(t)
		v.letIn(now)
	}
}

// out takes a turn from those inside.
func (v *valve) out(t *turn) {
	v.inside.Remove(t.place)
	t.place = nil
	v.left++
}

// letIn lets in who waits, as far as there is room.
func (v *valve) letIn(now time.Time) {
	for r := range v.waiting {
		for first := v.waiting[r].Front(); first != nil && v.room(); first = v.waiting[r].Front() {
			v.count--
			v.begin(v.waiting[r].Remove(first).(*turn), now)
		}
	}
}

// Each look moves the limit: back faster than forth, so that it finds its place quickly from above. With the
// rate it is the other way round. When a node is lost, its clients arrive while its shards elect: for a
// second hardly anybody leaves, which says nothing of those after. Who believed it would send them away for
// longer than they had to wait; one who waits in vain has lost little.
const (
	shrink = 0.8
	grow   = 1.1
	faster = 0.2  // the part of a new measurement in the rate when it is higher
	slower = 0.02 // when it is lower: half is forgotten after 35 looks

	rateMin = 1e-9 // it never gets there, but what is divided by 0 is no time
)

// look takes the delay that was measured since the last look.
func (v *valve) look(delay time.Duration, now time.Time) {
	switch {
	case delay > v.options.DelayMax:
		v.limit = max(v.limit*shrink, float64(v.options.InsideMin))
	case v.pressed:
		v.limit = min(v.limit*grow, float64(v.options.InsideMax))
	}
	for first := v.inside.Front(); first != nil && now.Sub(first.Value.(*turn).began) >= v.options.TurnMax; first = v.inside.Front() {
		v.out(first.Value.(*turn))
	}
	if v.pressed { // otherwise more could have left
		fresh, part := float64(v.left)/v.options.LookEvery.Seconds(), faster
		if fresh < v.rate {
			part = slower
		}
		v.rate += part * (fresh - v.rate)
	}
	v.letIn(now)
	v.pressed, v.left = v.count > 0, 0
}
