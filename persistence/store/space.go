package store

import (
	"errors"
	"math"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrNoSpace says that the disk is full.
var ErrNoSpace = errors.New("no space on the disk")

// Space is whether a store has room to grow, and what that was decided from.
type Space struct {
	Full  bool // take on nothing that can be refused; reads, votes and what is under way go on
	Known bool // the file system told what follows

	FreeBytes    uint64 // what the store may still take, without what its reserve has to take back
	SizeBytes    uint64 // of the file system
	MinFreeBytes uint64 // below it the store is full
}

const (
	// minFreeBytesMax and minFreeShare are how much is kept free when nobody says: a share of the file
	// system, because a small one fills no slower, and of a large one enough for compactions.
	minFreeBytesMax = 1 << 30
	minFreeShare    = 20

	// reserveBytesMax and reserveShare are the same for the reserve: what the memtables hold, and a
	// little more, can still be flushed into it.
	reserveBytesMax = 128 << 20
	reserveShare    = 50

	// ampleFor is how long there must have been space before a store is full no more. A file that comes
	// and goes must not make leaderships come and go.
	ampleFor = 3 * time.Second
)

// minFree is the least that must stay free of a file system of size bytes.
func minFree(configured, size uint64) uint64 {
	if configured > 0 {
		return configured
	}
	return min(minFreeBytesMax, size/minFreeShare)
}

// reserveOf is how much is set aside of a file system of size bytes.
func reserveOf(size uint64) uint64 { return min(reserveBytesMax, size/reserveShare) }

// fullness decides whether a store is full. Its zero value is one that has space.
type fullness struct {
	full  bool
	ample time.Time // since when there has been enough again, zero while there is not
}

// next is the fullness at now, when free bytes are left of which least must stay. A store is full at
// once, and has space again after a quarter more than that was free for a while.
func (f fullness) next(now time.Time, free, least uint64) fullness {
	switch {
	case free < least:
		return fullness{full: true}
	case !f.full:
		return f
	case free < least+least/4:
		return fullness{full: true}
	case f.ample.IsZero():
		return fullness{full: true, ample: now}
	case now.Sub(f.ample) < ampleFor:
		return f
	default:
		return fullness{}
	}
}

// The patience of a write that finds no space.
const (
	// forever is for what cannot fail without ending the process: logs, manifests and what names them.
	forever = time.Duration(math.MaxInt64)
	// whileOthersMayFree is for flushes and compactions. These fail, drop what they have written, which
	// may be what another of them needs, and are tried again by Pebble: so it is also their pace.
	whileOthersMayFree = 5 * time.Second
	// notAtAll is for who can do without.
	notAtAll = time.Duration(0)
)

// patienceFor tells the kinds of files apart by the names that Pebble gives them.
func patienceFor(c vfs.DiskWriteCategory) time.Duration {
	switch c {
	case "pebble-memtable-flush", "pebble-compaction", "pebble-blob-file-rewrite":
		return whileOthersMayFree
	default:
		return forever
	}
}

func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
