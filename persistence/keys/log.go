package keys

import "encoding/binary"

// Log keys, in the log Pebble.
const (
	prefixLogEntry = 'l' // shard, replica, index -> term, type, bytes
	prefixLogState = 'h' // shard, replica -> term, vote, commit
	prefixLogTrunc = 't' // shard, replica -> index, term: the entry before the first kept one
	prefixStore    = 'i' // -> identity of the store
	prefixLife     = 'n' // -> number of the store's latest life
	prefixPublic   = 'p' // -> event.v1.PublicCopy, of a node without a replica of the meta shard
	prefixMarker   = 'm' // -> what is left to do of an unsafe recovery
	prefixReplica  = 'r' // shard -> the replica that lives here, or a tombstone
)

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

// StoreLife is the row with the number of the latest start of a node with this store.
func StoreLife() []byte { return []byte{prefixLife} }

// LocalReplica says which replica of a shard lives in this store, or that one was removed.
func LocalReplica(s Shard) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefixReplica}, uint32(s))
}

// LocalReplicas is the prefix of all LocalReplica rows.
func LocalReplicas() []byte { return []byte{prefixReplica} }

// PublicCopy is this node's copy of the meta shard's public part.
func PublicCopy() []byte { return []byte{prefixPublic} }

// RecoveryMarker is what is left to do after an unsafe recovery of this store.
func RecoveryMarker() []byte { return []byte{prefixMarker} }
