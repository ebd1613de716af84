package outbox

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"parley/actors/grain"
)

var errDead = errors.New("no answer")

// dying makes a world in which so many destinations, each with its first row, do not answer. The group
// may hold as many rows as rows says, and have four of its deliveries on their way.
func dying(t *testing.T, many, rows int) *world {
	w := newSinkWorld(t)
	w.roomy(rows)
	for i := range many {
		w.commitFor(fmt.Sprint("dead", i), "t1")
		w.tell()
	}
	return w
}

func (w *world) roomy(rows int) {
	l := &w.queue.limits
	l.RowsMax, l.GroupRowsMax, l.GroupFlightMax, l.FlightMax, l.ParkedMax = 1000, rows, 4, 8, 1000
	l.SlowAfter, l.GroupSlowMax = time.Second, 4
}

// flies gives the place of a source's row among the deliveries on their way, or -1.
func (w *world) flies(source string) int {
	return slices.IndexFunc(w.flying, func(r grain.Row) bool { return r.Row.SourceId == source })
}

// TestTheUntriedDelayNoOther: dead destinations of which nothing is known yet, because each has its first
// row, or because the leader is new, keep nobody waiting longer than the few that are being asked; also
// when there are more of them than the group may hold rows.
func TestTheUntriedDelayNoOther(t *testing.T) {
	const many = 40
	for _, rows := range []int{500, 10} {
		for _, newLeader := range []bool{false, true} {
			t.Run(fmt.Sprintf("room for %d, new leader %v", rows, newLeader), func(t *testing.T) {
				w := dying(t, many, rows)
				if newLeader {
					w.restart()
					w.roomy(rows)
					w.step(Overrun{})
					w.step(Overrun{}) // now the group is full
				}
				w.commitFor("live", "t1")
				w.tell()
				for range 4 {
					if w.flies("live") >= 0 {
						break
					}
					w.fail(0, errDead)
				}
				if w.flies("live") < 0 {
					t.Fatal("the live destination waits for all dead ones")
				}
				for i := range many { // and none of the dead waits for the live
					w.commitFor("live", "t1")
					w.tell()
					if at := w.flies("live"); at >= 0 {
						w.deliver(at, false)
					}
					if len(w.flying) == 0 {
						t.Fatalf("after %d rounds no dead destination is asked", i)
					}
				}
				w.settle()
				w.check()
			})
		}
	}
}

// TestTheSlowLeaveTheirPlaces: who does not answer for a while keeps the untried waiting no longer, as
// long as there are not too many of those; when one ends the next leaves its place.
func TestTheSlowLeaveTheirPlaces(t *testing.T) {
	w := dying(t, 40, 500)
	pass := func(d time.Duration) {
		w.now += d.Milliseconds()
		w.step(Ticked{})
	}
	const places = 3 // of four, for those of which nothing is known
	w.commitFor("live", "t1")
	w.tell()
	pass(time.Second - time.Millisecond)
	if w.flies("live") >= 0 || len(w.flying) != places {
		t.Fatalf("%d are asked too soon", len(w.flying))
	}
	if w.alarm != w.now+1 {
		t.Errorf("it wakes at %d, not at %d", w.alarm, w.now+1)
	}
	pass(time.Millisecond)
	if w.flies("live") < 0 || len(w.flying) != 2*places {
		t.Fatalf("%d are asked, the live one is not", len(w.flying))
	}
	w.deliver(w.flies("live"), false)
	pass(time.Second)
	pass(time.Second)
	if len(w.flying) != places+4 {
		t.Fatalf("%d are asked at once", len(w.flying))
	}
	w.fail(0, errDead) // a slow one
	pass(time.Second)
	if len(w.flying) != places+4 {
		t.Errorf("%d are asked when a slow one has ended", len(w.flying))
	}
	w.settle()
	w.check()
}

// TestTheProvenHaveAShareOfTheirOwn: who took its last row is asked at once, however many others wait for
// their first answer and whatever is held; until it fails.
func TestTheProvenHaveAShareOfTheirOwn(t *testing.T) {
	w := newSinkWorld(t)
	w.roomy(10)
	w.commitFor("live", "t1")
	w.tell()
	w.deliver(0, false)
	w.commitWrite() // nothing is left of it in memory
	for i := range 40 {
		w.commitFor(fmt.Sprint("dead", i), "t1")
		w.tell()
	}
	for range 3 {
		w.commitFor("live", "t1")
		w.tell()
		if w.flies("live") < 0 {
			t.Fatalf("it waits behind %d that were never reached", len(w.flying))
		}
		w.deliver(w.flies("live"), false)
		w.commitWrite()
	}
	w.commitFor("live", "t1")
	w.tell()
	w.fail(w.flies("live"), &Failure{Err: errDead, Final: true})
	w.commitWrite()
	w.commitFor("live", "t1")
	w.tell()
	w.fail(w.flies("live"), errDead)
	w.later()
	if w.flies("live") >= 0 {
		t.Error("one that has failed is still asked before the others")
	}
	if n := len(w.queue.took); n > 0 {
		t.Errorf("%d are remembered", n)
	}
}

// TestOnlySoManyAreRemembered of those that took their last row: the later ones.
func TestOnlySoManyAreRemembered(t *testing.T) {
	w := newSinkWorld(t)
	for i := range 50 {
		w.commitFor(fmt.Sprint("s", i), "t1")
		w.tell()
		w.deliver(0, false)
		w.commitWrite()
		if n := len(w.queue.took) + len(w.queue.tookBefore); n > w.queue.limits.RowsMax {
			t.Fatalf("%d are remembered", n)
		}
	}
	for source, want := range map[string]standing{"s49": proven, "s46": proven, "s30": untried} {
		if got := w.queue.standingOf(grain.Lane(w.key(source, "t1", 1, 0))); got != want {
			t.Errorf("%s stands at %d", source, got)
		}
	}
}

// TestNewsOfWhatIsDelivered: a row may be found on disk, delivered and deleted before the news of it
// comes, and then meet a full group.
func TestNewsOfWhatIsDelivered(t *testing.T) {
	w := newSinkWorld(t)
	w.roomy(2)
	w.commitFor("late", "t1")
	w.step(Overrun{})
	w.deliver(0, false)
	w.commitWrite()
	news := w.posted
	w.posted = nil
	for i := range 6 {
		w.commitFor(fmt.Sprint("s", i), "t1")
		w.tell()
	}
	w.posted = news
	w.tell()
	w.settle()
	w.check()
}
