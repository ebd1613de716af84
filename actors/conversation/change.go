package conversation

import (
	"encoding/binary"

	"parley/actors/conversation/row"
	"parley/persistence/keys"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
)

// change is one thing that a decision changes: it knows its rows and its effect on the view, so
// that what is folded in memory and what is loaded from disk are the same.
type change interface {
	encode(w Rows, ops []store.Op) []store.Op
	fold(v *view)
}

// folded is what Evolve gets: the changes and the head after them.
type folded struct {
	changes []change
	head    head
}

type (
	metadataChanged struct{ meta *eventv1.Conversation }
	listed          struct{ createdMs int64 }
	unlisted        struct{ createdMs int64 }
	eventStored     struct{ event *eventv1.Event } // also an event that was emptied
	memberChanged   struct{ member *eventv1.Member }
	memberAdded     struct{ member *eventv1.Member }
	clientAnswered  struct {
		client   client
		sequence uint64
	}
	receiptStored struct {
		sequence uint64
		receipt  *eventv1.Receipt
	}
	cursorMoved struct{ cursor *eventv1.Cursor }
	rowsPurged  struct{}
)

func (c metadataChanged) encode(w Rows, ops []store.Op) []store.Op {
	return append(ops, row.Put(keys.Conversation(w.Shard, w.App, w.Conversation), c.meta))
}
func (c metadataChanged) fold(v *view) { v.meta = c.meta }

func (c listed) encode(w Rows, ops []store.Op) []store.Op {
	return append(ops, store.Put(keys.Listed(w.Shard, w.App, keys.KindConversation, c.createdMs, w.Conversation), nil))
}
func (c listed) fold(*view) {}

func (c unlisted) encode(w Rows, ops []store.Op) []store.Op {
	return append(ops, store.Delete(keys.Listed(w.Shard, w.App, keys.KindConversation, c.createdMs, w.Conversation)))
}
func (c unlisted) fold(*view) {}

func (c eventStored) encode(w Rows, ops []store.Op) []store.Op {
	return append(ops, row.Put(keys.Event(w.Shard, w.App, w.Conversation, c.event.Sequence), c.event))
}
func (c eventStored) fold(v *view) { v.events[c.event.Sequence] = c.event }

func (c memberChanged) encode(w Rows, ops []store.Op) []store.Op {
	return append(ops, row.Put(keys.Member(w.Shard, w.App, w.Conversation, row.UUID(id.Member, c.member.Id)), c.member))
}
func (c memberChanged) fold(v *view) { v.members[c.member.Id] = c.member }

func (c memberAdded) encode(w Rows, ops []store.Op) []store.Op {
	member, user := row.UUID(id.Member, c.member.Id), row.UUID(id.User, c.member.User.UserId)
	return append(memberChanged(c).encode(w, ops),
		store.Put(keys.MemberOrder(w.Shard, w.App, w.Conversation, c.member.Ordinal), member[:]),
		store.Put(keys.MemberOfUser(w.Shard, w.App, w.Conversation, user), member[:]))
}

func (c memberAdded) fold(v *view) {
	memberChanged(c).fold(v)
	v.newest[c.member.User.UserId] = c.member.Id
}

func (c clientAnswered) encode(w Rows, ops []store.Op) []store.Op {
	key := w.dedupKey(c.client.user, c.client.id)
	return append(ops, store.Put(key, binary.BigEndian.AppendUint64(nil, c.sequence)))
}

func (c clientAnswered) fold(v *view) {
	v.firsts[c.client] = first{sequence: c.sequence, pending: true}
}

func (c receiptStored) encode(w Rows, ops []store.Op) []store.Op {
	member := row.UUID(id.Member, c.receipt.MemberId)
	return append(ops, row.Put(keys.Receipt(w.Shard, w.App, w.Conversation, c.sequence, member), c.receipt))
}

func (c receiptStored) fold(v *view) {
	v.receipts[receiptOf{c.sequence, c.receipt.MemberId}] = c.receipt
}

func (c cursorMoved) encode(w Rows, ops []store.Op) []store.Op {
	member := row.UUID(id.Member, c.cursor.MemberId)
	return append(ops, row.Put(keys.Cursor(w.Shard, w.App, w.Conversation, member), c.cursor))
}
func (c cursorMoved) fold(v *view) { v.cursors[c.cursor.MemberId] = c.cursor }

func (rowsPurged) encode(w Rows, ops []store.Op) []store.Op {
	for _, prefix := range keys.ConversationPrefixes(w.Shard, w.App, w.Conversation) {
		ops = append(ops, store.DeleteRange(prefix, keys.End(prefix)))
	}
	return ops
}

func (rowsPurged) fold(v *view) {
	meta, head := v.meta, v.head
	*v = *newView()
	v.meta, v.head = meta, head
}
