// Package keys is the one table of every key that Parley writes to its two Pebbles.
//
// State keys all begin with 's' and the shard, so a shard is one contiguous span: it can be
// snapshotted, replaced and dropped as a whole. Entities are 16-byte UUIDs under a 16-byte
// application, which makes the encoding injective and keeps tenants apart by key. Integers are
// big endian, so byte order is numeric order. docs/formats.md lists the same table for people;
// the golden test keeps both honest.
package keys

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// Shard numbers a shard. 0 is the meta shard; entities live in 1..n.
type Shard uint32

// Meta is the shard of applications, credentials, settings and placement.
const Meta Shard = 0

// UUID is the binary form of an identifier; package id converts.
type UUID = [16]byte

// Tables within a shard's state span. A number is never reused.
const (
	tableReplica      = 0x01 // applied index, term and ConfState of this replica: one row
	tableConversation = 0x10 // app, conversation -> event.v1.Conversation
	tableHead         = 0x11 // app, entity, kind -> revision, then the kind's own head
	tableEvent        = 0x12 // app, conversation, sequence -> event.v1.Event
	tableMember       = 0x13 // app, conversation, member -> event.v1.Member
	tableMemberOrder  = 0x14 // app, conversation, ordinal -> member
	tableMemberOfUser = 0x15 // app, conversation, user -> the user's newest member
	tableDedup        = 0x16 // app, conversation, user, client id -> sequence
	tableReceipt      = 0x17 // app, conversation, sequence, member -> event.v1.Receipt
	tableCursor       = 0x18 // app, conversation, member -> event.v1.Cursor
	tableUser         = 0x20 // app, user -> event.v1.User
	tableMembership   = 0x21 // app, user, conversation -> event.v1.Membership
	tableName         = 0x30 // app, kind/name -> event.v1.Name
	tableApplication  = 0x40 // application -> event.v1.Application
	tableCredential   = 0x41 // api key -> event.v1.Credential
	tableSettings     = 0x42 // -> event.v1.ClusterSettings
	tableListed       = 0x50 // app, kind, created ms, entity -> empty: listing in order of creation
	tableOutbox       = 0x60 // target kind, target shard, source, target, revision, index -> node.v1.OutboxRow
)

// Log keys, in the log Pebble.
const (
	prefixLogEntry = 'l' // shard, replica, index -> term, type, bytes
	prefixLogState = 'h' // shard, replica -> term, vote, commit
	prefixLogTrunc = 't' // shard, replica -> index, term: the entry before the first kept one
	prefixStore    = 'i' // -> identity of the store
	prefixReplica  = 'r' // shard -> the replica that lives here, or a tombstone
)

// Of gives the shard of an entity: xxHash64 (seed 0) of application, NUL, entity. The hash and
// the count never change during a cluster's life; a golden test pins both.
func Of(application, entity string, shards uint32) Shard {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(application)
	_, _ = d.Write([]byte{0})
	_, _ = d.WriteString(entity)
	return Shard(1 + d.Sum64()%uint64(shards))
}

func table(s Shard, t byte, size int) []byte {
	b := make([]byte, 0, 6+size)
	b = append(b, 's')
	b = binary.BigEndian.AppendUint32(b, uint32(s))
	return append(b, t)
}

func entity(s Shard, t byte, app, e UUID, size int) []byte {
	b := table(s, t, 32+size)
	b = append(b, app[:]...)
	return append(b, e[:]...)
}

// Span is everything that a shard stores: [lo, hi).
func Span(s Shard) (lo, hi []byte) {
	lo = binary.BigEndian.AppendUint32([]byte{'s'}, uint32(s))
	hi = binary.BigEndian.AppendUint32([]byte{'s'}, uint32(s)+1)
	return lo, hi
}

// End is the smallest key above every key that begins with prefix; prefix is not all 0xff.
func End(prefix []byte) []byte {
	b := append([]byte(nil), prefix...)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] != 0xff {
			b[i]++
			return b[:i+1]
		}
	}
	return nil
}

