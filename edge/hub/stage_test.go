package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"parley/edge/dialect"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// stage is a world in which nothing happens but by the test's hand: it holds the log, collects
// the room's questions and answers them when and how the test likes.
type stage struct {
	clock    time.Time
	log      []*nodev1.EventView
	asked    bool     // register
	fetches  []uint64 // fetch
	wakeAt   time.Time
	queued   bool            // schedule
	turns    []*Subscription // resume
	withdrew bool
	room     *room
}

func newStage(t testing.TB, o Options) *stage {
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{clock: time.Unix(1_700_000_000, 0)}
	s.room = newRoom(address{"app", "CON-1"}, &o, &m, s)
	return s
}

func (s *stage) register(*room)             { s.asked = true }
func (s *stage) fetch(_ *room, from uint64) { s.fetches = append(s.fetches, from) }
func (s *stage) schedule(*room)             { s.queued = true }
func (s *stage) resume(n *Subscription)     { s.turns = append(s.turns, n) }
func (s *stage) withdraw(*room)             { s.withdrew = true }
func (s *stage) now() time.Time             { return s.clock }

func (s *stage) wake(_ *room, d time.Duration) {
	if at := s.clock.Add(d); s.wakeAt.IsZero() || at.Before(s.wakeAt) {
		s.wakeAt = at
	}
}

// commit appends an event to the log.
func (s *stage) commit(kind, user string) *nodev1.EventView {
	body, err := json.Marshal(map[string]any{"user": map[string]string{"id": user}})
	if err != nil {
		panic(err)
	}
	v := &nodev1.EventView{Event: &eventv1.Event{Sequence: uint64(len(s.log) + 1), Type: kind, FromUser: user, Body: body}}
	s.log = append(s.log, v)
	return v
}

func item(v *nodev1.EventView) *nodev1.Fanout {
	return &nodev1.Fanout{ApplicationId: "app", Id: "CON-1", Body: &nodev1.Fanout_Event{Event: v}, Head: v.Event.Sequence}
}

func (s *stage) head() uint64 { return uint64(len(s.log)) }

// answerFetch answers the i-th question with a page, or with a failure.
func (s *stage) answerFetch(i, size int, fail bool) {
	from := s.fetches[i]
	s.fetches = slices.Delete(s.fetches, i, i+1)
	if fail {
		s.room.fetched(from, nil, 0, errors.New("no"))
		return
	}
	var page []*nodev1.EventView
	if from <= s.head() {
		page = s.log[from-1 : min(s.head(), from-1+uint64(size))]
	}
	s.room.fetched(from, page, s.head(), nil)
}

// turn goes on with the first subscription whose turn has come.
func (s *stage) turn() {
	next := s.turns[0]
	s.turns = s.turns[1:]
	s.room.resume(next)
}

// restless says whether the room waits for a tick to ask again.
func (s *stage) restless() bool {
	return !s.wakeAt.IsZero() && (s.room.want > s.room.last || len(s.room.fetches) > 0 || !s.room.known && s.room.size > 0)
}

// settle answers every question and runs every pass until nothing is left to do.
func (s *stage) settle(t interface{ Fatalf(string, ...any) }) {
	for round := 0; s.asked || s.queued || len(s.fetches) > 0 || len(s.turns) > 0 || s.restless(); round++ {
		if round > 10_000 {
			t.Fatalf("the room does not come to rest: last %d want %d", s.room.last, s.room.want)
		}
		switch {
		case s.asked:
			s.asked = false
			s.room.registered(standing{head: s.head()}, nil)
		case s.queued:
			s.queued = false
			s.room.Flush(nil)
		case len(s.fetches) > 0:
			s.answerFetch(0, 7, false)
		case len(s.turns) > 0:
			s.turn()
		default:
			s.clock, s.wakeAt = s.wakeAt, time.Time{}
			s.room.tick()
		}
	}
}

// plain is a dialect whose frames are lists of words, easy to take apart.
type plain struct{ dialect.Dialect }

func (plain) Events(dst []byte, _ string, events []*nodev1.EventView) []byte {
	for _, v := range events {
		dst = fmt.Appendf(dst, "%d ", v.Event.Sequence)
	}
	return dst
}

func (plain) Soft(dst []byte, _ string, v *nodev1.EventView) []byte {
	return fmt.Appendf(dst, "~%s ", v.Event.Type)
}

func (plain) Unsubscribed(dst []byte, _ string, r dialect.Reason) []byte {
	return fmt.Appendf(dst, "!%s ", r)
}

// listener collects what one connection gets.
type listener struct {
	words []byte
	ended bool
}

func (l *listener) Send(b []byte)         { l.words = append(l.words, b...) }
func (l *listener) SendNow(b []byte)      { l.words = append(l.words, b...) }
func (l *listener) Ended(s *Subscription) { l.ended = true }
func (l *listener) text() string          { return string(l.words) }

func (s *stage) subscribe(l *listener, user string, after uint64) *Subscription {
	sub := &Subscription{user: user, dialect: plain{}, to: l, floor: s.head(), next: after + 1, at: -1, room: s.room}
	s.room.subscribe(sub)
	return sub
}

// dense is what a subscriber after a sequence must have got when the head is reached.
func dense(after, head uint64) string {
	var b []byte
	for n := after + 1; n <= head; n++ {
		b = fmt.Appendf(b, "%d ", n)
	}
	return string(b)
}
