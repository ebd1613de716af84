package hub

import (
	"time"

	"parley/edge/dialect"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// tide is what a large conversation's listeners are still to be told of its members' cursors.
//
// In a small conversation each cursor is told to everybody. In one of thousands every member moves its own
// with every text, and each of them to each other would be millions. So everybody is told the furthest that
// anyone has come, and each user's own connections are told that user's cursor, by which they learn what
// another device has read: both at most once in Options.CursorsEvery, whatever moves in between.
type tide struct {
	furthest eventv1.Cursor             // of anyone, without a member
	risen    bool                       // since everybody was told
	own      map[string]*eventv1.Cursor // by user; those that have moved since their users were told
	at       time.Time                  // when all that is told; zero = there is nothing to tell
}

// ownCursorsMax bounds the cursors of one conversation that wait to be told.
const ownCursorsMax = 64 << 10

// moved takes a cursor from the live path.
func (r *room) moved(f *nodev1.Fanout) {
	c := f.GetCursor()
	if f.User == "" { // only a large conversation says whose it is
		r.tell(c)
		return
	}
	t := &r.tide
	if c.Delivered > t.furthest.Delivered || c.Seen > t.furthest.Seen {
		t.risen = true
		t.furthest.Delivered, t.furthest.Seen = max(t.furthest.Delivered, c.Delivered), max(t.furthest.Seen, c.Seen)
	}
	switch {
	case t.own == nil:
		t.own = map[string]*eventv1.Cursor{f.User: c}
	case t.own[f.User] != nil || len(t.own) < ownCursorsMax:
		t.own[f.User] = c // what is told later of a member is further
	default:
		r.metrics.dropped.WithLabelValues("cursors_full").Inc()
	}
	if t.at.IsZero() {
		t.at = r.world.now().Add(r.options.CursorsEvery)
		r.world.wake(r, r.options.CursorsEvery)
	}
}

// tell tells everybody a cursor.
func (r *room) tell(c *eventv1.Cursor) {
	r.writer.broadcast(r, func(d dialect.Dialect, dst []byte) []byte { return d.Cursor(dst, r.address.id, c) })
}

// tellCursors tells what the tide has brought, if the time for it has come.
func (r *room) tellCursors() {
	t := &r.tide
	if t.at.IsZero() {
		return
	}
	if rest := t.at.Sub(r.world.now()); rest > 0 {
		r.world.wake(r, rest)
		return
	}
	own, risen := t.own, t.risen
	t.own, t.risen, t.at = nil, false, time.Time{}
	if risen {
		r.tell(&t.furthest)
	}
	for _, s := range r.writer.everyone() {
		c := own[s.user]
		if c == nil {
			continue
		}
		if frame := s.dialect.Cursor(nil, r.address.id, c); len(frame) > 0 {
			s.to.Send(frame)
		}
	}
}
