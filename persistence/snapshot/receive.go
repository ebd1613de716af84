package snapshot

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/persistence/keys"
	"parley/persistence/store"
)

// tableBytesMax closes a table when its rows have grown to this. Several tables of moderate size
// keep the first compactions after an install small.
const tableBytesMax = 32 << 20

// File is a received snapshot on its way into the state: tables in a directory of their own.
// It belongs to the goroutine that received it.
type File struct {
	Stats Stats

	// Replica is the replica row as the snapshot holds it. The caller compares its applied
	// index with what Raft promised before it installs.
	Replica []byte

	fs     vfs.FS
	dir    string
	tables []string
}

// Remove deletes what is left of the file, after an install or instead of one.
func (f *File) Remove() error {
	if err := f.fs.RemoveAll(f.dir); err != nil {
		return fmt.Errorf("remove received snapshot: %w", err)
	}
	return nil
}

// Receive reads a stream of shard from r into tables under dir, which is a store's IncomingDir
// and fs the store's FS. It reads r up to the trailer and not further. ErrMalformed when the
// stream is not intact; after an error nothing is left under dir. At most one Receive of a
// shard goes on at a time.
func Receive(ctx context.Context, r io.Reader, fs vfs.FS, dir string, shard keys.Shard) (*File, error) {
	in := &receiver{
		file:  &File{fs: fs, dir: fs.PathJoin(dir, fmt.Sprintf("shard-%d", shard)), Stats: Stats{Shard: shard}},
		first: keys.Replica(shard),
	}
	in.lo, in.hi = keys.Span(shard)
	if _, err := fs.Stat(in.file.dir); err == nil {
		return nil, fmt.Errorf("receive snapshot of shard %d: another one is being received or was not removed", shard)
	}
	if err := in.run(ctx, r); err != nil {
		err = errors.Join(err, in.closeTable(), in.file.Remove())
		return nil, fmt.Errorf("receive snapshot of shard %d: %w", shard, err)
	}
	return in.file, nil
}

type receiver struct {
	file   *File
	lo, hi []byte // bounds of the span
	first  []byte // the replica row's key
	last   []byte // the key before

	table      *sstable.Writer // nil between tables
	tableBytes int
}

func (in *receiver) run(ctx context.Context, r io.Reader) error {
	if err := in.file.fs.MkdirAll(in.file.dir, 0o700); err != nil {
		return err
	}
	sum, err := readHeader(r, in.file.Stats.Shard)
	if err != nil {
		return err
	}
	var payload []byte
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		var last bool
		if payload, last, sum, err = readPart(r, payload, sum); err != nil {
			return err
		}
		if last {
			return in.finish(payload)
		}
		if err := in.chunk(payload); err != nil {
			return err
		}
	}
}

func (in *receiver) chunk(rest []byte) error {
	for len(rest) > 0 {
		var key, value []byte
		var err error
		if key, value, rest, err = cutRow(rest); err != nil {
			return err
		}
		if err := in.row(key, value); err != nil {
			return err
		}
	}
	return nil
}

func (in *receiver) row(key, value []byte) error {
	switch {
	case bytes.Compare(key, in.lo) < 0 || bytes.Compare(key, in.hi) >= 0:
		return fmt.Errorf("%w: key %x is outside the shard", ErrMalformed, key[:min(len(key), 64)])
	case in.file.Stats.Rows == 0 && !bytes.Equal(key, in.first):
		return fmt.Errorf("%w: %w", ErrMalformed, ErrNoReplica)
	case bytes.Compare(key, in.last) <= 0:
		return fmt.Errorf("%w: key %x does not ascend", ErrMalformed, key[:min(len(key), 64)])
	}
	if in.file.Stats.Rows == 0 {
		in.file.Replica = bytes.Clone(value)
	}
	if in.table == nil {
		if err := in.openTable(); err != nil {
			return err
		}
	}
	if err := in.table.Set(key, value); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	in.last = append(in.last[:0], key...)
	in.file.Stats.Rows++
	in.file.Stats.Bytes += uint64(len(key) + len(value))
	if in.tableBytes += len(key) + len(value); in.tableBytes < tableBytesMax {
		return nil
	}
	return in.closeTable()
}

func (in *receiver) openTable() error {
	name := in.file.fs.PathJoin(in.file.dir, fmt.Sprintf("%06d.sst", len(in.file.tables)+1))
	f, err := in.file.fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	in.table = sstable.NewWriter(objstorageprovider.NewFileWritable(f), store.TableOptions())
	in.tableBytes = 0
	in.file.tables = append(in.file.tables, name)
	return nil
}

// closeTable completes and syncs the open table, if there is one.
func (in *receiver) closeTable() error {
	if in.table == nil {
		return nil
	}
	t := in.table
	in.table = nil
	if err := t.Close(); err != nil {
		return fmt.Errorf("close table: %w", err)
	}
	return nil
}

// finish compares the counts of the sender with what came.
func (in *receiver) finish(trailer []byte) error {
	if in.file.Stats.Rows == 0 {
		return fmt.Errorf("%w: %w", ErrMalformed, ErrNoReplica)
	}
	rows, size := binary.BigEndian.Uint64(trailer), binary.BigEndian.Uint64(trailer[8:])
	if rows != in.file.Stats.Rows || size != in.file.Stats.Bytes {
		return fmt.Errorf("%w: %d rows of %d bytes came, %d of %d were sent",
			ErrMalformed, in.file.Stats.Rows, in.file.Stats.Bytes, rows, size)
	}
	return in.closeTable()
}
