package shard

import (
	"encoding/binary"
	"errors"

	"parley/persistence/store"
)

// An entry's payload carries the writes that waited together, so that a busy shard pays Raft's
// price once for many of them:
//
//	version(1)=1  kind(1)=1  epoch(uvarint)  count(uvarint)  write...
//	write = entity(bytes) base(uvarint) head(bytes) ops(uvarint) op...
//	op    = kind(1) key(bytes) [value or end (bytes)]
//	bytes = length(uvarint), then as many bytes
//
// The golden test pins the layout. A change of layout takes a new version, and is written only
// once every node of the cluster reads it.
const (
	entryVersion = 1
	kindWrites   = 1
)

// errEntry says that a committed entry cannot be read: damage, or a newer version than this
// node knows. Neither may be skipped.
var errEntry = errors.New("unreadable entry")

// sizeOf bounds the encoded size of a write from above, in bytes.
func sizeOf(w *Write) int {
	n := len(w.Entity) + len(w.Head) + 4*binary.MaxVarintLen32 + binary.MaxVarintLen64
	for i := range w.Ops {
		n += 1 + len(w.Ops[i].Key) + len(w.Ops[i].Value) + len(w.Ops[i].End) + 2*binary.MaxVarintLen32
	}
	return n
}

// entryHeaderMax bounds what stands before the writes.
const entryHeaderMax = 2 + 2*binary.MaxVarintLen64

func appendEntryHeader(b []byte, epoch Epoch, count int) []byte {
	b = append(b, entryVersion, kindWrites)
	b = binary.AppendUvarint(b, uint64(epoch))
	return binary.AppendUvarint(b, uint64(count))
}

func appendWrite(b []byte, w *Write) []byte {
	b = appendBytes(b, w.Entity)
	b = binary.AppendUvarint(b, w.Base)
	b = appendBytes(b, w.Head)
	b = binary.AppendUvarint(b, uint64(len(w.Ops)))
	for i := range w.Ops {
		op := &w.Ops[i]
		b = append(b, byte(op.Kind))
		b = appendBytes(b, op.Key)
		switch op.Kind {
		case store.OpPut:
			b = appendBytes(b, op.Value)
		case store.OpDeleteRange:
			b = appendBytes(b, op.End)
		}
	}
	return b
}

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// entryReader reads a payload in place: what it gives points into the payload. After the first
// bad field all others read as zero and bad stays set.
type entryReader struct {
	b   []byte
	bad bool
}

// header reads what stands before the writes.
func (r *entryReader) header() (epoch Epoch, count int) {
	if len(r.b) < 2 || r.b[0] != entryVersion || r.b[1] != kindWrites {
		r.fail()
		return 0, 0
	}
	r.b = r.b[2:]
	return Epoch(r.uvarint()), r.count()
}

// op reads one op.
func (r *entryReader) op() store.Op {
	op := store.Op{Kind: store.OpKind(r.byte()), Key: r.bytes()}
	switch op.Kind {
	case store.OpPut:
		op.Value = r.bytes()
	case store.OpDelete:
	case store.OpDeleteRange:
		op.End = r.bytes()
	default:
		r.fail()
	}
	return op
}

func (r *entryReader) fail() { r.b, r.bad = nil, true }

func (r *entryReader) uvarint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		v := uint64(r.b[0])
		r.b = r.b[1:]
		return v
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of items, each of which takes a byte or more.
func (r *entryReader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *entryReader) bytes() []byte {
	n := r.count()
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *entryReader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}
