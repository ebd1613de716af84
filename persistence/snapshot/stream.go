package snapshot

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"parley/persistence/keys"
)

// The layout of a stream; docs/formats.md has the same for people.
const (
	magic   = "parleysn"
	version = 1

	headerBytes  = len(magic) + 1 + 4 + 4 // magic, version, shard, checksum
	prefixBytes  = 4 + 4                  // of a chunk: length, checksum
	trailerBytes = 8 + 8                  // rows, bytes
)

// Limits. A row is one value of the state: a write of a shard is at most 1 MiB, so a larger row
// is a mistake, and a receiver must not allocate what a damaged length asks for.
const (
	keyBytesMax   = 4 << 10
	valueBytesMax = 8 << 20
	chunkBytes    = 256 << 10 // a chunk is closed when it has grown to this
	chunkBytesMax = chunkBytes + keyBytesMax + valueBytesMax + 2*binary.MaxVarintLen64
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A stream is a header, chunks of rows, and a trailer: a chunk of length 0 followed by the
// counts. The checksum of each part begins with that of the part before, so that a chunk that is
// missing, repeated or out of place breaks it too.

func appendHeader(b []byte, shard keys.Shard) []byte {
	b = append(b, magic...)
	b = append(b, version)
	b = binary.BigEndian.AppendUint32(b, uint32(shard))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b[len(b)-headerBytes+4:], castagnoli))
}

func readHeader(r io.Reader, shard keys.Shard) (sum uint32, err error) {
	var b [headerBytes]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, cut("header", err)
	}
	body := b[:headerBytes-4]
	sum = crc32.Checksum(body, castagnoli)
	if !bytes.HasPrefix(body, []byte(magic)) {
		return 0, fmt.Errorf("%w: it does not begin like one", ErrMalformed)
	}
	if sum != binary.BigEndian.Uint32(b[headerBytes-4:]) {
		return 0, fmt.Errorf("%w: header checksum", ErrMalformed)
	}
	if v := body[len(magic)]; v != version {
		return 0, fmt.Errorf("%w: version %d, this node knows %d", ErrMalformed, v, version)
	}
	if s := keys.Shard(binary.BigEndian.Uint32(body[len(magic)+1:])); s != shard {
		return 0, fmt.Errorf("%w: it is of shard %d, not %d", ErrMalformed, s, shard)
	}
	return sum, nil
}

// writePart writes a chunk or, with length 0, the trailer; it gives the running checksum.
func writePart(w io.Writer, length int, payload []byte, sum uint32) (uint32, error) {
	var prefix [prefixBytes]byte
	binary.BigEndian.PutUint32(prefix[:], uint32(length))
	sum = crc32.Update(crc32.Update(sum, castagnoli, prefix[:4]), castagnoli, payload)
	binary.BigEndian.PutUint32(prefix[4:], sum)
	if _, err := w.Write(prefix[:]); err != nil {
		return 0, err
	}
	_, err := w.Write(payload)
	return sum, err
}

// readPart reads into buf, which grows up to the largest chunk; last is set for the trailer.
func readPart(r io.Reader, buf []byte, sum uint32) (payload []byte, last bool, next uint32, err error) {
	var prefix [prefixBytes]byte
	if _, err := io.ReadFull(r, prefix[:]); err != nil {
		return nil, false, 0, cut("chunk", err)
	}
	length := binary.BigEndian.Uint32(prefix[:])
	if last = length == 0; last {
		length = trailerBytes
	}
	if length > chunkBytesMax {
		return nil, false, 0, fmt.Errorf("%w: a chunk of %d bytes, the most is %d", ErrMalformed, length, chunkBytesMax)
	}
	if cap(buf) < int(length) {
		buf = make([]byte, length)
	}
	payload = buf[:length]
	if _, err := io.ReadFull(r, payload); err != nil {
		return nil, false, 0, cut("chunk", err)
	}
	next = crc32.Update(crc32.Update(sum, castagnoli, prefix[:4]), castagnoli, payload)
	if next != binary.BigEndian.Uint32(prefix[4:]) {
		return nil, false, 0, fmt.Errorf("%w: chunk checksum", ErrMalformed)
	}
	return payload, last, next, nil
}

// cut turns an end of file inside a part into a malformed stream; other errors of the
// connection stay what they are.
func cut(part string, err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: it ends within a %s", ErrMalformed, part)
	}
	return fmt.Errorf("read %s: %w", part, err)
}

func appendRow(b, key, value []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(key)))
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(append(b, key...), value...)
}

// cutRow takes the first row off chunk.
func cutRow(chunk []byte) (key, value, rest []byte, err error) {
	keyLen, n := binary.Uvarint(chunk)
	if n <= 0 || keyLen == 0 || keyLen > keyBytesMax {
		return nil, nil, nil, fmt.Errorf("%w: key length", ErrMalformed)
	}
	chunk = chunk[n:]
	valueLen, n := binary.Uvarint(chunk)
	if n <= 0 || valueLen > valueBytesMax {
		return nil, nil, nil, fmt.Errorf("%w: value length", ErrMalformed)
	}
	chunk = chunk[n:]
	if uint64(len(chunk)) < keyLen+valueLen {
		return nil, nil, nil, fmt.Errorf("%w: a row runs over its chunk", ErrMalformed)
	}
	return chunk[:keyLen], chunk[keyLen : keyLen+valueLen], chunk[keyLen+valueLen:], nil
}
