package push

import (
	"fmt"
	"testing"

	nodev1 "parley/proto/node/v1"
)

// However often other rows come and go, what is remembered of a row stays until there are too many.
func TestProgressIsForgottenInItsTurn(t *testing.T) {
	u := newUnfinished(3)
	kept := &progress{walked: true}
	u.put("kept", kept)
	busy := &progress{}
	for range 100 {
		u.put("busy", busy)
		if u.take("busy") != busy {
			t.Fatal("the progress of a row was forgotten at once")
		}
	}
	if u.take("kept") != kept {
		t.Fatal("a row was forgotten although few are remembered")
	}
	u.put("kept", kept) // now the newest
	for i := range 2 {
		u.put(fmt.Sprint("other-", i), &progress{})
	}
	u.put("one more", &progress{})
	if got := u.take("kept"); got == kept {
		t.Fatal("more rows are remembered than may be")
	}
	if n := len(u.order); n > 6 || len(u.rows) != 3 {
		t.Fatalf("%d turns, %d rows", n, len(u.rows))
	}
	if u.take("one more") == nil || len(u.rows) != 2 {
		t.Fatal("an attempt at a row takes what was remembered of it")
	}
}

// A row that was taken and put again is as new as its last put.
func TestARowPutAgainIsNew(t *testing.T) {
	u := newUnfinished(3)
	again := &progress{walked: true}
	u.put("again", again)
	u.take("again")
	u.put("oldest", &progress{walked: true})
	u.put("older", &progress{walked: true})
	u.put("again", again)
	u.put("newest", &progress{walked: true})
	if u.take("again") != again || u.take("oldest").walked || !u.take("older").walked {
		t.Fatal("it was not the oldest row that was forgotten")
	}
}

// A row that was given up and is brought back owes what it owed then no more: it is told anew.
func TestARowThatIsBroughtBackIsAnother(t *testing.T) {
	r := &nodev1.OutboxRow{ApplicationId: "app", SourceId: "CON-1", CreatedMs: 1,
		Command: &nodev1.Command{Body: &nodev1.Command_DeliverEvent{DeliverEvent: &nodev1.DeliverEvent{Sequence: 7}}}}
	u := newUnfinished(3)
	given := &progress{walked: true}
	u.put(nameOf(r), given)
	r.CreatedMs = 2
	if u.take(nameOf(r)) == given {
		t.Error("it goes on where it was given up")
	}
}
