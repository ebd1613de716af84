package hub

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"parley/edge/dialect"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// TestUnsubscribeIsAnsweredAfterTheLastEvent: what was said before comes before the ack, what is
// said after does not come, whether a pass runs or not.
func TestUnsubscribeIsAnsweredAfterTheLastEvent(t *testing.T) {
	for name, during := range map[string]bool{"at rest": false, "during a pass": true} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, DefaultOptions())
			var l listener
			sub := s.subscribe(&l, "USR-a", 0)
			s.settle(t)
			h := &Hub{}
			s.room.deliver(item(s.commit("text", "USR-a")))
			var batches []batch
			if during {
				batches = s.room.begin()
			}
			s.room.deliver(item(s.commit("text", "USR-a")))
			done := false
			h.Unsubscribe(sub, []byte("ack "), func() { done = true })
			if done {
				t.Error("done before its events were written")
			}
			s.room.deliver(item(s.commit("text", "USR-a")))
			if during {
				for _, b := range batches {
					b.pass(s.room.metrics)
				}
				s.room.finish()
			}
			s.settle(t)
			if l.text() != "1 2 ack " || !done || !sub.Over() {
				t.Errorf("got %q, done %v, over %v", l.text(), done, sub.Over())
			}
		})
	}
}

// TestAKickDuringAPass: the pass took what was before, the kick comes while it writes.
func TestAKickDuringAPass(t *testing.T) {
	s := newStage(t, DefaultOptions())
	var ann, bob, bobs listener
	s.subscribe(&ann, "USR-a", 0)
	s.subscribe(&bob, "USR-b", 0)
	s.subscribe(&bobs, "USR-b", 0) // his other device
	s.settle(t)
	s.room.deliver(item(s.commit("text", "USR-a")))
	batches := s.room.begin()
	s.room.deliver(item(s.commit(typeLeft, "USR-b")))
	s.room.deliver(item(s.commit("text", "USR-a")))
	for _, b := range batches {
		b.pass(s.room.metrics)
	}
	s.room.finish()
	s.settle(t)
	if bob.text() != "1 2 !left " || bobs.text() != bob.text() || !bobs.ended {
		t.Errorf("bob got %q and %q", bob.text(), bobs.text())
	}
	if ann.text() != "1 2 3 " {
		t.Errorf("ann got %q", ann.text())
	}
}

