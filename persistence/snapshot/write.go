package snapshot

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"golang.org/x/time/rate"

	"parley/persistence/keys"
	"parley/persistence/store"
)

// Write streams all rows of shard, as r sees them, to w. The applied index, term and
// configuration are among them: the replica row is the first. ErrNoReplica when r has none. The
// caller closes r and, after an error, throws the stream away.
func Write(ctx context.Context, w io.Writer, r store.SnapshotReader, shard keys.Shard) (Stats, error) {
	out := &writer{ctx: ctx, w: w, stats: Stats{Shard: shard}, replica: keys.Replica(shard)}
	if err := out.run(r); err != nil {
		return out.stats, fmt.Errorf("write snapshot of shard %d: %w", shard, err)
	}
	return out.stats, nil
}

type writer struct {
	ctx     context.Context // of the one call of Write
	w       io.Writer
	sum     uint32
	chunk   []byte
	stats   Stats
	replica []byte
}

func (o *writer) run(r store.SnapshotReader) error {
	header := appendHeader(nil, o.stats.Shard)
	o.sum = binary.BigEndian.Uint32(header[headerBytes-4:])
	if _, err := o.w.Write(header); err != nil {
		return err
	}
	lo, hi := keys.Span(o.stats.Shard)
	if err := r.Scan(lo, hi, false, o.row); err != nil { // one Scan: one moment
		return err
	}
	if o.stats.Rows == 0 {
		return ErrNoReplica
	}
	if err := o.flush(); err != nil {
		return err
	}
	trailer := binary.BigEndian.AppendUint64(nil, o.stats.Rows)
	trailer = binary.BigEndian.AppendUint64(trailer, o.stats.Bytes)
	_, err := writePart(o.w, 0, trailer, o.sum)
	return err
}

func (o *writer) row(key, value []byte) (bool, error) {
	if o.stats.Rows == 0 && !bytes.Equal(key, o.replica) {
		return false, ErrNoReplica
	}
	if len(key) > keyBytesMax || len(value) > valueBytesMax {
		return false, fmt.Errorf("row %x has %d bytes, the most is %d", key[:min(len(key), 64)], len(value), valueBytesMax)
	}
	o.chunk = appendRow(o.chunk, key, value)
	o.stats.Rows++
	o.stats.Bytes += uint64(len(key) + len(value))
	if len(o.chunk) < chunkBytes {
		return true, nil
	}
	return true, o.flush()
}

func (o *writer) flush() error {
	if len(o.chunk) == 0 {
		return nil
	}
	if err := context.Cause(o.ctx); err != nil {
		return err
	}
	sum, err := writePart(o.w, len(o.chunk), o.chunk, o.sum)
	o.sum, o.chunk = sum, o.chunk[:0]
	return err
}

// Pace limits what is written to w to limit bytes a second, so that sending a shard leaves room
// for the traffic that clients wait for. The limiter may be shared by several streams.
func Pace(ctx context.Context, w io.Writer, limit *rate.Limiter) io.Writer {
	return paced{ctx: ctx, w: w, limit: limit}
}

type paced struct {
	ctx   context.Context // of the one stream
	w     io.Writer
	limit *rate.Limiter
}

// Write implements io.Writer.
func (p paced) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		piece := b[:min(len(b), max(1, p.limit.Burst()))]
		if err := p.limit.WaitN(p.ctx, len(piece)); err != nil {
			return n, err
		}
		m, err := p.w.Write(piece)
		n += m
		if err != nil {
			return n, err
		}
		b = b[len(piece):]
	}
	return n, nil
}
