package conversation

import (
	eventv1 "parley/proto/event/v1"
)

// head is the hot part of a conversation, as a value.
type head struct {
	sequence    uint64 // last event
	timestampMs int64  // of the last event
	joined      uint64 // members in state JOINED
	members     uint64 // members ever
}

func (h head) message() *eventv1.Head {
	return &eventv1.Head{Sequence: h.sequence, TimestampMs: h.timestampMs, Joined: h.joined, Members: h.members}
}

// view is what a conversation knows at the moment: metadata, head, and the rows that the commands
// of the batch name. A row in a map is known; nil (or empty) there means known to be absent. The
// messages are never changed, only replaced: replies and fan-out share them.
type view struct {
	meta *eventv1.Conversation // nil = never heard of
	head head

	members  map[string]*eventv1.Member // by id
	newest   map[string]string          // user -> id of its newest member
	events   map[uint64]*eventv1.Event
	firsts   map[client]first
	receipts map[receiptOf]*eventv1.Receipt
	cursors  map[string]*eventv1.Cursor // by member

	purge     []*eventv1.Member // the members that the step at hand tells
	announced []*eventv1.Member // likewise, of an import
}

// client names a client id within its scope.
type client struct{ user, id string }

// first is what a client id led to. pending: decided in the batch at hand, not yet committed.
type first struct {
	sequence uint64
	pending  bool
}

type receiptOf struct {
	sequence uint64
	member   string
}

func newView() *view {
	return &view{
		members: map[string]*eventv1.Member{}, newest: map[string]string{},
		events: map[uint64]*eventv1.Event{}, firsts: map[client]first{},
		receipts: map[receiptOf]*eventv1.Receipt{}, cursors: map[string]*eventv1.Cursor{},
	}
}

func (v *view) active() bool {
	return v.meta != nil && v.meta.State == eventv1.ConversationState_CONVERSATION_STATE_ACTIVE
}

// memberOf is the user's newest member; nil when it never had one, or nobody asks.
func (v *view) memberOf(user string) *eventv1.Member {
	if user == "" {
		return nil
	}
	return v.members[v.newest[user]]
}

// settle forgets what was kept for the batch. Members stay while they are few: those who talk
// are those who talked.
func (v *view) settle() {
	v.events, v.firsts = emptied(v.events), emptied(v.firsts)
	v.receipts, v.cursors = emptied(v.receipts), emptied(v.cursors)
	v.purge, v.announced = nil, nil
	if len(v.members) > membersCached || len(v.newest) > membersCached {
		v.members, v.newest = emptied(v.members), emptied(v.newest)
	}
}

// emptied clears a map, and gives a grown one back to the collector: buckets never shrink.
func emptied[K comparable, V any](m map[K]V) map[K]V {
	if len(m) > membersCached {
		return map[K]V{}
	}
	clear(m)
	return m
}
