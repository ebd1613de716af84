package hub

import (
	"errors"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"parley/edge/socket"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestEverySubscriberGetsADenseSequence is the promise of the hub: whatever the live path loses,
// repeats and reorders, whatever questions fail or take long, whoever comes and goes in between,
// each connection sees the sequence from where it asked, without hole or repetition.
func TestEverySubscriberGetsADenseSequence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := DefaultOptions()
		o.RecentMax = rapid.SampledFrom([]int{0, 1, 3, 32}).Draw(t, "recent")
		o.HeldMax = rapid.SampledFrom([]int{1, 2, 100}).Draw(t, "held")
		o.RoomBytesMax = rapid.SampledFrom([]int{1, 20, 1 << 20}).Draw(t, "room bytes")
		m, err := newMetrics(nil)
		if err != nil {
			t.Fatal(err)
		}
		s := &stage{clock: time.Unix(1_700_000_000, 0)}
		s.room = newRoom(address{"app", "CON-1"}, &o, &m, s)
		type member struct {
			l     *listener
			sub   *Subscription
			after uint64
		}
		var members []*member
		var links []*link
		drainAll := func() {
			for busy := true; busy; {
				s.settle(t)
				busy = false
				for _, n := range links {
					busy = n.drain() || busy
				}
			}
		}
		var onTheWay []*nodev1.EventView
		t.Repeat(map[string]func(*rapid.T){
			"commit": func(t *rapid.T) { onTheWay = append(onTheWay, s.commit("text", "USR-x")) },
			"deliver": func(t *rapid.T) {
				if len(onTheWay) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(onTheWay)-1).Draw(t, "which")
				s.room.deliver(item(onTheWay[i]))
				if rapid.Bool().Draw(t, "and forget") {
					onTheWay = slices.Delete(onTheWay, i, i+1)
				}
			},
			"lose": func(t *rapid.T) {
				if len(onTheWay) > 0 {
					i := rapid.IntRange(0, len(onTheWay)-1).Draw(t, "which")
					onTheWay = slices.Delete(onTheWay, i, i+1)
				}
			},
			"subscribe": func(t *rapid.T) {
				after := rapid.Uint64Range(0, s.head()).Draw(t, "after")
				l := &listener{}
				var to Subscriber = l
				if rapid.Bool().Draw(t, "paced") {
					if len(links) == 0 || rapid.Bool().Draw(t, "new connection") {
						links = append(links, &link{pages: rapid.IntRange(1, 2).Draw(t, "pages")})
					}
					to = &paced{l, rapid.SampledFrom(links).Draw(t, "connection")}
				}
				sub := &Subscription{user: "USR-y", dialect: plain{}, to: to, floor: s.head(), next: after + 1, at: -1, room: s.room}
				s.room.subscribe(sub)
				members = append(members, &member{l: l, after: after, sub: sub})
			},
			"drain": func(t *rapid.T) {
				if len(links) > 0 {
					rapid.SampledFrom(links).Draw(t, "connection").drain()
				}
			},
			"turn": func(t *rapid.T) {
				if len(s.turns) > 0 {
					s.turn()
				}
			},
			"unsubscribe": func(t *rapid.T) {
				if len(members) == 0 {
					t.Skip()
				}
				i := rapid.IntRange(0, len(members)-1).Draw(t, "who")
				m := members[i]
				members = slices.Delete(members, i, i+1)
				s.room.remove(m.sub)
				s.room.writer.say(s.room, remark{to: m.sub, frame: []byte("."), then: func() {}})
				s.settle(t)
				got := m.l.text()
				for n := m.after; ; n++ {
					if got == dense(m.after, n)+"." {
						break
					}
					if n > s.head() {
						t.Fatalf("subscribed after %d and left with %q", m.after, got)
					}
				}
			},
			"registered": func(t *rapid.T) {
				if s.asked {
					s.asked = false
					if rapid.Bool().Draw(t, "fails") {
						s.room.registered(standing{head: 0}, errors.New("no"))
					} else {
						s.room.registered(standing{head: s.head()}, nil)
					}
				}
			},
			"fetched": func(t *rapid.T) {
				if len(s.fetches) > 0 {
					s.answerFetch(rapid.IntRange(0, len(s.fetches)-1).Draw(t, "which"), rapid.IntRange(1, 5).Draw(t, "size"), rapid.Bool().Draw(t, "fails"))
				}
			},
			"tick": func(t *rapid.T) { s.clock, s.wakeAt = s.clock.Add(time.Second), time.Time{}; s.room.tick() },
			"flush": func(t *rapid.T) {
				if s.queued {
					s.queued = false
					s.room.Flush(nil)
				}
			},
			"": func(t *rapid.T) {
				for _, n := range links {
					if n.waiting > n.pages {
						t.Fatalf("%d pages wait for a connection that takes %d", n.waiting, n.pages)
					}
				}
				for _, m := range members {
					got := m.l.text()
					if want := dense(m.after, s.head()); len(got) > len(want) || got != want[:len(got)] {
						t.Fatalf("subscribed after %d, got %q", m.after, got)
					}
				}
			},
		})
		// At rest, with interest confirmed once more, everybody has everything.
		if len(members) == 0 {
			return
		}
		s.room.ask()
		drainAll()
		if len(s.room.paused) > 0 {
			t.Fatalf("%d subscriptions wait for ever", len(s.room.paused))
		}
		for _, m := range members {
			if got, want := m.l.text(), dense(m.after, s.head()); got != want {
				t.Fatalf("subscribed after %d, got %q, want %q", m.after, got, want)
			}
		}
	})
}

