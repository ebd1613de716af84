package store_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"parley/persistence/keys"
	"parley/persistence/store"
)

var first = store.Identity{Format: 1, ClusterID: "c", NodeName: "n1", StoreUUID: "s"}

// startCut is one copy of the disk during a start.
type startCut struct {
	fs       *vfs.MemFS
	what     string
	promised bool // SetIdentity had returned
}

// startCutter copies the disk before each change of it: once with all that was not synced lost,
// and once for each seed with some of it kept.
type startCutter struct {
	disk     crashable
	seeds    []uint64
	promised atomic.Bool
	mu       sync.Mutex // guards cuts
	cuts     []startCut
}

// MaybeError implements errorfs.Injector.
func (c *startCutter) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
		c.cut(fmt.Sprintf("before %v of %s", op.Kind, op.Path))
	}
	return nil
}

// String implements errorfs.Injector.
func (c *startCutter) String() string { return "start cutter" }

func (c *startCutter) cut(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	promised := c.promised.Load()
	add := func(config vfs.CrashCloneCfg, how string) {
		what := fmt.Sprintf("cut %d, %s, %s", len(c.cuts), what, how)
		c.cuts = append(c.cuts, startCut{c.disk.powerCut(config), what, promised})
	}
	add(vfs.CrashCloneCfg{}, "nothing unsynced kept")
	for _, seed := range c.seeds {
		percent := []int{20, 50, 80, 100}[seed%4]
		rng := rand.New(rand.NewPCG(seed, uint64(len(c.cuts))))
		add(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}, fmt.Sprintf("seed %d keeps %d %%", seed, percent))
	}
}

