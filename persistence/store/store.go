package store

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Store is the open disk of one node. Its methods are safe for concurrent use.
type Store struct {
	// Fixed at Open.
	dir     string
	fs      *syncFS // in which a failed sync is the end, and no write waits for space
	logger  *slog.Logger
	metrics *metrics
	room    *room
	log     *half
	state   *half
	crowd   *crowd

	gate    gate
	damage  atomic.Pointer[DamageError] // the first one noticed
	damaged chan struct{}               // closed with it
}

// half is one of the two Pebbles. Its name, which is also its label in the metrics, and its
// directory are fixed before it is opened: its background work may report at once.
type half struct {
	name string
	dir  string
	lock *pebble.Lock
	db   *pebble.DB
}

// Open opens the store in dir, and creates it when dir is empty or absent. The errors to tell
// apart are ErrLocked (somebody else has it open) and ErrDamaged (it must not be used; the error
// says what to do). Until Close the directory belongs to this Store alone.
func Open(dir string, o Options) (*Store, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	s := &Store{dir: dir, logger: o.Logger.With("store", dir), metrics: m, crowd: newCrowd(o), damaged: make(chan struct{})}
	s.room = newRoom(dir, o, m.noSpace)
	if err := s.open(o); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, errors.Join(err, s.closeHalves()))
	}
	if err := m.watch(s); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, errors.Join(err, s.closeHalves()))
	}
	s.room.patient.Store(true) // until here whoever opens is told, and need not wait
	s.room.check(time.Now())
	return s, nil
}

func (s *Store) open(o Options) error {
	s.log = &half{name: dirLog, dir: o.FS.PathJoin(s.dir, dirLog)}
	s.state = &half{name: dirState, dir: o.FS.PathJoin(s.dir, dirState)}
	s.fs = s.watched(o, s.state)
	for _, h := range []*half{s.log, s.state} {
		if err := makeDirectory(s.fs, h.dir); err != nil {
			return err
		}
		lock, err := lockDirectory(o.FS, h.dir)
		if err != nil {
			return err
		}
		h.lock = lock
	}
	hadLog, err := holdsPebble(o.FS, s.log.dir)
	if err != nil {
		return err
	}
	hadState, err := holdsPebble(o.FS, s.state.dir)
	if err != nil {
		return err
	}
	if hadState && !hadLog { // `log` is always made first
		return &DamageError{Dir: s.log.dir, Err: errors.New("it is empty, but state is not")}
	}
	if err := s.openHalves(o, hadLog, hadState); err != nil {
		return err
	}
	if err := s.emptyIncoming(); err != nil {
		return err
	}
	s.fs.patience = func(vfs.DiskWriteCategory) time.Duration { return notAtAll }
	return s.Damage() // what background work has met by now
}

// openHalves opens both Pebbles, and makes those that are not there, `log` first.
func (s *Store) openHalves(o Options, hadLog, hadState bool) error {
	cache := pebble.NewCache(o.CacheBytes + o.memTables())
	defer cache.Unref() // each Pebble keeps its own reference
	logSide, stateSide := logOptions(o), stateOptions(o)
	logSide.Cache, stateSide.Cache = cache, cache
	if !hadLog {
		if err := syncParents(o.FS, s.dir); err != nil {
			return err
		}
	}
	if err := s.openHalf(s.log, logSide, o, hadLog); err != nil {
		return err
	}
	if err := s.rotateLog(); err != nil {
		return err
	}
	if !hadState {
		if err := s.checkUnused(); err != nil {
			return err
		}
	}
	return s.openHalf(s.state, stateSide, o, hadState)
}

func (s *Store) openHalf(h *half, p *pebble.Options, o Options, existed bool) error {
	p.FS = s.watched(o, h)
	p.Lock = h.lock
	p.Logger = pebbleLogger{dir: h.dir, halter: halter{fatal: o.Fatal}, logger: s.logger}
	p.EventListener = s.listener(h)
	db, err := pebble.Open(h.dir, p)
	switch {
	case err == nil:
		h.db = db
		return nil
	case existed:
		return openDamage(h.dir, err)
	default:
		return fmt.Errorf("create %s: %w", h.dir, err)
	}
}