// TestLeaverIsTheOneThatTheBodyNames, not the one that sent the event: a kick is sent by another.
func TestLeaverIsTheOneThatTheBodyNames(t *testing.T) {
	for body, want := range map[string]string{
		`{"user":{"id":"USR-b"}}`:                   "USR-b",
		`{"user":{"id":"USR-c","user_id":"USR-b"}}`: "USR-b",
		`{}`:         "USR-a",
		`[1`:         "USR-a",
		``:           "USR-a",
		`{"user":7}`: "USR-a",
	} {
		v := &nodev1.EventView{Event: &eventv1.Event{Type: typeLeft, FromUser: "USR-a", Body: []byte(body)}}
		if got := leaver(v); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}

// TestASlowPassHoldsTheRoomBack: while a pass runs, no more than RoomBytesMax is kept for the
// next; what comes above is read again when there is room, in order and once.
func TestASlowPassHoldsTheRoomBack(t *testing.T) {
	o := DefaultOptions()
	o.RoomBytesMax, o.HeldMax = 10, 2
	s := newStage(t, o)
	var l listener
	s.subscribe(&l, "USR-a", 0)
	s.settle(t)
	s.room.deliver(item(s.commit("text", "USR-a")))
	batches := s.room.begin() // and it takes long
	for range 50 {
		s.room.deliver(item(s.commit("text", "USR-a")))
	}
	if s.room.writer.waiting > o.RoomBytesMax+len("50 ") || len(s.room.held) > o.HeldMax {
		t.Errorf("%d bytes and %d events wait", s.room.writer.waiting, len(s.room.held))
	}
	for _, b := range batches {
		b.pass(s.room.metrics)
	}
	s.room.finish()
	s.settle(t)
	if l.text() != dense(0, 51) {
		t.Errorf("got %q", l.text())
	}
}

// TestDialectsAreRenderedOnceEach: a thousand sockets of one dialect share the bytes.
func TestDialectsAreRenderedOnceEach(t *testing.T) {
	s := newStage(t, DefaultOptions())
	renderings := 0
	counted := counting{times: &renderings}
	ears := make([]listener, 1000)
	for i := range ears {
		sub := s.subscribe(&ears[i], "USR-a", 0)
		s.room.remove(sub)
		s.room.subscribe(&Subscription{user: "USR-a", dialect: counted, to: &ears[i], next: 1, at: -1, room: s.room})
	}
	s.settle(t)
	s.room.deliver(item(s.commit("text", "USR-a")))
	s.settle(t)
	if renderings != 1 {
		t.Errorf("rendered %d times", renderings)
	}
	for i := range ears {
		if ears[i].text() != "1 " {
			t.Fatalf("socket %d got %q", i, ears[i].text())
		}
	}
}

type counting struct {
	plain
	times *int
}

func (c counting) Events(dst []byte, id string, events []*nodev1.EventView) []byte {
	*c.times++
	return c.plain.Events(dst, id, events)
}

// TestADeletedConversationIsFoundByAsking: the news of the deletion was lost, the next read of
// the gap meets it.
func TestADeletedConversationIsFoundByAsking(t *testing.T) {
	s := newStage(t, DefaultOptions())
	s.commit("text", "USR-a")
	var live, late listener
	s.subscribe(&live, "USR-a", 1)
	s.settle(t)
	s.subscribe(&late, "USR-b", 0)
	if len(s.fetches) != 1 {
		t.Fatalf("%d questions", len(s.fetches))
	}
	s.fetches = nil
	s.room.fetched(1, nil, 0, fmt.Errorf("read: %w", code.New(code.ConversationNotFound, "gone")))
	s.settle(t)
	if live.text() != "!deleted " || late.text() != "!deleted " || s.room.size != 0 {
		t.Errorf("live %q, late %q, %d left", live.text(), late.text(), s.room.size)
	}
}

// TestAStoreThatKnowsLess ends who waits for what was there before with a reason to come back.
func TestAStoreThatKnowsLess(t *testing.T) {
	s := newStage(t, DefaultOptions())
	for range 3 {
		s.commit("text", "USR-a")
	}
	var l listener
	s.subscribe(&l, "USR-a", 0)
	s.asked = false
	s.room.registered(standing{head: 3}, nil)
	s.fetches = nil
	s.room.fetched(1, nil, 3, nil)
	if l.text() != "!unavailable " || !l.ended {
		t.Errorf("got %q", l.text())
	}
}

// TestBackoffOfQuestions: each failure doubles the pause up to retryMax; an answer ends it.
func TestBackoffOfQuestions(t *testing.T) {
	s := newStage(t, DefaultOptions())
	var l listener
	s.subscribe(&l, "USR-a", 0)
	var pauses []time.Duration
	for range 8 {
		s.asked = false
		s.room.registered(standing{head: 0}, errors.New("no"))
		pauses = append(pauses, s.wakeAt.Sub(s.clock))
		s.clock, s.wakeAt = s.wakeAt, time.Time{}
		s.room.tick()
		if !s.asked {
			t.Fatal("not asked again")
		}
	}
	for i := 1; i < len(pauses); i++ {
		if want := min(2*pauses[i-1], retryMax); pauses[i] != want {
			t.Errorf("pause %d is %v, want %v", i, pauses[i], want)
		}
	}
	s.settle(t)
	if s.room.backoff != 0 {
		t.Errorf("a back-off of %v remains", s.room.backoff)
	}
}

// TestManyComeAndGoWhileAPassRuns: the lists that a pass reads are not changed under it.
func TestManyComeAndGoWhileAPassRuns(t *testing.T) {
	s := newStage(t, DefaultOptions())
	var subs []*Subscription
	ears := make([]listener, 20)
	for i := range ears {
		subs = append(subs, s.subscribe(&ears[i], "USR-a", 0))
	}
	s.settle(t)
	s.room.deliver(item(s.commit("text", "USR-a")))
	batches := s.room.begin()
	for i := 0; i < len(ears); i += 2 {
		s.room.remove(subs[i])
		s.room.writer.say(s.room, remark{to: subs[i], frame: []byte("."), then: func() {}})
	}
	newcomers := make([]listener, 10)
	for i := range newcomers {
		s.subscribe(&newcomers[i], "USR-b", 1)
	}
	s.room.deliver(item(s.commit("text", "USR-a")))
	for _, b := range batches {
		b.pass(s.room.metrics)
	}
	s.room.finish()
	s.settle(t)
	for i := range ears {
		want := "1 2 "
		if i%2 == 0 {
			want = "1 ."
		}
		if ears[i].text() != want {
			t.Errorf("ear %d got %q, want %q", i, ears[i].text(), want)
		}
	}
	for i := range newcomers {
		if newcomers[i].text() != "2 " {
			t.Errorf("newcomer %d got %q", i, newcomers[i].text())
		}
	}
}

// TestAUserFeedNeedsNoSequence: memberships come as they are told; the deletion of the user ends
// the feed without a frame, because a user is no conversation that a client could know of.
func TestAUserFeedNeedsNoSequence(t *testing.T) {
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	o := DefaultOptions()
	s := &stage{clock: time.Unix(1_700_000_000, 0)}
	s.room = newRoom(address{"app", "USR-a"}, &o, &m, s)
	var l listener
	sub := &Subscription{user: "USR-a", dialect: invited{}, to: &l, at: -1, room: s.room}
	s.room.subscribe(sub)
	s.settle(t)
	for _, id := range []string{"CON-1", "CON-2"} {
		s.room.deliver(&nodev1.Fanout{Body: &nodev1.Fanout_Membership{Membership: &nodev1.MembershipChange{
			Membership: &eventv1.Membership{ConversationId: id}}}})
	}
	s.room.deliver(&nodev1.Fanout{Body: &nodev1.Fanout_Deleted{Deleted: true}})
	s.settle(t)
	if got := l.text(); got != "+CON-1 +CON-2 " || len(s.fetches) != 0 {
		t.Errorf("got %q, %d questions", got, len(s.fetches))
	}
	if !l.ended || sub.Why() != dialect.Deleted {
		t.Errorf("ended %v, reason %q", l.ended, sub.Why())
	}
}

type invited struct{ plain }

func (invited) Membership(dst []byte, m *nodev1.MembershipChange) []byte {
	return append(dst, "+"+m.Membership.ConversationId+" "...)
}

// TestStepper drives the hub of a simulation through its whole surface.
func TestStepper(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	o := DefaultOptions()
	s, err := OpenStepper(o, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	var l listener
	after := uint64(1)
	sub := s.Hub.Subscribe(Request{Application: "app", Conversation: "CON-1", User: "USR-a", After: &after, Head: 2, Dialect: plain{}, To: &l})
	q := s.Ask(0)
	if q.Interest == nil || q.Interest.Withdraw || s.Questions() != 0 {
		t.Fatalf("asked %+v", q)
	}
	s.Registered(q, &nodev1.InterestReply{Head: 2}, nil)
	q = s.Ask(0)
	if q.Read.GetStart() != 2 || q.Conversation != "CON-1" || !q.Principal.Admin {
		t.Fatalf("asked %+v", q)
	}
	second := &nodev1.EventView{Event: &eventv1.Event{Sequence: 2}}
	s.Fetched(q, &nodev1.Reply{Events: []*nodev1.EventView{second}, Head: &eventv1.Head{Sequence: 2}}, nil)
	s.Hub.Deliver(fed(item(&nodev1.EventView{Event: &eventv1.Event{Sequence: 3}})))
	s.Hub.Deliver(fed(&nodev1.Fanout{ApplicationId: "app", Id: "CON-1", Head: 3}))
	for s.Pass() {
	}
	s.Hub.Abandon(sub)
	now = now.Add(o.Grace + time.Second)
	s.Tick()
	if s.Questions() == 0 {
		t.Fatal("nothing is withdrawn")
	}
	last := s.Ask(s.Questions() - 1)
	if last.Interest == nil || !last.Interest.Withdraw {
		t.Errorf("asked %+v", last)
	}
	s.Registered(last, nil, errors.New("lost")) // nobody minds
	if l.text() != "2 3 " {
		t.Errorf("got %q", l.text())
	}
	// A page with a hole is refused and asked for again.
	if _, _, err := pageOf(address{"app", "CON-1"}, 1, &nodev1.Reply{Events: []*nodev1.EventView{second}}, nil); err == nil {
		t.Error("a page that does not start where it was asked for was taken")
	}
	if _, err := standingOf(address{"app", "CON-1"}, &nodev1.InterestReply{NotLeader: true}, nil); err == nil {
		t.Error("the head of one that does not lead was taken")
	}
}
