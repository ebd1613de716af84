package hub

import (
	"sync"

	nodev1 "parley/proto/node/v1"
)

// Line orders the subscriptions of one connection that are behind: one page at a time, of each in
// turn, so that what waits for a connection and what is read for it stay small however many
// conversations it missed. The zero Line is empty.
type Line struct {
	mu      sync.Mutex
	turn    *Subscription   // guarded by mu; the next page is its; nil = nobody is behind
	waiting []*Subscription // guarded by mu; bounded by the connection's subscriptions
}

// enter lines s up.
func (l *Line) enter(s *Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turn == nil {
		l.turn = s
		return
	}
	l.waiting = append(l.waiting, s)
}

// first says whether it is the turn of s.
func (l *Line) first(s *Subscription) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.turn == s
}

// leave takes s out, and gives whose turn it became; nil = nobody's.
func (l *Line) leave(s *Subscription) *Subscription {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turn != s {
		l.waiting = without(l.waiting, s)
		return nil
	}
	l.turn = nil
	if len(l.waiting) > 0 {
		l.turn = l.waiting[0]
		l.waiting[0] = nil
		l.waiting = l.waiting[1:]
	}
	return l.turn
}

// mayCatchUp says whether s may have its next page. If not, resume comes when it may.
func (r *room) mayCatchUp(s *Subscription) bool {
	p, ok := s.to.(Paced)
	if !ok {
		return true
	}
	if !s.line {
		s.line = true
		p.Line().enter(s)
	}
	return p.Line().first(s) && p.Offer(nil, s.ready)
}

// leaveLine ends the turn of s, or its waiting for it.
func (r *room) leaveLine(s *Subscription) {
	if !s.line {
		return
	}
	s.line = false
	if next := s.to.(Paced).Line().leave(s); next != nil {
		r.world.resume(next)
	}
}

// ready is called by the connection of s.
func (s *Subscription) ready() { s.room.world.resume(s) }

// sendPage sends a page unless the connection is not ready for it; ready is called then.
func (s *Subscription) sendPage(frames []byte) bool {
	if p, ok := s.to.(Paced); ok {
		return p.Offer(frames, s.ready)
	}
	s.to.Send(frames)
	return true
}

// pause has s wait for its connection.
func (r *room) pause(s *Subscription) {
	r.paused = append(r.paused, s)
	s.rest = len(r.paused)
	r.metrics.paused.Inc()
}

// unpause takes s from those who wait for their connection, if it is one, and says so.
func (r *room) unpause(s *Subscription) bool {
	if s.rest == 0 {
		return false
	}
	end := len(r.paused) - 1
	last := r.paused[end]
	r.paused[s.rest-1], last.rest = last, s.rest
	r.paused[end] = nil
	r.paused = r.paused[:end]
	s.rest = 0
	r.metrics.paused.Dec()
	return true
}

// resume goes on with s, for which its connection, or its turn, has come. It may be late or
// repeated.
func (r *room) resume(s *Subscription) {
	if r.unpause(s) {
		r.admit(s)
	}
}

// firstPage is the beginning of events that one page may hold: at least one.
func (r *room) firstPage(events []*nodev1.EventView) []*nodev1.EventView {
	bytes := uint64(0)
	for i, v := range events {
		bytes += uint64(v.SizeVT())
		if i > 0 && bytes > r.options.PageBytes {
			return events[:i]
		}
	}
	return events
}
