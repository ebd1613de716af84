package engineio_test

import "testing"

// TestPollersAreSentAway: who polls is told the end, and the server goes on to serve others.
func TestPollersAreSentAway(t *testing.T) {
	w := newWorld(t)
	q := w.open(3)
	first := w.handler()
	w.server.SendAway(t.Context())
	if a := w.do("GET", q, ""); a.body != "1:1" {
		t.Errorf("sent away with %+v", a)
	}
	<-first.closed
	q = w.open(3)
	w.handler().say("news")
	if a := w.do("GET", q, ""); a.body != "5:4news" {
		t.Errorf("who came after: %+v", a)
	}
}