// start opens the store and gives it its identity if it has none, and returns every power cut on
// the way.
func start(t *testing.T, from startCut, seeds ...uint64) []startCut {
	t.Helper()
	disk := crashable{from.fs, new(sync.RWMutex)}
	cutter := &startCutter{disk: disk, seeds: seeds}
	cutter.promised.Store(from.promised)
	st, err := store.Open("srv/n1", options(errorfs.Wrap(disk, cutter)))
	if err != nil {
		t.Fatalf("%s: %v", from.what, err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	switch id, ok, err := st.Identity(); {
	case err != nil:
		t.Fatalf("%s: %v", from.what, err)
	case ok && id != first:
		t.Errorf("%s: identity %+v", from.what, id)
	case !ok && from.promised:
		t.Fatalf("%s: the identity is gone", from.what)
	case !ok:
		if err := st.SetIdentity(first); err != nil {
			t.Fatalf("%s: %v", from.what, err)
		}
	}
	cutter.promised.Store(true)
	cutter.cut("at the end")
	return cutter.cuts
}

// TestFirstStartMayBeCutAnywhere cuts the power at every file system operation of a first start.
// What is left starts again, with the identity if that was answered for; and each of those starts
// is cut in its turn.
func TestFirstStartMayBeCutAnywhere(t *testing.T) {
	cuts := start(t, startCut{fs: vfs.NewCrashableMem(), what: "first start"}, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
	promised, again := 0, 0
	for i, cut := range cuts {
		if cut.promised {
			promised++
		}
		seconds := start(t, cut, uint64(i))
		if i%10 != 0 && !cut.promised { // the cuts of every tenth start, and of all that must keep something
			seconds = seconds[len(seconds)-1:]
		}
		for _, second := range seconds {
			second.what = cut.what + "; then " + second.what
			start(t, second)
			again++
		}
	}
	t.Logf("%d power cuts, %d of them after the identity was answered for; %d of the starts after", len(cuts), promised, again)
	if len(cuts) < 500 || promised < 5 {
		t.Errorf("%d power cuts, %d after the identity was answered for", len(cuts), promised)
	}
}

const making = "n1/making"

func mark(t *testing.T, fs vfs.FS) {
	t.Helper()
	f, err := fs.Create(making, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	syncDir(t, fs, "n1")
}

func syncDir(t *testing.T, fs vfs.FS, dir string) {
	t.Helper()
	d, err := fs.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestMarkThatComesBackRemovesNothing lets a process end after it removed the mark and before it
// synced that. The next one sees no mark, writes, and loses power.
func TestMarkThatComesBackRemovesNothing(t *testing.T) {
	fs := vfs.NewCrashableMem()
	if err := open(t, "n1", options(fs)).Close(); err != nil {
		t.Fatal(err)
	}
	mark(t, fs)
	if err := fs.Remove(making); err != nil {
		t.Fatal(err)
	}
	if err := open(t, "n1", options(fs)).SetIdentity(first); err != nil {
		t.Fatal(err)
	}
	after := open(t, "n1", options(fs.CrashClone(vfs.CrashCloneCfg{})))
	if id, ok, err := after.Identity(); id != first || !ok || err != nil {
		t.Errorf("after the power cut: %+v %v %v", id, ok, err)
	}
}

// TestMarkBesideTablesRemovesNothing puts the mark into a store in use, where nothing but a
// mistaken copy can have put it.
func TestMarkBesideTablesRemovesNothing(t *testing.T) {
	fs := stopped(t)
	mark(t, fs)
	for range 2 {
		_, err := store.Open("n1", options(fs))
		isDamage(t, "marked", "n1/state", err)
	}
	if err := fs.Remove(making); err != nil {
		t.Fatal(err)
	}
	st := open(t, "n1", options(fs))
	if id, ok, err := st.Identity(); id != first || !ok || err != nil {
		t.Errorf("without the mark: %+v %v %v", id, ok, err)
	}
}

// TestUnusedLogGetsItsState opens a store whose log is complete and holds nothing, and whose
// state is not there.
func TestUnusedLogGetsItsState(t *testing.T) {
	fs := vfs.NewCrashableMem()
	if err := open(t, "n1", options(fs)).Close(); err != nil {
		t.Fatal(err)
	}
	if err := fs.RemoveAll("n1/state"); err != nil {
		t.Fatal(err)
	}
	if err := open(t, "n1", options(fs)).SetIdentity(first); err != nil {
		t.Error(err)
	}
}

// heard is a log handler that closes noticed at the first damage.
type heard struct {
	slog.Handler
	once    *sync.Once
	noticed chan struct{}
}

// Handle implements slog.Handler.
func (h heard) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "store is damaged" {
		h.once.Do(func() { close(h.noticed) })
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (h heard) WithAttrs([]slog.Attr) slog.Handler { return h }

// waiting holds the opening of state back until damage was noticed.
type waiting struct {
	ctx     context.Context
	noticed chan struct{}
}

// MaybeError implements errorfs.Injector.
func (w waiting) MaybeError(op errorfs.Op) error {
	if op.Kind == errorfs.OpCreate && strings.HasPrefix(op.Path, "n1/state/") {
		select {
		case <-w.noticed:
		case <-w.ctx.Done():
		}
	}
	return nil
}

// String implements errorfs.Injector.
func (w waiting) String() string { return "waiting" }

// TestDamageNoticedDuringOpenRefuses damages tables of the log that only a compaction reads, and
// lets that compaction come to it before state is open.
func TestDamageNoticedDuringOpenRefuses(t *testing.T) {
	fs := vfs.NewMem()
	st := open(t, "n1", options(fs))
	if err := errors.Join(st.SetIdentity(first), st.Close()); err != nil {
		t.Fatal(err)
	}
	uncompacted(t, fs, "n1/log")
	for _, name := range files(t, fs, "n1/log", ending(".sst")) {
		edit(t, fs, name, func(b []byte) []byte { b[3] ^= 1; return b })
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	ear := heard{Handler: slog.DiscardHandler, once: new(sync.Once), noticed: make(chan struct{})}
	o := options(errorfs.Wrap(fs, waiting{ctx, ear.noticed}))
	o.Logger = slog.New(ear)
	_, err := store.Open("n1", o)
	isDamage(t, "open", "n1/log", err)
	if ctx.Err() != nil {
		t.Error("the damage was not noticed before state was open")
	}
}

// uncompacted adds tables that overlap, more than the store leaves alone.
func uncompacted(t *testing.T, fs vfs.FS, dir string) {
	t.Helper()
	db, err := pebble.Open(dir, &pebble.Options{FS: fs, DisableAutomaticCompactions: true})
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		err := errors.Join(db.Set(logEntry(1), []byte("a"), pebble.Sync), db.Set(keys.LogEntry(9, 9, 9), []byte("b"), pebble.Sync), db.Flush())
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
