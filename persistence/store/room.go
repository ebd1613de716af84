package store

import (
	"errors"
	"io/fs"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
)

// room watches what is left of the file system below a store. It keeps a reserve, a file that takes
// space and holds nothing, and gives it up at the first write that finds no space left: so what is
// under way when a disk fills up at one stroke can be ended in order. A write that finds no space
// even then waits for some.
//
// That is no retry in the sense of the rule for syncs: a write that found no space has said which of
// its bytes are not there, and none of them was ever called durable.
type room struct {
	// Fixed.
	fs      vfs.FS // below everything, so that nothing here waits for itself
	dir     string
	least   uint64 // configured, 0 = a share
	logger  *slog.Logger
	noSpace prometheus.Counter

	patient atomic.Bool   // writes may wait: the store is open and not about to be closed
	hurry   chan struct{} // closed when no write may wait any more
	denied  chan struct{} // closed when a write has found no space after that
	starved chan struct{} // capacity 1: a write has found no space

	mu    sync.Mutex // guards what follows
	level fullness
	held  uint64 // bytes of the reserve, 0 when it was given up
	waits int    // writes that wait for space
	last  Space
}

// reserveFile is the name of the reserve in the directory of a store. It may be removed at any time.
const reserveFile = "reserve"

func newRoom(dir string, o Options, noSpace prometheus.Counter) *room {
	r := &room{
		fs: o.FS, dir: dir, least: o.MinFreeBytes, logger: o.Logger.With("store", dir), noSpace: noSpace,
		hurry: make(chan struct{}), denied: make(chan struct{}), starved: make(chan struct{}, 1),
	}
	if _, err := r.fs.Stat(r.reserve()); err == nil {
		if u, err := r.fs.GetDiskUsage(dir); err == nil {
			r.held = reserveOf(u.TotalBytes) // of an earlier life
		}
	}
	return r
}

func (r *room) reserve() string { return r.fs.PathJoin(r.dir, reserveFile) }

// check looks how much is left, decides whether that is enough, and takes the reserve back when it is.
func (r *room) check(now time.Time) Space {
	u, err := r.fs.GetDiskUsage(r.dir)
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.level.full
	if err != nil { // nobody knows: only writes that fail tell
		r.level = r.decide(now, math.MaxUint64, 1)
		r.last = Space{Full: r.level.full}
		return r.last
	}
	wanted, least := reserveOf(u.TotalBytes), minFree(r.least, u.TotalBytes)
	free := u.AvailBytes - min(u.AvailBytes, wanted-min(wanted, r.held))
	r.level = r.decide(now, free, least)
	r.last = Space{Full: r.level.full, Known: true, FreeBytes: free, SizeBytes: u.TotalBytes, MinFreeBytes: least}
	if !r.level.full && r.held == 0 {
		r.setAside(wanted)
	}
	if r.level.full != before {
		r.tell()
	}
	return r.last
}

// decide is the next fullness. A write that waits knows better than the file system, which may not tell
// of a quota or of what its own tables need. Caller holds mu.
func (r *room) decide(now time.Time, free, least uint64) fullness {
	if r.waits > 0 {
		free, least = 0, 1
	}
	return r.level.next(now, free, least)
}

// full is what was decided last.
func (r *room) full() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.level.full
}

// tell says that the store has become full, or has space again. Caller holds mu.
func (r *room) tell() {
	if r.level.full {
		r.logger.Error("the disk is full: reads go on, nothing new is stored here until there is space",
			"free", r.last.FreeBytes, "least", r.last.MinFreeBytes, "size", r.last.SizeBytes)
		return
	}
	r.logger.Info("the disk has space again", "free", r.last.FreeBytes, "least", r.last.MinFreeBytes)
}

// setAside makes the reserve. A file system that cannot set space aside has none. Caller holds mu.
func (r *room) setAside(bytes uint64) {
	f, err := r.fs.Create(r.reserve(), vfs.WriteCategoryUnspecified)
	if err != nil {
		r.logger.Debug("no reserve was made", "err", err)
		return
	}
	err = f.Preallocate(0, int64(bytes))
	if err = errors.Join(err, f.Close()); err != nil {
		r.logger.Debug("no reserve was made", "err", errors.Join(err, r.fs.Remove(r.reserve())))
		return
	}
	r.held = bytes
}

// missed takes note of a write that found no space: the store is full.
func (r *room) missed() {
	r.noSpace.Inc()
	r.mu.Lock()
	defer r.mu.Unlock()
	before := r.level.full
	r.level = fullness{full: true}
	r.last.Full = true
	if !before {
		r.last.FreeBytes = 0
		r.tell()
	}
	select {
	case r.starved <- struct{}{}:
	default:
	}
}

// giveUp gives up the reserve. It says whether that has made space.
func (r *room) giveUp() (made bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held == 0 {
		return false
	}
	r.held = 0
	if err := r.fs.Remove(r.reserve()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.logger.Error("the reserve could not be given up", "err", err)
		return false
	}
	return true
}

// roomEvery is how often a write that waits for space tries again.
const roomEvery = 100 * time.Millisecond

// find carries out op, which writes, until it finds space or patience ends. Then, and for any other
// error, it gives what op gave. The reserve is not for who has no patience.
func (r *room) find(patience time.Duration, op func() error) error {
	err := op()
	if !noSpace(err) {
		return err
	}
	r.missed()
	if patience == notAtAll {
		return err
	}
	if r.giveUp() {
		if err = op(); !noSpace(err) {
			return err
		}
	}
	return r.await(patience, err, op)
}

// await repeats op, which gave err for want of space, as long as patience and the store allow.
func (r *room) await(patience time.Duration, err error, op func() error) error {
	r.count(1)
	defer r.count(-1)
	began := time.Now()
	ticker := time.NewTicker(roomEvery)
	defer ticker.Stop()
	for noSpace(err) && r.patient.Load() && time.Since(began) < patience {
		select {
		case <-ticker.C:
		case <-r.hurry: // a last time: there may be space since the one before
		}
		err = op()
	}
	if noSpace(err) && !r.patient.Load() {
		r.deny()
		if patience == whileOthersMayFree {
			<-ticker.C // Pebble tries again at once
		}
	}
	return err
}

// count counts the writes that wait.
func (r *room) count(by int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waits += by
}

// deny tells, once, that a write has found no space and could not wait because the store is about to be closed.
func (r *room) deny() {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.hurry:
	default:
		return // the store is being opened
	}
	select {
	case <-r.denied:
	default:
		close(r.denied)
	}
}

// end lets every write that waits fail. It may be called again.
func (r *room) end() {
	if r.patient.Swap(false) {
		close(r.hurry)
	}
}

// Space looks how much is left of the file system at now, and says whether the store is full. It asks
// the file system, which may take long on a sick one: one goroutine calls it, now and then.
func (s *Store) Space(now time.Time) Space { return s.room.check(now) }

// LastSpace is what Space found last; a write that found no space since then has made it full. It asks nobody, and anybody
// may call it.
func (s *Store) LastSpace() Space {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	return s.room.last
}

// Starved gives a value when a write has found no space, before Space would have noticed: the store is full.
func (s *Store) Starved() <-chan struct{} { return s.room.starved }

// Hurry lets writes fail that wait for space, now and from now on, and with them FlushState. It is for who
// is about to close the store and waits for writes of its own first; a write of a log that fails calls
// Options.Fatal.
func (s *Store) Hurry() { s.room.end() }
