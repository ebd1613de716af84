package hub

import (
	"fmt"
	"testing"

	nodev1 "parley/proto/node/v1"
)

// link is a connection that takes a few pages and then no more, until it is drained by hand.
type link struct {
	pages   int // most that may wait
	waiting int
	ready   []func()
	line    Line
}

// drain empties the queue, and says whether anybody waited for that.
func (n *link) drain() bool {
	ready := n.ready
	n.waiting, n.ready = 0, nil
	for _, f := range ready {
		f()
	}
	return len(ready) > 0
}

// paced is a subscriber behind a link, which other subscribers may share.
type paced struct {
	*listener
	link *link
}

func (p *paced) Line() *Line { return &p.link.line }

func (p *paced) Offer(frames []byte, ready func()) bool {
	if p.link.waiting >= p.link.pages {
		p.link.ready = append(p.link.ready, ready)
		return false
	}
	if len(frames) > 0 {
		p.link.waiting++
		p.words = append(p.words, frames...)
	}
	return true
}

// behind subscribes from the beginning on over n.
func (s *stage) behind(l *listener, n *link) *Subscription {
	sub := &Subscription{user: "USR-b", dialect: plain{}, to: &paced{l, n}, floor: s.head(), next: 1, at: -1, room: s.room}
	s.room.subscribe(sub)
	return sub
}

// TestPagesComeAtThePeersPace: no page is sent, nor read, before the one before has left; what is
// said live meanwhile does not go to who is behind, and comes in its pages.
func TestPagesComeAtThePeersPace(t *testing.T) {
	for name, recent := range map[string]int{"from memory": 1000, "read": 0} {
		t.Run(name, func(t *testing.T) {
			o := DefaultOptions()
			o.RecentMax = recent
			o.PageBytes = uint64((&nodev1.EventView{Event: newStage(t, o).commit("text", "USR-a").Event}).SizeVT()*7 + 6)
			s := newStage(t, o)
			var ann, bob listener
			s.subscribe(&ann, "USR-a", 0)
			s.settle(t)
			const behind = 70
			for range behind {
				s.room.deliver(item(s.commit("text", "USR-a")))
				s.settle(t)
			}
			n := &link{pages: 1}
			s.behind(&bob, n)
			for page := range behind / 7 {
				s.settle(t)
				if got, want := bob.text(), dense(0, uint64(page+1)*7); got != want {
					t.Fatalf("after page %d: got %q, want %q", page, got, want)
				}
				if len(s.fetches) > 0 || len(s.room.fetches) > 0 {
					t.Fatal("a page is read that cannot be sent")
				}
				if page < behind/7-1 {
					s.room.deliver(&nodev1.Fanout{Head: s.head(), Body: &nodev1.Fanout_Soft{Soft: s.log[0]}})
				}
				n.drain()
			}
			s.settle(t)
			s.room.deliver(item(s.commit("text", "USR-a")))
			s.settle(t)
			if got, want := bob.text(), dense(0, behind+1); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if n.line.turn != nil || len(n.line.waiting) > 0 || len(s.room.paused) > 0 {
				t.Error("a live subscription stands in line")
			}
		})
	}
}

// TestOneConnectionIsBehindInManyPlaces: its subscriptions take turns, one page waits at a time,
// and one that ends in line or in its turn holds up nobody.
func TestOneConnectionIsBehindInManyPlaces(t *testing.T) {
	o := DefaultOptions()
	o.RecentMax = 0
	s := newStage(t, o)
	for range 21 {
		s.commit("text", "USR-a")
	}
	n := &link{pages: 1}
	ears := make([]listener, 5)
	var subs []*Subscription
	for i := range ears {
		subs = append(subs, s.behind(&ears[i], n))
	}
	s.settle(t)
	got := func() (list string) {
		for i := range ears {
			list += fmt.Sprint(len(ears[i].words)/2, " ")
		}
		return list
	}
	if got() != "7 0 0 0 0 " {
		t.Fatalf("one page each in turn: %s", got())
	}
	s.room.remove(subs[2]) // waits for its turn
	n.drain()
	s.settle(t)
	if got() != "7 7 0 0 0 " {
		t.Fatalf("one page each in turn: %s", got())
	}
	s.room.remove(subs[3]) // has its turn, and waits for the connection
	for range 100 {
		n.drain()
		s.settle(t)
	}
	for _, i := range []int{0, 1, 4} {
		if ears[i].text() != dense(0, 21) {
			t.Errorf("%d got %q", i, ears[i].text())
		}
	}
	if n.line.turn != nil || len(s.room.paused) > 0 {
		t.Error("somebody waits for ever")
	}
}

// TestAShardThatDoesNotAnswerHoldsUpItsOwnOnly: the turn goes on when a page cannot be read.
func TestAShardThatDoesNotAnswerHoldsUpItsOwnOnly(t *testing.T) {
	o := DefaultOptions()
	o.RecentMax = 0
	lost, fine := newStage(t, o), newStage(t, o)
	n := &link{pages: 1}
	var a, b listener
	for _, s := range []*stage{lost, fine} {
		s.commit("text", "USR-a")
	}
	lost.behind(&a, n)
	fine.behind(&b, n)
	lost.room.registered(standing{head: 1}, nil)
	fine.settle(t)
	if b.text() != "" {
		t.Fatalf("out of turn: %q", b.text())
	}
	lost.answerFetch(0, 7, true)
	fine.turns, lost.turns = lost.turns, nil // whose world is asked does not matter
	fine.settle(t)
	if b.text() != "1 " {
		t.Errorf("got %q", b.text())
	}
	n.drain()
	lost.settle(t)
	if a.text() != "1 " {
		t.Errorf("got %q once it could be read", a.text())
	}
}

// TestAPageFromMemoryIsBounded: the newest events are at hand, but not sent all at once.
func TestAPageFromMemoryIsBounded(t *testing.T) {
	o := DefaultOptions()
	o.PageBytes = 1
	s := newStage(t, o)
	page := s.room.firstPage(nil)
	if len(page) != 0 {
		t.Errorf("%d events of none", len(page))
	}
	for range 3 {
		s.commit("text", "USR-a")
	}
	if page = s.room.firstPage(s.log); len(page) != 1 {
		t.Errorf("%d events, want the one that a page has at least", len(page))
	}
	s.room.options.PageBytes = uint64(s.log[0].SizeVT() + s.log[1].SizeVT())
	if page = s.room.firstPage(s.log); len(page) != 2 {
		t.Errorf("%d events, want the two that fit", len(page))
	}
}
