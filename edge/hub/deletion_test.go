package hub

import (
	"fmt"
	"testing"

	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// frank is plain with bodies: an event that still says something is followed by a question mark.
type frank struct{ plain }

func (frank) Events(dst []byte, _ string, events []*nodev1.EventView) []byte {
	for _, v := range events {
		dst = fmt.Appendf(dst, "%d", v.Event.Sequence)
		if v.Event.Type == "text" && v.Event.DeletedMs == 0 {
			dst = append(dst, '?')
		}
		dst = append(dst, ' ')
	}
	return dst
}

// delete empties an event of the log and appends the event that says so.
func (s *stage) delete(sequence uint64) *nodev1.EventView {
	s.log[sequence-1] = &nodev1.EventView{Event: &eventv1.Event{Sequence: sequence, Type: "text", DeletedMs: 1}}
	v := &nodev1.EventView{Event: &eventv1.Event{
		Sequence: s.head() + 1, Type: typeDelete, Body: fmt.Appendf(nil, `{"event_id":%d}`, sequence)}}
	s.log = append(s.log, v)
	return v
}

// enter subscribes a device that has nothing, after a check of now.
func (s *stage) enter(l *listener) *Subscription {
	sub := &Subscription{user: "USR-a", dialect: frank{}, to: l, floor: s.head(), next: 1, at: -1, room: s.room}
	s.room.subscribe(sub)
	return sub
}

// TestADeletedBodyDoesNotComeBack: whoever subscribes after a deletion must not see what was
// deleted, from wherever the edge takes it.
func TestADeletedBodyDoesNotComeBack(t *testing.T) {
	const want = "1 2? 3 "
	setting := func(t *testing.T) (*stage, *nodev1.EventView) {
		s := newStage(t, DefaultOptions())
		var early listener
		s.enter(&early)
		s.settle(t)
		for range 2 {
			s.room.deliver(item(s.commit("text", "USR-a")))
		}
		s.settle(t)
		if early.text() != "1? 2? " {
			t.Fatalf("before: %q", early.text())
		}
		return s, s.delete(1)
	}
	t.Run("from memory", func(t *testing.T) {
		s, deletion := setting(t)
		s.room.deliver(item(deletion))
		var late listener
		s.enter(&late)
		s.settle(t)
		if late.text() != want {
			t.Errorf("got %q", late.text())
		}
	})
	t.Run("from memory that has not heard of it", func(t *testing.T) {
		s, deletion := setting(t)
		var late listener
		s.enter(&late)
		if late.text() != "" {
			t.Errorf("served %q before the room stood at the check", late.text())
		}
		s.room.deliver(item(deletion))
		s.settle(t)
		if late.text() != want {
			t.Errorf("got %q", late.text())
		}
	})
	t.Run("from a page on its way", func(t *testing.T) {
		s, _ := setting(t)
		s.log = s.log[:2]
		s.log[0] = &nodev1.EventView{Event: &eventv1.Event{Sequence: 1, Type: "text"}}
		s.room.recent = nil
		var early, late listener
		s.enter(&early) // asks for a page from 1
		before := append([]*nodev1.EventView(nil), s.log...)
		s.room.deliver(item(s.delete(1)))
		s.room.recent = nil
		s.enter(&late) // joins the question
		if len(s.fetches) != 1 {
			t.Fatalf("%d questions", len(s.fetches))
		}
		s.fetches = nil
		s.room.fetched(1, before, 2, nil) // read before the deletion
		s.settle(t)
		if late.text() != want {
			t.Errorf("late got %q", late.text())
		}
		if early.text() != "1? 2? 3 " {
			t.Errorf("early got %q", early.text())
		}
	})
	t.Run("live, when the live path is late", func(t *testing.T) {
		s := newStage(t, DefaultOptions())
		var early, late listener
		s.enter(&early)
		s.settle(t)
		first := s.commit("text", "USR-a")
		second := s.commit("text", "USR-a")
		deletion := s.delete(1)
		s.enter(&late)
		for _, v := range []*nodev1.EventView{first, second, deletion} {
			s.room.deliver(item(v))
		}
		s.settle(t)
		if late.text() != want {
			t.Errorf("late got %q", late.text())
		}
	})
}

// TestAnUnreadableDeletionClearsMemory: a deletion that does not say of what may be of anything.
func TestAnUnreadableDeletionClearsMemory(t *testing.T) {
	for body, want := range map[string]uint64{`{"event_id":3}`: 3, `{"event_id":"3"}`: 9, `{}`: 9, `nonsense`: 9, ``: 9} {
		v := &nodev1.EventView{Event: &eventv1.Event{Sequence: 9, Body: []byte(body)}}
		if got := deletedBy(v); got != want {
			t.Errorf("%q: %d, want %d", body, got, want)
		}
	}
}

// TestAnAbandonedSubscriptionHearsNoPass: a connection that is gone is skipped by a pass that is
// already on its way.
func TestAnAbandonedSubscriptionHearsNoPass(t *testing.T) {
	s := newStage(t, DefaultOptions())
	var gone, stays listener
	sub := s.enter(&gone)
	s.enter(&stays)
	s.settle(t)
	s.room.deliver(item(s.commit("text", "USR-a")))
	batches := s.room.begin()
	sub.ended.Store(true) // Abandon
	s.room.remove(sub)
	for _, b := range batches {
		b.pass(s.room.metrics)
	}
	s.room.finish()
	if gone.text() != "" || stays.text() != "1? " {
		t.Errorf("gone heard %q, stays heard %q", gone.text(), stays.text())
	}
}
