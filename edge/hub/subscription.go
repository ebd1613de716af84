package hub

import (
	"sync/atomic"

	"parley/edge/dialect"
)

// Subscription is one connection's wish to hear a room.
type Subscription struct {
	// Fixed at Subscribe.
	room    *room
	user    string
	dialect dialect.Dialect
	to      Subscriber
	floor   uint64 // head at the check: leavings and deletions up to it are old news

	// Read by passes without the room's lock: nothing more may be sent.
	ended atomic.Bool

	// Guarded by room.mu.
	next uint64 // first sequence not yet sent, while not live
	at   int    // place among the live of its dialect, -1 = not live
	rest int    // place among the paused plus one, 0 = not paused
	line bool   // stands in its connection's line, or has its turn
	out  bool   // removed from the room
	why  dialect.Reason
}

// Conversation is the id of what s hears: CON-… or USR-….
func (s *Subscription) Conversation() string { return s.room.address.id }

// Why is the reason for which the server ended s. It is known from Ended on.
func (s *Subscription) Why() dialect.Reason { return s.why }

// missed tells a follower that it may not know all.
func (s *Subscription) missed() {
	if f, ok := s.to.(Follower); ok {
		f.Missed()
	}
}

// Over says whether nothing more will be sent: the server ended s, or it was unsubscribed.
func (s *Subscription) Over() bool { return s.ended.Load() }
