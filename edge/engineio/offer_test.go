package engineio_test

import (
	"strings"
	"testing"

	"parley/edge/engineio"
)

// TestOffersWaitForThePoller: what was missed is taken when little waits for the poller, which is
// told once when that is so again. What must be said at once is queued all the same.
func TestOffersWaitForThePoller(t *testing.T) {
	w := newWorld(t, func(o *engineio.Options) { o.QueueBytesMax = 4 << 10 })
	q := w.open(3)
	c := w.handler().conn
	page := message(strings.Repeat("x", 2<<10))
	ready := make(chan struct{}, 8)
	offer := func(frames []byte) bool { return c.Offer(frames, func() { ready <- struct{}{} }) }

	if !offer(nil) || !offer(page) {
		t.Fatal("nothing waits, and yet it was not taken")
	}
	if offer(page) || c.Offer(nil, func() { t.Error("an earlier question was told too") }) || offer(nil) {
		t.Fatal("a page was taken although one waits")
	}
	c.Send(message("now"))
	if len(ready) != 0 {
		t.Error("told too early")
	}
	if a := w.do("GET", q, ""); !strings.Contains(a.body, "4now") || strings.Count(a.body, "xxx") == 0 {
		t.Errorf("%+v", a)
	}
	if n := len(ready); n != 1 {
		t.Errorf("told %d times; only the latest that was not taken is", n)
	}
	if !offer(page) {
		t.Error("it has fetched all, and yet nothing is taken")
	}
	w.do("GET", q, "")
	if n := len(ready); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// TestNothingIsOfferedToTheClosed: a connection that ends takes nothing more, and those who wait for
// it are let go.
func TestNothingIsOfferedToTheClosed(t *testing.T) {
	w := newWorld(t, func(o *engineio.Options) { o.QueueBytesMax = 4 << 10 })
	q := w.open(3)
	h := w.handler()
	released := 0
	if !h.conn.Offer(message(strings.Repeat("x", 2<<10)), nil) || h.conn.Offer(nil, func() { released++ }) {
		t.Fatal("not as expected")
	}
	w.do("POST", q, "1:1")
	w.do("GET", q, "")
	<-h.closed
	if released != 1 {
		t.Errorf("let go %d times", released)
	}
	if h.conn.Offer(message("late"), func() { t.Error("told after the end") }) {
		t.Error("something was taken after the end")
	}
}
