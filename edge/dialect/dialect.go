// Package dialect renders what happened in a conversation into the bytes of one client
// generation. A hub renders once per event and dialect, whatever the number of sockets, so
// nothing here may depend on who receives.
package dialect

import (
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// Dialect is one client generation's way to be told things. Every method appends complete
// frames, headers included, to dst and returns it. Implementations keep no state and are safe for
// use from any goroutine.
type Dialect interface {
	// Name labels metrics.
	Name() string
	// Events appends stored events of one conversation, sequences increasing.
	Events(dst []byte, conversation string, events []*nodev1.EventView) []byte
	// Soft appends an event that is not stored.
	Soft(dst []byte, conversation string, event *nodev1.EventView) []byte
	// Cursor appends how far a member has received and read.
	Cursor(dst []byte, conversation string, c *eventv1.Cursor) []byte
	// Membership appends a change of the receiving user's membership.
	Membership(dst []byte, m *nodev1.MembershipChange) []byte
	// Reset says that events up to head are not sent.
	Reset(dst []byte, conversation string, head uint64) []byte
	// Unsubscribed says that the server ended a subscription, and why.
	Unsubscribed(dst []byte, conversation string, reason Reason) []byte
}

// Reason says why the server ended a subscription.
type Reason string

// The reasons.
const (
	Left        Reason = "left"        // the user is no member any more
	Deleted     Reason = "deleted"     // the conversation is gone
	Forbidden   Reason = "forbidden"   // it may no longer be read
	Unavailable Reason = "unavailable" // it could not be kept up; subscribe again
)

// State is the wire form of a member's state.
func State(s eventv1.MemberState) string {
	switch s {
	case eventv1.MemberState_MEMBER_STATE_INVITED:
		return "INVITED"
	case eventv1.MemberState_MEMBER_STATE_JOINED:
		return "JOINED"
	case eventv1.MemberState_MEMBER_STATE_LEFT:
		return "LEFT"
	}
	return ""
}