func TestLeaverHearsItsLeavingAndNothingMore(t *testing.T) {
	for name, late := range map[string]bool{"live": false, "while catching up": true} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, DefaultOptions())
			s.commit("text", "USR-a")
			s.commit(typeLeft, "USR-b") // long ago: bob has come back since
			var ann, bob listener
			s.subscribe(&ann, "USR-a", 0)
			s.subscribe(&bob, "USR-b", 0)
			if !late {
				s.settle(t)
			}
			for _, v := range []*nodev1.EventView{s.commit("text", "USR-a"), s.commit(typeLeft, "USR-b"), s.commit("text", "USR-a")} {
				s.room.deliver(item(v))
			}
			s.settle(t)
			if got := bob.text(); got != "1 2 3 4 !left " || !bob.ended {
				t.Errorf("bob got %q, ended %v", got, bob.ended)
			}
			if got := ann.text(); got != "1 2 3 4 5 " || ann.ended {
				t.Errorf("ann got %q", got)
			}
		})
	}
}

func TestDeletionEndsEverybody(t *testing.T) {
	s := newStage(t, DefaultOptions())
	s.commit("text", "USR-a")
	var live, late listener
	s.subscribe(&live, "USR-a", 1)
	s.settle(t)
	s.room.recent = nil
	s.subscribe(&late, "USR-b", 0)
	s.room.deliver(item(s.commit("text", "USR-a")))
	s.room.deliver(&nodev1.Fanout{Body: &nodev1.Fanout_Deleted{Deleted: true}})
	s.settle(t)
	if live.text() != "2 !deleted " || late.text() != "!deleted " {
		t.Errorf("live %q, late %q", live.text(), late.text())
	}
}

func TestSoftEventsKeepTheirPlace(t *testing.T) {
	s := newStage(t, DefaultOptions())
	var l listener
	s.subscribe(&l, "USR-a", 0)
	s.settle(t)
	s.room.deliver(item(s.commit("text", "USR-a")))
	s.room.deliver(&nodev1.Fanout{Head: 1, Body: &nodev1.Fanout_Soft{Soft: &nodev1.EventView{Event: &eventv1.Event{Type: "typing"}}}})
	s.room.deliver(item(s.commit("text", "USR-a")))
	s.settle(t)
	if l.text() != "1 ~typing 2 " {
		t.Errorf("got %q", l.text())
	}
}

func TestALostLastEventIsFoundByItsHead(t *testing.T) {
	s := newStage(t, DefaultOptions())
	var l listener
	s.subscribe(&l, "USR-a", 0)
	s.settle(t)
	s.commit("text", "USR-a")
	s.room.deliver(&nodev1.Fanout{Head: 1, Body: &nodev1.Fanout_Soft{Soft: &nodev1.EventView{Event: &eventv1.Event{Type: "typing"}}}})
	s.settle(t)
	if l.text() != "~typing 1 " {
		t.Errorf("got %q", l.text())
	}
}

func TestInterestOutlivesTheLastSubscriberByTheGrace(t *testing.T) {
	s := newStage(t, DefaultOptions())
	var l listener
	sub := s.subscribe(&l, "USR-a", 0)
	s.settle(t)
	s.room.remove(sub)
	s.clock = s.clock.Add(s.room.options.Grace - time.Second)
	s.room.tick()
	if s.withdrew {
		t.Fatal("withdrawn before the grace period ended")
	}
	sub = s.subscribe(&l, "USR-a", 0) // back again
	s.clock = s.clock.Add(time.Hour)
	s.room.tick()
	if s.withdrew {
		t.Fatal("withdrawn with a subscriber")
	}
	s.room.remove(sub)
	s.clock = s.clock.Add(s.room.options.Grace)
	s.room.tick()
	if !s.withdrew || !s.room.gone {
		t.Fatal("not withdrawn")
	}
}

func TestCatchingUpOfManyReadsOnce(t *testing.T) {
	o := DefaultOptions()
	o.RecentMax = 0
	s := newStage(t, o)
	for range 5 {
		s.commit("text", "USR-a")
	}
	listeners := make([]listener, 1000)
	for i := range listeners {
		s.subscribe(&listeners[i], "USR-a", 0)
	}
	s.asked = false
	s.room.registered(standing{head: s.head()}, nil)
	if len(s.fetches) != 1 {
		t.Fatalf("%d reads for 1000 subscribers", len(s.fetches))
	}
	s.settle(t)
	for i := range listeners {
		if got := listeners[i].text(); got != "1 2 3 4 5 " {
			t.Fatalf("got %q", got)
		}
	}
}

var _ socket.Task = (*room)(nil)
