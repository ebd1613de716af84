package outbox

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"parley/cluster/shard"
	nodev1 "parley/proto/node/v1"
)

// large is a world whose queue has the production limits, and whose rows are of a size.
func large(t *testing.T, rows, size int) *world {
	w := newSinkWorld(t)
	w.queue = NewSinkQueue(1, nodev1.Kind_KIND_WEBHOOK, w.shelf, DefaultSinkLimits(), func() float64 { return 0 })
	w.step(Started{})
	for i := range rows {
		w.commitFor(fmt.Sprint("s", i), "c1")
		for _, r := range w.posted[len(w.posted)-1] {
			r.Row.Command.ClientId = strings.Repeat("x", size)
			value, err := r.Row.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			w.shelf[string(r.Key)] = value
		}
	}
	return w
}

// TestLettersFitAWrite: rows that are given up while a write is on its way are more than the next one can
// hold, each with as long a reason as a target cares to give. All are buried, and brought back.
func TestLettersFitAWrite(t *testing.T) {
	const rows, size = 100, 16 << 10 // 1.6 MB
	w := large(t, rows, size)
	w.now += DefaultSinkLimits().AgeMax.Milliseconds() + 1
	for len(w.posted) > 0 {
		w.tell()
	}
	for len(w.flying) > 0 {
		w.fail(0, errors.New(strings.Repeat("\u00fc", shard.WriteBytesMax)))
	}
	w.settle()
	if n := w.depth(); n != 0 {
		t.Errorf("%d rows are never deleted", n)
	}
	letters := w.letters()
	if len(letters) != rows {
		t.Fatalf("%d dead letters of %d", len(letters), rows)
	}
	if got := len(letters[0].Reason); got > reasonMax+len("…") || got < reasonMax/2 {
		t.Errorf("a reason of %d bytes", got)
	}
	w.step(Redeliver{Application: tenantID})
	w.settle()
	if len(w.answers) != 1 || w.answers[0].Err != nil || w.answers[0].Moved != rows {
		t.Fatalf("brought back: %v", w.answers)
	}
}

// TestARedeliveryEnds: the letters that are there are brought back, each in a write of its own, to targets
// that refuse them again before the next is written. Those that die then are left where they are.
func TestARedeliveryEnds(t *testing.T) {
	w := newSinkWorld(t)
	w.queue.limits.DeleteMax = 1
	refuse := func() {
		for w.now++; len(w.flying) > 0; {
			w.fail(0, &Failure{Err: errors.New("status 410"), Final: true})
		}
	}
	const rows = 3
	for i := range rows {
		w.commitFor(fmt.Sprint("s", i), "t1")
		w.tell()
	}
	for refuse(); w.write != nil; {
		w.deleted(nil, true)
	}
	w.now += limits().BackoffMax.Milliseconds()
	w.step(Redeliver{Application: tenantID})
	writes := 0
	for w.write != nil && writes < 100 {
		w.deleted(nil, true)
		writes++
		refuse()
	}
	if len(w.answers) != 1 || w.answers[0].Err != nil || w.answers[0].Moved != rows {
		t.Errorf("answered: %v", w.answers)
	}
	if writes != 2*rows || len(w.letters()) != rows {
		t.Errorf("%d writes, and %d letters are left", writes, len(w.letters()))
	}
}

// TestLateNews: a row is found on the disk, delivered and deleted before the news of its commit comes. It is
// not delivered again: after a later one of its lane that would be out of order.
func TestLateNews(t *testing.T) {
	w := newWorld(t)
	w.commit("a", "x")
	w.commit("a", "x")
	w.step(Overrun{}) // the disk is looked at
	for w.depth() > 0 {
		if len(w.flying) > 0 {
			w.deliver(0, false)
		} else {
			w.deleted(nil, true)
		}
	}
	for len(w.posted) > 0 {
		w.tell()
	}
	if len(w.flying) > 0 {
		t.Errorf("a row that is gone is delivered again")
	}
	w.commit("b", "y")
	w.settle()
	w.check()
}
