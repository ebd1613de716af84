package dialect

import (
	"parley/edge/socket"
	clientv1 "parley/proto/client/v1"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// Native is a dialect of the native protocol, which also encodes the frames of one connection.
type Native interface {
	Dialect
	// Frame appends any server frame.
	Frame(dst []byte, f *clientv1.ServerFrame) []byte
}

// JSON is the subprotocol parley.v1.json.
type JSON struct{}

// Proto is the subprotocol parley.v1.proto.
type Proto struct{}

// Event is the wire form of a stored event.
func Event(v *nodev1.EventView) *clientv1.Event {
	e := v.GetEvent()
	out := &clientv1.Event{
		Sequence: e.GetSequence(), Type: e.GetType(), From: e.GetFromMember(), To: e.GetTo(), Body: e.GetBody(),
		TimestampMs: e.GetTimestampMs(), ClientId: e.GetClientId(), DeletedMs: e.GetDeletedMs(), User: User(v.GetAuthor()),
	}
	for _, r := range v.GetReceipts() {
		out.Receipts = append(out.Receipts, &clientv1.ReceiptState{
			Member: r.GetMemberId(), DeliveredMs: r.GetDeliveredMs(), SeenMs: r.GetSeenMs()})
	}
	return out
}

// User is the wire form of an author, nil for none.
func User(a *eventv1.Author) *clientv1.User {
	if a.GetUserId() == "" {
		return nil
	}
	return &clientv1.User{Id: a.GetUserId(), Name: a.GetName(), DisplayName: a.GetDisplayName(), ImageUrl: a.GetImageUrl()}
}

// Member is the wire form of a member, nil for none.
func Member(m *eventv1.Member) *clientv1.Member {
	if m == nil {
		return nil
	}
	return &clientv1.Member{Id: m.GetId(), State: State(m.GetState()), User: User(m.GetUser())}
}

// eventsFrame, softFrame and so on build what both encodings say.
func eventsFrame(conversation string, views []*nodev1.EventView) *clientv1.ServerFrame {
	events := make([]*clientv1.Event, len(views))
	for i, v := range views {
		events[i] = Event(v)
	}
	return &clientv1.ServerFrame{Body: &clientv1.ServerFrame_Events{
		Events: &clientv1.Events{Conversation: conversation, Events: events}}}
}

func softFrame(conversation string, v *nodev1.EventView) *clientv1.ServerFrame {
	e := v.GetEvent()
	return &clientv1.ServerFrame{Body: &clientv1.ServerFrame_Soft{Soft: &clientv1.Soft{
		Conversation: conversation, EventType: e.GetType(), From: e.GetFromMember(), User: User(v.GetAuthor()),
		Body: e.GetBody(), TimestampMs: e.GetTimestampMs()}}}
}

func cursorFrame(conversation string, c *eventv1.Cursor) *clientv1.ServerFrame {
	one := &clientv1.Cursor{Member: c.GetMemberId(), Delivered: c.GetDelivered(), Seen: c.GetSeen()}
	return &clientv1.ServerFrame{Body: &clientv1.ServerFrame_Cursors{
		Cursors: &clientv1.Cursors{Conversation: conversation, Cursors: []*clientv1.Cursor{one}}}}
}

func membershipFrame(c *nodev1.MembershipChange) *clientv1.ServerFrame {
	m := c.GetMembership()
	out := &clientv1.Membership{Conversation: m.GetConversationId(), State: State(m.GetState()),
		Member: m.GetMemberId(), Deleted: m.GetConversationDeleted()}
	if c.GetEvent().GetEvent() != nil {
		out.Event = Event(c.GetEvent())
	}
	return &clientv1.ServerFrame{Body: &clientv1.ServerFrame_Membership{Membership: out}}
}

func resetFrame(conversation string, head uint64) *clientv1.ServerFrame {
	return &clientv1.ServerFrame{Body: &clientv1.ServerFrame_Reset_{
		Reset_: &clientv1.Reset{Conversation: conversation, Head: head}}}
}

func unsubscribedFrame(conversation string, r Reason) *clientv1.ServerFrame {
	return &clientv1.ServerFrame{Body: &clientv1.ServerFrame_Unsubscribed{
		Unsubscribed: &clientv1.Unsubscribed{Conversation: conversation, Reason: string(r)}}}
}

// Name implements Dialect.
func (Proto) Name() string { return "parley.v1.proto" }

// Frame implements Native.
func (Proto) Frame(dst []byte, f *clientv1.ServerFrame) []byte {
	n := f.SizeVT()
	dst = socket.AppendHeader(dst, socket.Binary, n)
	at := len(dst)
	dst = append(dst, make([]byte, n)...)
	if _, err := f.MarshalToSizedBufferVT(dst[at:]); err != nil {
		panic(err) // only invalid UTF-8 or a wrong size could: neither comes from a decoded frame
	}
	return dst
}

// Events implements Dialect.
func (d Proto) Events(dst []byte, conversation string, events []*nodev1.EventView) []byte {
	return d.Frame(dst, eventsFrame(conversation, events))
}

// Soft implements Dialect.
func (d Proto) Soft(dst []byte, conversation string, event *nodev1.EventView) []byte {
	return d.Frame(dst, softFrame(conversation, event))
}

// Cursor implements Dialect.
func (d Proto) Cursor(dst []byte, conversation string, c *eventv1.Cursor) []byte {
	return d.Frame(dst, cursorFrame(conversation, c))
}

// Membership implements Dialect.
func (d Proto) Membership(dst []byte, m *nodev1.MembershipChange) []byte {
	return d.Frame(dst, membershipFrame(m))
}

// Reset implements Dialect.
func (d Proto) Reset(dst []byte, conversation string, head uint64) []byte {
	return d.Frame(dst, resetFrame(conversation, head))
}

// Unsubscribed implements Dialect.
func (d Proto) Unsubscribed(dst []byte, conversation string, r Reason) []byte {
	return d.Frame(dst, unsubscribedFrame(conversation, r))
}