// Replica is the row with a replica's applied index, term and configuration.
func Replica(s Shard) []byte { return table(s, tableReplica, 0) }

// Conversation is a conversation's metadata row.
func Conversation(s Shard, app, conversation UUID) []byte {
	return entity(s, tableConversation, app, conversation, 0)
}

// EntityKind tells heads of different entity kinds apart.
type EntityKind byte

// The entity kinds, also used in listings.
const (
	KindConversation EntityKind = 1
	KindUser         EntityKind = 2
	KindName         EntityKind = 3
	KindApplication  EntityKind = 4
)

// Head is the row that fences an entity: its revision, then the kind's own hot fields.
func Head(s Shard, app, e UUID, k EntityKind) []byte {
	return append(entity(s, tableHead, app, e, 1), byte(k))
}

// Event is one event of a conversation.
func Event(s Shard, app, conversation UUID, sequence uint64) []byte {
	return binary.BigEndian.AppendUint64(entity(s, tableEvent, app, conversation, 8), sequence)
}

// EventSequence reads the sequence back from an Event or Receipt key.
func EventSequence(key []byte) uint64 { return binary.BigEndian.Uint64(key[38:46]) }

// Member is a member by its id.
func Member(s Shard, app, conversation, member UUID) []byte {
	return append(entity(s, tableMember, app, conversation, 16), member[:]...)
}

// MemberOrder is a member by its ordinal, the order of joining or invitation.
func MemberOrder(s Shard, app, conversation UUID, ordinal uint64) []byte {
	return binary.BigEndian.AppendUint64(entity(s, tableMemberOrder, app, conversation, 8), ordinal)
}

// MemberOfUser is the newest member of a user in a conversation.
func MemberOfUser(s Shard, app, conversation, user UUID) []byte {
	return append(entity(s, tableMemberOfUser, app, conversation, 16), user[:]...)
}

// Dedup is the first result of a client id; user is zero for administrators.
func Dedup(s Shard, app, conversation, user UUID, clientID string) []byte {
	b := entity(s, tableDedup, app, conversation, 16+len(clientID))
	return append(append(b, user[:]...), clientID...)
}

// Receipt is one member's receipt of one event.
func Receipt(s Shard, app, conversation UUID, sequence uint64, member UUID) []byte {
	b := binary.BigEndian.AppendUint64(entity(s, tableReceipt, app, conversation, 24), sequence)
	return append(b, member[:]...)
}

// Receipts is the prefix of all receipts of one event.
func Receipts(s Shard, app, conversation UUID, sequence uint64) []byte {
	return binary.BigEndian.AppendUint64(entity(s, tableReceipt, app, conversation, 8), sequence)
}

// Cursor is how far a member has received and read.
func Cursor(s Shard, app, conversation, member UUID) []byte {
	return append(entity(s, tableCursor, app, conversation, 16), member[:]...)
}

// ConversationRows lists the prefixes of all rows that belong to one conversation but its
// metadata and head; deletion drops them.
func ConversationRows(s Shard, app, conversation UUID) [][]byte {
	tables := []byte{tableEvent, tableMember, tableMemberOrder, tableMemberOfUser, tableDedup, tableReceipt, tableCursor}
	prefixes := make([][]byte, len(tables))
	for i, t := range tables {
		prefixes[i] = entity(s, t, app, conversation, 0)
	}
	return prefixes
}

// User is a user's profile.
func User(s Shard, app, user UUID) []byte { return entity(s, tableUser, app, user, 0) }

// Membership is one row of a user's index.
func Membership(s Shard, app, user, conversation UUID) []byte {
	return append(entity(s, tableMembership, app, user, 16), conversation[:]...)
}

// Memberships is the prefix of a user's index.
func Memberships(s Shard, app, user UUID) []byte { return entity(s, tableMembership, app, user, 0) }

// Name is the reservation of a name; kind is "user" or "conversation".
func Name(s Shard, app UUID, kind, name string) []byte {
	b := table(s, tableName, 17+len(kind)+len(name))
	b = append(append(b, app[:]...), kind...)
	return append(append(b, '/'), name...)
}

