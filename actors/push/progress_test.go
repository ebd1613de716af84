package push

import (
	"fmt"
	"testing"
)

// However often other rows come and go, what is remembered of a row stays until there are too many.
func TestProgressIsForgottenInItsTurn(t *testing.T) {
	u := newUnfinished(3)
	kept := &progress{walked: true}
	u.put("kept", kept)
	busy := &progress{}
	for range 100 {
		u.put("busy", busy)
		if u.take("busy", false) != busy {
			t.Fatal("the progress of a row was forgotten at once")
		}
	}
	if u.take("kept", false) != kept {
		t.Fatal("a row was forgotten although few are remembered")
	}
	u.put("kept", kept) // now the newest
	for i := range 2 {
		u.put(fmt.Sprint("other-", i), &progress{})
	}
	u.put("one more", &progress{})
	if got := u.take("kept", false); got == kept {
		t.Fatal("more rows are remembered than may be")
	}
	if n := len(u.order); n > 6 || len(u.rows) != 3 {
		t.Fatalf("%d turns, %d rows", n, len(u.rows))
	}
	if u.take("one more", true) == nil || len(u.rows) != 2 {
		t.Fatal("the first attempt at a row takes what was remembered of it")
	}
}

// A row that was taken and put again is as new as its last put.
func TestARowPutAgainIsNew(t *testing.T) {
	u := newUnfinished(3)
	again := &progress{walked: true}
	u.put("again", again)
	u.take("again", false)
	u.put("oldest", &progress{walked: true})
	u.put("older", &progress{walked: true})
	u.put("again", again)
	u.put("newest", &progress{walked: true})
	if u.take("again", false) != again || u.take("oldest", false).walked || !u.take("older", false).walked {
		t.Fatal("it was not the oldest row that was forgotten")
	}
}
