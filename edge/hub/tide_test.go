package hub

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

func (plain) Cursor(dst []byte, _ string, c *eventv1.Cursor) []byte {
	return fmt.Appendf(dst, "%s@%d/%d ", c.MemberId, c.Delivered, c.Seen)
}

// moves is how far a user's member has come; the conversation is large if user is told.
func moves(user, member string, delivered, seen uint64) *nodev1.Fanout {
	return &nodev1.Fanout{ApplicationId: "app", Id: "CON-1", User: user,
		Body: &nodev1.Fanout_Cursor{Cursor: &eventv1.Cursor{MemberId: member, Delivered: delivered, Seen: seen}}}
}

// TestCursorsOfASmallConversation go to everybody, each at once.
func TestCursorsOfASmallConversation(t *testing.T) {
	s := newStage(t, DefaultOptions())
	var ann, bob listener
	s.subscribe(&ann, "USR-a", 0)
	s.subscribe(&bob, "USR-b", 0)
	s.settle(t)
	s.room.deliver(moves("", "a", 1, 0))
	s.room.deliver(moves("", "b", 1, 1))
	s.settle(t)
	if ann.text() != "a@1/0 b@1/1 " || bob.text() != ann.text() {
		t.Errorf("told %q and %q", ann.text(), bob.text())
	}
}

// TestCursorsOfALargeConversation: however many members move, and however often, a listener is told two
// things at most and only once in a while: the furthest of all, and its own.
func TestCursorsOfALargeConversation(t *testing.T) {
	const members = 1000
	o := DefaultOptions()
	s := newStage(t, o)
	ears := make([]listener, members)
	for i := range ears {
		s.subscribe(&ears[i], fmt.Sprint("USR-", i), 0)
	}
	var tablet listener // of the first
	s.subscribe(&tablet, "USR-0", 0)
	s.settle(t)
	began := s.clock
	for n := range uint64(3) {
		for i := range members - 1 { // the last is away
			s.room.deliver(moves(fmt.Sprint("USR-", i), fmt.Sprint("m", i), n+1, n))
		}
	}
	if s.queued || s.clock.Add(o.CursorsEvery) != s.wakeAt {
		t.Fatalf("told before it is time: %v, woken at %v", s.queued, s.wakeAt.Sub(began))
	}
	s.clock = s.wakeAt.Add(-1)
	s.room.tick() // for another reason
	s.settle(t)
	if ears[0].text() != "" {
		t.Fatalf("told %q before it is time", ears[0].text())
	}
	s.clock = began.Add(o.CursorsEvery)
	s.room.tick()
	s.settle(t)
	told := map[string]bool{"m0@3/2 @3/2 ": true}
	if !told[ears[0].text()] || tablet.text() != ears[0].text() || ears[members-1].text() != "@3/2 " {
		t.Errorf("told %q, %q and %q", ears[0].text(), tablet.text(), ears[members-1].text())
	}
	bytes := 0
	for i := range ears {
		bytes += len(ears[i].words)
	}
	if most := members * len("m999@3/2 @3/2 "); bytes > most {
		t.Errorf("%d bytes were told, want at most %d", bytes, most)
	}
	s.room.deliver(moves("USR-0", "m0", 3, 3))
	s.room.deliver(moves("USR-7", "m7", 3, 2))
	s.clock = s.clock.Add(o.CursorsEvery)
	s.room.tick()
	s.settle(t)
	if got := ears[7].text(); got != "m7@3/2 @3/2 m7@3/2 @3/3 " {
		t.Errorf("then told %q", got)
	}
	s.clock = s.clock.Add(o.CursorsEvery)
	s.room.tick()
	s.settle(t)
	if got := ears[8].text(); got != "m8@3/2 @3/2 @3/3 " {
		t.Errorf("in the end told %q", got)
	}
}

// TestCursorsThatWaitAreBounded: beyond the bound the furthest is told all the same.
func TestCursorsThatWaitAreBounded(t *testing.T) {
	o := DefaultOptions()
	s := newStage(t, o)
	var last listener
	s.subscribe(&last, fmt.Sprint("USR-", ownCursorsMax), 0)
	s.settle(t)
	for i := range uint64(ownCursorsMax + 1) {
		s.room.deliver(moves(fmt.Sprint("USR-", i), "m", i, 0))
	}
	s.clock = s.clock.Add(o.CursorsEvery)
	s.room.tick()
	s.settle(t)
	if want := fmt.Sprintf("@%d/0 ", ownCursorsMax); last.text() != want || len(s.room.tide.own) > 0 {
		t.Errorf("told %q, want %q", last.text(), want)
	}
	if n := testutil.ToFloat64(s.room.metrics.dropped.WithLabelValues("cursors_full")); n != 1 {
		t.Errorf("counted %v", n)
	}
}