// Application is an application's row, in the meta shard.
func Application(app UUID) []byte { return append(table(Meta, tableApplication, 16), app[:]...) }

// Applications is the prefix of all applications.
func Applications() []byte { return table(Meta, tableApplication, 0) }

// Credential is an operator's API key, in the meta shard.
func Credential(key string) []byte { return append(table(Meta, tableCredential, len(key)), key...) }

// Credentials is the prefix of all API keys.
func Credentials() []byte { return table(Meta, tableCredential, 0) }

// Settings is the cluster's own row, in the meta shard.
func Settings() []byte { return table(Meta, tableSettings, 0) }

// Listed places an entity in its application's listing, by time of creation and then by id.
func Listed(s Shard, app UUID, k EntityKind, createdMs int64, e UUID) []byte {
	b := append(Listing(s, app, k), 0, 0, 0, 0, 0, 0, 0, 0)
	binary.BigEndian.PutUint64(b[len(b)-8:], uint64(createdMs))
	return append(b, e[:]...)
}

// Listing is the prefix of an application's listing of one kind.
func Listing(s Shard, app UUID, k EntityKind) []byte {
	return append(append(table(s, tableListed, 41), app[:]...), byte(k))
}

// ListedPosition is what follows the Listing prefix: creation time and id. Positions of
// different shards compare as bytes, so a merge over all shards is in order of creation.
func ListedPosition(key []byte) []byte { return key[23:] }

// ListedEntity reads the entity back from a ListedPosition.
func ListedEntity(position []byte) (createdMs int64, e UUID) {
	copy(e[:], position[8:24])
	return int64(binary.BigEndian.Uint64(position)), e
}

// Outbox is one row of work for somebody else. Rows of one (source, target) sort by revision
// and index, which is the order in which they must be delivered.
func Outbox(s Shard, targetKind byte, target Shard, source, targetID []byte, revision uint64, index uint16) []byte {
	b := append(table(s, tableOutbox, 20+len(source)+len(targetID)), targetKind)
	b = binary.BigEndian.AppendUint32(b, uint32(target))
	b = append(append(b, byte(len(source))), source...)
	b = append(append(b, byte(len(targetID))), targetID...)
	b = binary.BigEndian.AppendUint64(b, revision)
	return binary.BigEndian.AppendUint16(b, index)
}

// OutboxRows is the prefix of a shard's outbox.
func OutboxRows(s Shard) []byte { return table(s, tableOutbox, 0) }

func replicaLog(prefix byte, s Shard, replica uint64) []byte {
	b := make([]byte, 0, 21)
	b = append(b, prefix)
	b = binary.BigEndian.AppendUint32(b, uint32(s))
	return binary.BigEndian.AppendUint64(b, replica)
}

// LogEntry is one entry of a replica's Raft log.
func LogEntry(s Shard, replica, index uint64) []byte {
	return binary.BigEndian.AppendUint64(replicaLog(prefixLogEntry, s, replica), index)
}

// LogIndex reads the index back from a LogEntry key.
func LogIndex(key []byte) uint64 { return binary.BigEndian.Uint64(key[13:21]) }

// LogState is a replica's term, vote and commit.
func LogState(s Shard, replica uint64) []byte { return replicaLog(prefixLogState, s, replica) }

// LogTruncated is the index and term of the entry before the first kept one.
func LogTruncated(s Shard, replica uint64) []byte { return replicaLog(prefixLogTrunc, s, replica) }

// StoreIdentity is the row that says which cluster, node and store a directory belongs to.
func StoreIdentity() []byte { return []byte{prefixStore} }

// LocalReplica says which replica of a shard lives in this store, or that one was removed.
func LocalReplica(s Shard) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixReplica}, uint32(s))
}

// LocalReplicas is the prefix of all LocalReplica rows.
func LocalReplicas() []byte { return []byte{prefixReplica} }
