package keys

import (
	"encoding/binary"

	"parley/internal/invariant"
)

// Outbox is one row of work for somebody else. Rows of one (source, target) sort by revision
// and index, which is the order in which they must be delivered. source and targetID are at most
// 255 bytes long.
func Outbox(s Shard, targetKind byte, target Shard, source, targetID []byte, revision uint64, index uint16) []byte {
	invariant.That(len(source) <= 0xff && len(targetID) <= 0xff, "outbox ids of %d and %d bytes", len(source), len(targetID))
	b := append(table(s, tableOutbox, 20+len(source)+len(targetID)), targetKind)
	b = binary.BigEndian.AppendUint32(b, uint32(target))
	b = append(append(b, byte(len(source))), source...)
	b = append(append(b, byte(len(targetID))), targetID...)
	b = binary.BigEndian.AppendUint64(b, revision)
	return binary.BigEndian.AppendUint16(b, index)
}

// OutboxRows is the prefix of a shard's outbox.
func OutboxRows(s Shard) []byte { return table(s, tableOutbox, 0) }

// OutboxKind is the prefix of a shard's outbox rows for one kind of target.
func OutboxKind(s Shard, targetKind byte) []byte { return append(table(s, tableOutbox, 1), targetKind) }

// DeadLetter is an outbox row that was given up, under the time when it was and an id made of the
// row's key.
func DeadLetter(s Shard, app UUID, targetKind byte, diedMs int64, id UUID) []byte {
	b := binary.BigEndian.AppendUint64(DeadLetters(s, app, targetKind), uint64(diedMs))
	return append(b, id[:]...)
}

// DeadLetters is the prefix of an application's dead letters of one kind, oldest first. What follows
// it reads like a ListedPosition.
func DeadLetters(s Shard, app UUID, targetKind byte) []byte {
	return append(append(table(s, tableDeadLetter, 41), app[:]...), targetKind)
}
