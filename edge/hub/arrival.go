package hub

import (
	"encoding/json"

	"parley/edge/dialect"
	"parley/internal/invariant"
	nodev1 "parley/proto/node/v1"
)

// deliver takes one thing from the live path.
func (r *room) deliver(f *nodev1.Fanout) {
	switch b := f.Body.(type) {
	case *nodev1.Fanout_Event:
		r.arrive(b.Event)
	case *nodev1.Fanout_Soft:
		r.writer.broadcast(r, func(d dialect.Dialect, dst []byte) []byte { return d.Soft(dst, r.address.id, b.Soft) })
	case *nodev1.Fanout_Cursor:
		r.moved(f)
	case *nodev1.Fanout_Membership:
		r.writer.broadcast(r, func(d dialect.Dialect, dst []byte) []byte { return d.Membership(dst, b.Membership) })
		for _, s := range r.everyone() {
			if f, ok := s.to.(Follower); ok {
				f.Membership(b.Membership)
			}
		}
	case *nodev1.Fanout_Deleted:
		r.deleted()
		return
	}
	r.hear(f.Head)
}

// arrive takes an event of the live path, in whatever order.
func (r *room) arrive(v *nodev1.EventView) {
	sequence := v.GetEvent().GetSequence()
	switch {
	case r.known && sequence <= r.last:
		r.metrics.dropped.WithLabelValues("repeated").Inc()
		return
	case r.known && sequence == r.last+1 && !r.writer.full(r.options.RoomBytesMax):
		r.apply(v)
		r.drainHeld()
		return
	case len(r.held) < r.options.HeldMax:
		if r.held == nil {
			r.held = map[uint64]*nodev1.EventView{}
		}
		r.held[sequence] = v
	default:
		r.metrics.dropped.WithLabelValues("room_full").Inc()
	}
	r.hear(sequence)
}

// drainHeld applies what has waited for a gap to close.
func (r *room) drainHeld() {
	for len(r.held) > 0 && !r.writer.full(r.options.RoomBytesMax) {
		v := r.held[r.last+1]
		if v == nil {
			break
		}
		r.apply(v)
	}
	for sequence := range r.held {
		if sequence <= r.last {
			delete(r.held, sequence)
		}
	}
}

// apply moves the room by one event.
func (r *room) apply(v *nodev1.EventView) {
	sequence := v.GetEvent().GetSequence()
	invariant.That(sequence == r.last+1, "event %d after %d", sequence, r.last)
	r.last = sequence
	r.want = max(r.want, sequence)
	if v.GetEvent().GetType() == typeDelete {
		r.recent = after(r.recent, deletedBy(v))
	}
	r.remember(v)
	one := []*nodev1.EventView{v}
	r.writer.broadcast(r, func(d dialect.Dialect, dst []byte) []byte { return d.Events(dst, r.address.id, one) })
	if v.GetEvent().GetType() == typeLeft {
		for _, s := range r.writer.of(leaver(v)) {
			if leaving(one, s) >= 0 {
				r.end(s, dialect.Left)
			}
		}
	}
	waiting := r.ahead
	r.ahead = nil
	for _, s := range waiting {
		if r.reached(s) {
			r.admit(s)
		} else {
			r.ahead = append(r.ahead, s)
		}
	}
}

// remember keeps v among the recent events.
func (r *room) remember(v *nodev1.EventView) {
	if r.options.RecentMax == 0 {
		return
	}
	if len(r.recent) == r.options.RecentMax {
		copy(r.recent, r.recent[1:])
		r.recent = r.recent[:len(r.recent)-1]
	}
	r.recent = append(r.recent, v)
}

// deleted ends everything: the conversation or user is gone.
func (r *room) deleted() {
	for _, s := range r.everyone() {
		r.end(s, dialect.Deleted)
	}
}

// everyone lists the subscribers, the live ones first.
func (r *room) everyone() []*Subscription {
	all := append(r.writer.everyone(), r.ahead...)
	all = append(all, r.paused...)
	for _, from := range sortedKeys(r.fetches) {
		all = append(all, r.fetches[from].waiting...)
	}
	return all
}

// typeDelete is the event that says that another's body was emptied.
const typeDelete = "event:delete"

// deletedBy is the sequence of the event that an event:delete event is about. A body that cannot
// be read may mean any event before.
func deletedBy(v *nodev1.EventView) uint64 {
	var body struct {
		EventID uint64 `json:"event_id"`
	}
	if err := json.Unmarshal(v.GetEvent().GetBody(), &body); err != nil || body.EventID == 0 {
		return v.GetEvent().GetSequence()
	}
	return body.EventID
}

// after is what follows a sequence in events without holes.
func after(events []*nodev1.EventView, sequence uint64) []*nodev1.EventView {
	for i, v := range events {
		if v.GetEvent().GetSequence() > sequence {
			return events[i:]
		}
	}
	return nil
}

// typeLeft is the event that ends the subscriptions of its member's user.
const typeLeft = "member:left"

// leaving finds the event that ended s's right to read, -1 for none. What happened before the
// right was checked is old news.
func leaving(events []*nodev1.EventView, s *Subscription) int {
	for i, v := range events {
		e := v.GetEvent()
		if e.GetType() == typeLeft && e.GetSequence() > s.floor && leaver(v) == s.user {
			return i
		}
	}
	return -1
}

// leaver is the user that a member:left event is about: the one its body names, because an event
// of a kick may come from another.
func leaver(v *nodev1.EventView) string {
	var body struct {
		User struct {
			ID     string `json:"id"`
			UserID string `json:"user_id"`
		} `json:"user"`
	}
	// A body that cannot be read names nobody; the sender is the leaver then.
	if err := json.Unmarshal(v.GetEvent().GetBody(), &body); err == nil {
		if body.User.UserID != "" {
			return body.User.UserID
		}
		if body.User.ID != "" {
			return body.User.ID
		}
	}
	return v.GetEvent().GetFromUser()
}
