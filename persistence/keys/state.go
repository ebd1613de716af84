package keys

import "encoding/binary"

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
	tableMembershipBy = 0x22 // app, user, created ms, conversation -> empty: a user's index in order of creation
	tableDevices      = 0x23 // app, user -> event.v1.Devices
	tableDeleted      = 0x24 // app, user -> event.v1.DeletedConversations
	tableName         = 0x30 // app, kind/name -> event.v1.Name
	tableApplication  = 0x40 // application -> event.v1.Application
	tableCredential   = 0x41 // api key -> event.v1.Credential
	tableSettings     = 0x42 // -> event.v1.ClusterSettings
	tableStore        = 0x43 // store uuid -> event.v1.Store
	tableShardMap     = 0x44 // shard -> event.v1.ShardMap
	tablePlacement    = 0x45 // -> event.v1.Placement
	tableListed       = 0x50 // app, kind, created ms, entity -> empty: listing in order of creation
	tableOutbox       = 0x60 // target kind, target shard, source, target, revision, index -> node.v1.OutboxRow
	tableDeadLetter   = 0x61 // app, target kind, died ms, id of the row's key -> node.v1.DeadLetter
	tableBlob         = 0x70 // app, sum -> event.v1.Blob
	tableChunk        = 0x71 // app, sum, index -> bytes
	tableHold         = 0x72 // app, sum, holder -> event.v1.Hold
	tableImage        = 0x73 // app, image -> event.v1.Image
	tableDue          = 0x74 // due ms, app, sum, holder, generation -> event.v1.Due
)

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
	KindBlob         EntityKind = 6
	KindImage        EntityKind = 7
	KindPlacement    EntityKind = 8
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

// ConversationPrefixes lists the prefixes of all rows that belong to one conversation but its
// metadata and head; deletion drops them.
func ConversationPrefixes(s Shard, app, conversation UUID) [][]byte {
	tables := []byte{tableEvent, tableMember, tableMemberOrder, tableMemberOfUser, tableDedup, tableReceipt, tableCursor}
	prefixes := make([][]byte, len(tables))
	for i, t := range tables {
		prefixes[i] = entity(s, t, app, conversation, 0)
	}
	return prefixes
}
