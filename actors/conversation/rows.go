package conversation

import (
	"encoding/binary"
	"fmt"

	"parley/actors/conversation/row"
	"parley/actors/grain"
	"parley/persistence/keys"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
)

// Rows names the rows of one conversation and reads them. It is used by the conversation itself
// and by queries.
type Rows struct {
	Shard        keys.Shard
	App          keys.UUID
	Conversation keys.UUID
}

// RowsOf gives the rows of e, or ok=false when no such conversation can exist: its id or its
// application is malformed.
func RowsOf(e grain.Entity) (rows Rows, ok bool) {
	app, errApp := id.Parse(id.Application, e.Application)
	con, errCon := id.Parse(id.Conversation, e.ID)
	return Rows{Shard: e.Shard, App: app, Conversation: con}, errApp == nil && errCon == nil
}

// Metadata reads the conversation's own row; nil when it was never heard of.
func (w Rows) Metadata(r store.Reader) (*eventv1.Conversation, error) {
	return row.Find[eventv1.Conversation](r, keys.Conversation(w.Shard, w.App, w.Conversation))
}

// headRevision is what stands before the kind's own part of a head row.
const headRevision = 8

// Head reads the conversation's head; an empty one when it has none.
func (w Rows) Head(r store.Reader) (*eventv1.Head, error) {
	head, _, err := w.HeadAt(r)
	return head, err
}

// HeadAt is Head with its revision, which rises with every change of the conversation: rows that were read
// between two reads of the same revision are of one moment.
func (w Rows) HeadAt(r store.Reader) (*eventv1.Head, uint64, error) {
	key := keys.Head(w.Shard, w.App, w.Conversation, keys.KindConversation)
	value, ok, err := r.Get(key)
	head := &eventv1.Head{}
	if err != nil || !ok {
		return head, 0, err
	}
	if len(value) < headRevision {
		return nil, 0, fmt.Errorf("row %x: %d bytes", key, len(value))
	}
	return head, binary.BigEndian.Uint64(value), head.UnmarshalVT(value[headRevision:])
}

// Member reads a member by its id; nil when there is none or the id is malformed.
func (w Rows) Member(r store.Reader, member string) (*eventv1.Member, error) {
	u, err := id.Parse(id.Member, member)
	if err != nil {
		return nil, nil
	}
	return row.Find[eventv1.Member](r, keys.Member(w.Shard, w.App, w.Conversation, u))
}

// MemberOfUser reads the id of a user's newest member; empty when it never had one.
func (w Rows) MemberOfUser(r store.Reader, user string) (member string, err error) {
	u, err := id.Parse(id.User, user)
	if err != nil {
		return "", nil
	}
	value, ok, err := r.Get(keys.MemberOfUser(w.Shard, w.App, w.Conversation, u))
	if err != nil || !ok {
		return "", err
	}
	return memberID(value)
}

// Members visits members in the order of their joining or invitation, those with an ordinal in
// [first, last], until visit says stop.
func (w Rows) Members(r store.Reader, first, last uint64, reverse bool, visit func(*eventv1.Member) (more bool)) error {
	lo := keys.MemberOrder(w.Shard, w.App, w.Conversation, first)
	hi := keys.End(keys.MemberOrder(w.Shard, w.App, w.Conversation, last))
	return r.Scan(lo, hi, reverse, func(key, value []byte) (bool, error) {
		m, err := w.MemberAt(r, value)
		if err != nil {
			return false, fmt.Errorf("row %x: %w", key, err)
		}
		return m == nil || visit(m), nil
	})
}

// MemberOrders and Events are the prefixes of the rows by ordinal and by sequence, which stand in
// the last 8 bytes of their keys, big endian.
func (w Rows) MemberOrders() []byte {
	key := keys.MemberOrder(w.Shard, w.App, w.Conversation, 0)
	return key[:len(key)-8]
}

// Events is described at MemberOrders.
func (w Rows) Events() []byte {
	key := keys.Event(w.Shard, w.App, w.Conversation, 0)
	return key[:len(key)-8]
}

// MemberAt reads the member that a MemberOrder row's value names.
func (w Rows) MemberAt(r store.Reader, value []byte) (*eventv1.Member, error) {
	member, err := memberID(value)
	if err != nil {
		return nil, err
	}
	return w.Member(r, member)
}

// Receipts reads all receipts of one event, by member id.
func (w Rows) Receipts(r store.Reader, sequence uint64) ([]*eventv1.Receipt, error) {
	return row.All[eventv1.Receipt](r, keys.Receipts(w.Shard, w.App, w.Conversation, sequence))
}

// Event reads one event; nil when there is none.
func (w Rows) Event(r store.Reader, sequence uint64) (*eventv1.Event, error) {
	return row.Find[eventv1.Event](r, keys.Event(w.Shard, w.App, w.Conversation, sequence))
}

// Receipt reads one member's receipt of one event; an empty one when there is none.
func (w Rows) Receipt(r store.Reader, sequence uint64, member string) (*eventv1.Receipt, error) {
	receipt := &eventv1.Receipt{MemberId: member}
	u, err := id.Parse(id.Member, member)
	if err != nil {
		return receipt, nil
	}
	_, err = row.Read(r, keys.Receipt(w.Shard, w.App, w.Conversation, sequence, u), receipt)
	return receipt, err
}

// Cursor reads how far a member has received and read; zero when it has not.
func (w Rows) Cursor(r store.Reader, member string) (*eventv1.Cursor, error) {
	cursor := &eventv1.Cursor{MemberId: member}
	u, err := id.Parse(id.Member, member)
	if err != nil {
		return cursor, nil
	}
	_, err = row.Read(r, keys.Cursor(w.Shard, w.App, w.Conversation, u), cursor)
	return cursor, err
}

// first reads the sequence that a client id's first result has; 0 when it has none.
func (w Rows) first(r store.Reader, user, client string) (uint64, error) {
	value, ok, err := r.Get(w.dedupKey(user, client))
	if err != nil || !ok {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("dedup row has %d bytes", len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

// dedupKey is the row of a client id. Administrators, who are no user, share the zero id.
func (w Rows) dedupKey(user, client string) []byte {
	u, err := id.Parse(id.User, user)
	if err != nil {
		u = keys.UUID{}
	}
	return keys.Dedup(w.Shard, w.App, w.Conversation, u, client)
}

// memberID reads the value of a MemberOrder or MemberOfUser row: the 16 bytes of the member's id.
func memberID(value []byte) (string, error) {
	if len(value) != 16 {
		return "", fmt.Errorf("member reference has %d bytes", len(value))
	}
	return id.Format(id.Member, keys.UUID(value)), nil
}
