package store

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// formatPebble is the on-disk format of both Pebbles. It is raised deliberately, because an
// older binary cannot open a newer format, and never below FormatWALSyncChunks: only from there
// on can a damaged record that had been synced be told from a torn, never acknowledged tail.
const formatPebble = pebble.FormatValueSeparation

// filterBits is the Bloom filter of the tables, in bits a key: 1 % false positives. Most reads of
// a hot path ask for keys that are absent (has this client id been seen?).
const filterBits = 10

// logOptions configure the Pebble that is synced.
func logOptions(o Options) *pebble.Options {
	p := commonOptions(o)
	p.MemTableSize = o.LogMemTableBytes
	return p
}

// stateOptions configure the Pebble that has no write-ahead log.
func stateOptions(o Options) *pebble.Options {
	p := commonOptions(o)
	p.MemTableSize = o.StateMemTableBytes
	p.DisableWAL = true
	// An ingested table that overlaps a memtable would be queued behind it, and would rely on
	// the write-ahead log to come back after a crash. There is none: without this option a
	// snapshot that was installed, and answered for, is gone.
	p.Experimental.DisableIngestAsFlushable = func() bool { return true }
	for i := range p.Levels {
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(filterBits)
		p.Levels[i].FilterType = pebble.TableFilter
	}
	return p
}

func commonOptions(o Options) *pebble.Options {
	return &pebble.Options{
		FormatMajorVersion:          formatPebble,
		MemTableStopWritesThreshold: memTablesMax,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       level0Max,
		LBaseMaxBytes:               64 << 20,
		BytesPerSync:                512 << 10,
		MaxOpenFiles:                o.OpenFilesMax,
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, o.CompactionsMax },
		// Range deletions are how the log is truncated and conversations are dropped; the space
		// should come back without waiting for the next write to the same keys.
		FlushDelayDeleteRange: 10 * time.Second,
	}
}

// TableOptions configure tables that are built outside and ingested into `state`.
func TableOptions() sstable.WriterOptions {
	return sstable.WriterOptions{
		TableFormat:  formatPebble.MaxTableFormat(),
		FilterPolicy: bloom.FilterPolicy(filterBits),
		FilterType:   pebble.TableFilter,
	}
}
