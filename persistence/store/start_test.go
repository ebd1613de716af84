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

// startCutter copies the disk before each change of it, once for each seed. Seed 0 keeps nothing
// that was not synced, the others some of it.
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
		c.cut(fmt.Sprintf("before operation %d on %s", op.Kind, op.Path))
	}
	if op.Kind == errorfs.OpRemove {
		return c.cutAfterRemove(op.Path)
	}
	return nil
}

// String implements errorfs.Injector.
func (c *startCutter) String() string { return "start cutter" }

func (c *startCutter) cut(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	promised := c.promised.Load()
	for _, seed := range c.seeds {
		config := vfs.CrashCloneCfg{RNG: rand.New(rand.NewPCG(seed, uint64(len(c.cuts))))}
		if seed > 0 {
			config.UnsyncedDataPercent = []int{20, 50, 80, 100}[seed%4]
		}
		what := fmt.Sprintf("cut %d, %s, seed %d keeps %d %%", len(c.cuts), what, seed, config.UnsyncedDataPercent)
		c.cuts = append(c.cuts, startCut{c.disk.powerCut(config), what, promised})
	}
}

// cutAfterRemove copies the disk with the one removal kept that is about to happen, and nothing else
// that was not synced. CrashClone by itself takes back every removal that was not.
func (c *startCutter) cutAfterRemove(name string) error {
	if len(c.seeds) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	promised := c.promised.Load() // before the copy, as in cut: what is promised after it is not in it
	cut := startCut{c.disk.powerCut(vfs.CrashCloneCfg{}), "after the removal of " + name, promised}
	c.cuts = append(c.cuts, cut)
	return errors.Join(cut.fs.RemoveAll(name), syncDir(cut.fs, cut.fs.PathDir(name)))
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
	cutter.mu.Lock()
	defer cutter.mu.Unlock()
	return cutter.cuts // Pebble's cleaner may go on to remove files, and be cut
}

// TestFirstStartMayBeCutAnywhere cuts the power at every file system operation of a first start.
// What is left starts again, with the identity if that was answered for. Some of those starts are
// cut everywhere in their turn.
func TestFirstStartMayBeCutAnywhere(t *testing.T) {
	cuts := start(t, startCut{fs: vfs.NewCrashableMem(), what: "first start"}, 0, 1, 2, 3, 4, 5)
	promised, again := 0, 0
	for i, cut := range cuts {
		if cut.promised {
			promised++
		}
		var seeds []uint64
		if i%97 == 0 {
			seeds = []uint64{0, uint64(i + 1)}
		}
		for _, second := range start(t, cut, seeds...) {
			second.what = cut.what + "; then " + second.what
			start(t, second)
			again++
		}
	}
	t.Logf("%d power cuts, %d of them after the identity was answered for; %d cuts of the starts after", len(cuts), promised, again)
	if promised < 5 || promised == len(cuts) || again < 400 {
		t.Errorf("%d power cuts, %d after the identity was answered for, %d of the starts after", len(cuts), promised, again)
	}
}

// TestNextStartMayBeCutAnywhere cuts the power at every file system operation of the start of a
// complete store: it must never be taken for a new one, nor for a damaged one.
func TestNextStartMayBeCutAnywhere(t *testing.T) {
	cuts := start(t, startCut{fs: vfs.NewCrashableMem(), what: "first start"}, 0)
	complete := cuts[len(cuts)-1]
	cuts = start(t, complete, 0, 1, 2, 3, 4, 5, 6, 7, 8)
	for _, cut := range cuts {
		start(t, cut)
	}
	if len(cuts) < 200 || !complete.promised {
		t.Errorf("%d power cuts of a store with an identity: %v", len(cuts), complete.promised)
	}
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// TestDirectoryMadeByAnotherIsSynced gives the store an empty directory whose own entry is not synced.
func TestDirectoryMadeByAnotherIsSynced(t *testing.T) {
	fs := vfs.NewCrashableMem()
	if err := fs.MkdirAll("n1", 0o700); err != nil {
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

// Enabled implements slog.Handler.
func (heard) Enabled(context.Context, slog.Level) bool { return true }

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
	db, err := pebble.Open(dir, &pebble.Options{FS: fs, DisableAutomaticCompactions: true, Logger: silent{}})
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

// silent is a logger of Pebble that says nothing.
type silent struct{}

// Infof implements pebble.Logger.
func (silent) Infof(string, ...any) {}

// Errorf implements pebble.Logger.
func (silent) Errorf(string, ...any) {}

// Fatalf implements pebble.Logger.
func (silent) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// TestADirectoryMadeByAnotherIsKept: whoever made the store's directory, and those above it, need
// not have synced them. A power cut after the first promise leaves all of it.
func TestADirectoryMadeByAnotherIsKept(t *testing.T) {
	fs := vfs.NewCrashableMem()
	if err := fs.MkdirAll("srv/parley/n1", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := open(t, "srv/parley/n1", options(fs)).SetIdentity(first); err != nil {
		t.Fatal(err)
	}
	again := open(t, "srv/parley/n1", options(fs.CrashClone(vfs.CrashCloneCfg{})))
	if id, ok, err := again.Identity(); err != nil || !ok || id != first {
		t.Errorf("after the power cut: %+v, %v, %v", id, ok, err)
	}
}
