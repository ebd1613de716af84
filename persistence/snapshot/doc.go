// Package snapshot carries one shard's state from a node that has it to one that lacks it: it
// writes the shard's span as a stream, receives the stream as tables, and installs the tables in
// the place of whatever stood there.
//
// The stream is checked at both ends: version, shard, order and bounds of the keys, a checksum
// that runs through the whole stream, and the counts at its end. A stream that was cut, flipped,
// reordered or meant for another shard is an error, and nothing of it reaches the state.
// docs/formats.md describes the bytes.
package snapshot

import (
	"errors"

	"parley/persistence/keys"
)

// ErrMalformed marks every error that means: these bytes are not an intact snapshot of the
// shard. Asking the sender again is the remedy.
var ErrMalformed = errors.New("malformed snapshot")

// ErrNoReplica says that the span has no replica row, so there is nothing that says up to which
// entry the state goes. Without the row a receiver could not go on from the log.
var ErrNoReplica = errors.New("shard has no replica row")

// Stats counts what a snapshot holds.
type Stats struct {
	Shard keys.Shard
	Rows  uint64
	Bytes uint64 // of keys and values
}