// watched is the file system of one half: its syncs are timed, and end the process if they fail, and
// its writes wait for space.
func (s *Store) watched(o Options, h *half) *syncFS {
	return &syncFS{FS: o.FS, halter: halter{fatal: o.Fatal}, seconds: s.metrics.syncSeconds.WithLabelValues(h.name),
		room: s.room, patience: patienceFor}
}

// rotateLog begins a new write-ahead log. Pebble raises a new directory to its format after it has
// opened the first log file, so that file has no record of what was synced, and damage in it
// would read as a clean end.
func (s *Store) rotateLog() error {
	if err := s.log.db.Flush(); err != nil {
		return s.note(s.log, err)
	}
	return nil
}

// checkUnused refuses to make a `state` beside a `log` in use, whose own was lost: the entries
// behind its applied index have been truncated, and replaying the rest onto nothing would invent
// a past. Nothing is made before this was asked, or the next start would take it for what was lost.
func (s *Store) checkUnused() error {
	_, used, err := s.Identity()
	if err != nil {
		return err
	}
	if used {
		return &DamageError{Dir: s.state.dir, Err: errors.New("it is empty, but the log is in use")}
	}
	return nil
}

// emptyIncoming drops what a crash left of half received snapshots.
func (s *Store) emptyIncoming() error {
	if err := s.fs.RemoveAll(s.IncomingDir()); err != nil {
		return fmt.Errorf("empty %s: %w", s.IncomingDir(), err)
	}
	return makeDirectory(s.fs, s.IncomingDir())
}

// Dir is the directory given to Open.
func (s *Store) Dir() string { return s.dir }

// FS is the store's file system, in which a failed sync calls Options.Fatal. Its writes do not wait for
// space: they fail when there is none.
func (s *Store) FS() vfs.FS { return s.fs }

// IncomingDir is where snapshots are received before they are installed: on the same file
// system as `state`, and emptied by Open.
func (s *Store) IncomingDir() string { return s.fs.PathJoin(s.dir, dirIncoming) }

// Log is the synced Pebble. Its user stops before Close.
func (s *Store) Log() *pebble.DB { return s.log.db }

// State is the Pebble without a write-ahead log: it is written with CommitState. Its user stops
// before Close.
func (s *Store) State() *pebble.DB { return s.state.db }

// Damage is the first damage that was noticed since Open, also in the background, or nil. A node
// that sees one stops serving from this store.
func (s *Store) Damage() error {
	if d := s.damage.Load(); d != nil {
		return d
	}
	return nil
}

// Damaged is closed when Damage has something to say.
func (s *Store) Damaged() <-chan struct{} { return s.damaged }

// note remembers damage and passes the error on in the form that callers see.
func (s *Store) note(h *half, err error) error {
	err = damaged(h.dir, err)
	var d *DamageError
	if errors.As(err, &d) && s.damage.CompareAndSwap(nil, d) {
		s.metrics.damaged.WithLabelValues(h.name).Inc()
		s.logger.Error("store is damaged", "err", d)
		close(s.damaged)
	}
	return err
}

// Close waits for readers and snapshots, and closes both Pebbles. It does not flush `state`: what
// is not flushed is replayed from the log. Closing twice gives ErrClosed.
func (s *Store) Close() error {
	if !s.gate.close() {
		return ErrClosed
	}
	s.room.end()
	s.metrics.unwatch()
	s.crowd.looks.Wait()
	if err := s.closeHalves(); err != nil {
		return fmt.Errorf("close store %s: %w", s.dir, err)
	}
	return nil
}

func (s *Store) closeHalves() error {
	var errs []error
	for _, h := range []*half{s.state, s.log} {
		if h == nil {
			continue
		}
		if h.db != nil {
			errs = append(errs, h.db.Close())
		}
		if h.lock != nil {
			errs = append(errs, h.lock.Close())
		}
	}
	return errors.Join(errs...)
}
