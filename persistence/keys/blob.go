package keys

import "encoding/binary"

// Sum is the SHA-256 of a blob's bytes, which is the blob's name.
type Sum = [32]byte

func blob(s Shard, t byte, app UUID, sum Sum, size int) []byte {
	b := append(table(s, t, 48+size), app[:]...)
	return append(b, sum[:]...)
}

// Blob is a blob's manifest.
func Blob(s Shard, app UUID, sum Sum) []byte { return blob(s, tableBlob, app, sum, 0) }

// Chunk is one part of a blob's bytes.
func Chunk(s Shard, app UUID, sum Sum, index uint32) []byte {
	return binary.BigEndian.AppendUint32(blob(s, tableChunk, app, sum, 4), index)
}

// Chunks is the prefix of all bytes of a blob.
func Chunks(s Shard, app UUID, sum Sum) []byte { return blob(s, tableChunk, app, sum, 0) }

// Hold is an image's claim on a blob.
func Hold(s Shard, app UUID, sum Sum, holder UUID) []byte {
	return append(blob(s, tableHold, app, sum, 16), holder[:]...)
}

// Image is an image's record.
func Image(s Shard, app, image UUID) []byte { return entity(s, tableImage, app, image, 0) }

// DueRow is what a Due key says.
type DueRow struct {
	DueMs       int64
	Application UUID
	Sum         Sum
	Holder      UUID   // of a hold; zero for an object
	Generation  uint64 // of an object; 0 for a hold
}

// Due is work on a blob that is to be done at a time: rows are in the order of their times.
func Due(s Shard, d DueRow) []byte {
	b := binary.BigEndian.AppendUint64(table(s, tableDue, 80), uint64(d.DueMs))
	b = append(append(append(b, d.Application[:]...), d.Sum[:]...), d.Holder[:]...)
	return binary.BigEndian.AppendUint64(b, d.Generation)
}

// DueRows is the prefix of all work of a shard.
func DueRows(s Shard) []byte { return table(s, tableDue, 0) }

// DueOf reads the row back from a Due key.
func DueOf(key []byte) (d DueRow) {
	rest := key[6:]
	d.DueMs, rest = int64(binary.BigEndian.Uint64(rest)), rest[8:]
	rest = rest[copy(d.Application[:], rest):]
	rest = rest[copy(d.Sum[:], rest):]
	rest = rest[copy(d.Holder[:], rest):]
	d.Generation = binary.BigEndian.Uint64(rest)
	return d
}
