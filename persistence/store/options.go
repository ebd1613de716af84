package store

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
)

// Options are the tunables of a Store. The zero value is not valid; start from DefaultOptions.
type Options struct {
	// FS is the file system. Tests pass one that crashes or fails.
	FS vfs.FS

	// Logger hears of slow disks, stalls and errors; routine work is logged at debug level.
	Logger *slog.Logger

	// Metrics takes the store's metrics; nil keeps none. Two stores of one process need
	// registerers that differ in a label.
	Metrics prometheus.Registerer

	// Fatal is told why the process must end: a sync failed, or Pebble lost its footing. It must
	// not return. When it does, the goroutine that called it is parked for ever, because going
	// on could acknowledge what is not on the disk.
	Fatal func(error)

	// MinFreeBytes is how much of the file system must stay free: below it the store says that it is
	// full. 0 = a twentieth of the file system, at most 1 GiB. A reserve of a fiftieth, at most
	// 128 MiB, is set aside beside that.
	MinFreeBytes uint64

	// CacheBytes is what the block cache that both Pebbles share has at least. It may use what
	// memtables do not need at the moment.
	CacheBytes int64

	// LogMemTableBytes is the size of one memtable of `log`. Entries truncated while they are
	// still in a memtable never become tables, so a large one saves writes.
	LogMemTableBytes uint64

	// StateMemTableBytes is the size of one memtable of `state`: what a crash may have to
	// replay, unless FlushState is called earlier. Every write first looks for its client id,
	// mostly in vain, and a memtable has no filter: a small one that fits the processor's
	// caches is searched faster.
	StateMemTableBytes uint64

	// OpenFilesMax bounds the table files that each Pebble keeps open.
	OpenFilesMax int

	// CompactionsMax bounds the compactions that each Pebble runs at once.
	CompactionsMax int
}

// DefaultOptions are for a production node.
func DefaultOptions() Options {
	return Options{
		FS:                 vfs.Default,
		Logger:             slog.Default(),
		Fatal:              func(err error) { panic(err) },
		CacheBytes:         64 << 20,
		LogMemTableBytes:   64 << 20,
		StateMemTableBytes: 16 << 20,
		OpenFilesMax:       2048,
		CompactionsMax:     2,
	}
}

// memTables is what memtables take in the long run: Pebble keeps one of each kind that was flushed for
// the next one. It takes them from the bytes of the cache, which without them would soon have none.
func (o Options) memTables() int64 { return 2 * int64(o.LogMemTableBytes+o.StateMemTableBytes) }

// memTableBytesMin is the smallest memtable that still holds the largest write of a shard (1 MiB)
// without turning every batch into a table of its own.
const memTableBytesMin = 256 << 10

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	switch {
	case o.FS == nil:
		return errors.New("store options: FS is missing")
	case o.Logger == nil:
		return errors.New("store options: Logger is missing")
	case o.Fatal == nil:
		return errors.New("store options: Fatal is missing")
	case o.CacheBytes < 0:
		return fmt.Errorf("store options: CacheBytes is %d", o.CacheBytes)
	case o.LogMemTableBytes < memTableBytesMin || o.StateMemTableBytes < memTableBytesMin:
		return fmt.Errorf("store options: memtables of %d and %d bytes, the least is %d",
			o.LogMemTableBytes, o.StateMemTableBytes, memTableBytesMin)
	case o.OpenFilesMax < 64:
		return fmt.Errorf("store options: OpenFilesMax is %d, the least is 64", o.OpenFilesMax)
	case o.CompactionsMax < 1:
		return fmt.Errorf("store options: CompactionsMax is %d, the least is 1", o.CompactionsMax)
	}
	return nil
}
