// Package nexmo renders events for the clients of the hosted Conversation API, one dialect for
// each generation of its SDKs: they crash on each other's payloads. A frame is a WebSocket text
// frame with one Engine.IO message that holds one Socket.IO event.
package nexmo

import (
	"hash/fnv"
	"strconv"
	"strings"

	"parley/edge/dialect"
	"parley/edge/engineio"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// Generation is a family of client SDKs that read events alike.
type Generation uint8

// The generations, oldest first.
const (
	Conversation Generation = iota // nexmo-conversation 0.1, and the mobile SDKs of its time
	Stitch                         // nexmo-stitch 2-3, nexmo-client 4
	Client                         // nexmo-client 5-9
	SDK                            // @vonage/client-sdk
)

// String names the generation in metrics and logs.
func (g Generation) String() string {
	return [...]string{"nexmo-conversation", "nexmo-stitch", "nexmo-client", "client-sdk"}[g]
}

// GenerationOf tells a generation by the version that a client gives of itself at login. What is
// not known is taken for the oldest, which has the smallest payloads.
func GenerationOf(version string) Generation {
	major, _, _ := strings.Cut(version, ".")
	switch n, err := strconv.Atoi(major); {
	case err != nil || n < 1:
		return Conversation
	case n < 5:
		return Stitch
	default:
		return Client
	}
}

// Dialect is a generation's way to be told things.
type Dialect struct {
	Generation Generation
	Acks       bool // stored events ask for an acknowledgement
}

var _ dialect.Dialect = Dialect{}

// Name implements dialect.Dialect.
func (d Dialect) Name() string { return d.Generation.String() }

// Events implements dialect.Dialect.
func (d Dialect) Events(dst []byte, conversation string, events []*nodev1.EventView) []byte {
	for _, v := range events {
		dst = d.push(dst, conversation, v)
	}
	return dst
}

// Soft implements dialect.Dialect. What is not stored has no id: clients order by it.
func (d Dialect) Soft(dst []byte, conversation string, event *nodev1.EventView) []byte {
	return d.push(dst, conversation, event)
}

// Cursor implements dialect.Dialect. No SDK of the hosted API knows aggregated receipts; while
// few members are joined each receipt is an event besides.
func (d Dialect) Cursor(dst []byte, _ string, _ *eventv1.Cursor) []byte { return dst }

// Membership implements dialect.Dialect. The session follows its user's joined conversations, and
// hears there of everything but what happens before it joins: that it is invited, and that an
// invitation ends.
func (d Dialect) Membership(dst []byte, m *nodev1.MembershipChange) []byte {
	e := m.GetEvent().GetEvent()
	if e == nil || m.GetMembership().GetConversationDeleted() {
		return dst
	}
	switch m.GetMembership().GetState() {
	case eventv1.MemberState_MEMBER_STATE_INVITED:
	case eventv1.MemberState_MEMBER_STATE_LEFT:
		if m.GetMembership().GetJoinedMs() != 0 {
			return dst
		}
	default:
		return dst
	}
	return d.push(dst, m.GetMembership().GetConversationId(), m.GetEvent())
}

// Reset implements dialect.Dialect. The SDKs find a gap by the ids, and fetch it.
func (d Dialect) Reset(dst []byte, _ string, _ uint64) []byte { return dst }

// Unsubscribed implements dialect.Dialect. The event that ended it has been told.
func (d Dialect) Unsubscribed(dst []byte, _ string, _ dialect.Reason) []byte { return dst }

// push appends one event as a frame, or nothing if the generation cannot read its type.
func (d Dialect) push(dst []byte, conversation string, v *nodev1.EventView) []byte {
	eventType, body, ok := d.Generation.read(v.GetEvent())
	if !ok {
		return dst
	}
	return engineio.AppendMessage(dst, func(dst []byte) []byte {
		dst = append(dst, '2')
		if sequence := v.GetEvent().GetSequence(); d.Acks && sequence != 0 {
			dst = strconv.AppendUint(dst, AckID(conversation, sequence), 10)
		}
		dst = append(dst, '[')
		dst = appendString(dst, eventType)
		dst = append(dst, ',')
		dst = d.Generation.appendPushed(dst, conversation, v, body)
		return append(dst, ']')
	})
}

// An acknowledgement names its event by the low 32 bits of its sequence and 20 bits of a hash of
// its conversation: together an integer that JavaScript can hold. All sockets of a dialect share
// the frame that asks for it.
const sequenceBits = 32

// AckID is the number by which a client acknowledges an event.
func AckID(conversation string, sequence uint64) uint64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(conversation)) // a hash never fails
	return uint64(h.Sum32()&(1<<20-1))<<sequenceBits | sequence&(1<<sequenceBits-1)
}

// SplitAck gives the sequence behind an acknowledgement, and what is the same for all of its
// conversation: AckID of sequence 0. Two conversations may have it in common.
func SplitAck(ack uint64) (conversation, sequence uint64) {
	sequence = ack & (1<<sequenceBits - 1)
	return ack - sequence, sequence
}
