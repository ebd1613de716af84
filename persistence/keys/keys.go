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

// ShardOf gives the shard of an entity: xxHash64 (seed 0) of application, NUL, entity. The hash and
// the count never change during a cluster's life; a golden test pins both.
func ShardOf(application, entity string, shards uint32) Shard {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.WriteString(application)
	_, _ = d.Write([]byte{0})
	_, _ = d.WriteString(entity)
	return Shard(1 + d.Sum64()%uint64(shards))
}

// Span is everything that a shard stores: [lo, hi).
func Span(s Shard) (lo, hi []byte) {
	lo = binary.BigEndian.AppendUint32([]byte{'s'}, uint32(s))
	return lo, End(lo)
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
