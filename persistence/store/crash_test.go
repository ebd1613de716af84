package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"golang.org/x/sync/errgroup"

	"parley/persistence/keys"
	"parley/persistence/snapshot"
	"parley/persistence/store"
)

// The story of the crash test: one writer appends to the log with Sync, three shards apply
// without, somebody flushes, one shard also jumps ahead by installed snapshots. At random file
// system operations, before they happen, the disk is copied as a power cut would leave it. Every
// copy must open, and hold what had been promised when it was made.

const (
	crashPoints = 400
	shards      = 3
	jumper      = keys.Shard(3) // the shard that also installs snapshots
)

// promises are what had been answered for at some moment. Each only grows.
type promises struct {
	synced  atomic.Uint64             // log entries whose commit returned
	durable [shards + 1]atomic.Uint64 // per shard: flushed, or installed, or read by DurableApplied
	applied [shards + 1]atomic.Uint64 // per shard: committed, which promises nothing
}

func raise(a *atomic.Uint64, to uint64) {
	for {
		now := a.Load()
		if now >= to || a.CompareAndSwap(now, to) {
			return
		}
	}
}

// powerCut is one copy of the disk, and the promises of the moment before.
type powerCut struct {
	fs       *vfs.MemFS
	synced   uint64
	durable  [shards + 1]uint64
	applied  [shards + 1]uint64
	unsynced int // percent of unsynced blocks that survived
}

// cutter makes power cuts out of file system operations.
type cutter struct {
	disk     crashable
	promises *promises
	enough   func() // called when all cuts have been made

	mu   sync.Mutex // guards the rest
	rng  *rand.Rand
	cuts []powerCut
}

// MaybeError implements errorfs.Injector. It never injects an error: it takes a copy.
func (c *cutter) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.cuts) == crashPoints || c.rng.IntN(4) > 0 {
		return nil
	}
	cut := powerCut{synced: c.promises.synced.Load(), unsynced: []int{0, 20, 50, 100}[c.rng.IntN(4)]}
	for i := range cut.durable {
		cut.durable[i] = c.promises.durable[i].Load()
		cut.applied[i] = c.promises.applied[i].Load()
	}
	cut.fs = c.disk.powerCut(vfs.CrashCloneCfg{UnsyncedDataPercent: cut.unsynced, RNG: c.rng})
	if c.cuts = append(c.cuts, cut); len(c.cuts) == crashPoints {
		c.enough()
	}
	return nil
}

// String implements errorfs.Injector.
func (c *cutter) String() string { return "cutter" }

// crashable is a disk that may be copied at any time. MemFS takes the lock that copying waits for
// twice in two of its methods, and hangs when a copy is asked for in between.
type crashable struct {
	*vfs.MemFS
	twice *sync.RWMutex // held for reading by those two methods
}

func newCrashable() crashable { return crashable{vfs.NewCrashableMem(), new(sync.RWMutex)} }

// Link implements vfs.FS.
func (c crashable) Link(from, to string) error {
	c.twice.RLock()
	defer c.twice.RUnlock()
	return c.MemFS.Link(from, to)
}

// ReuseForWrite implements vfs.FS.
func (c crashable) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	c.twice.RLock()
	defer c.twice.RUnlock()
	return c.MemFS.ReuseForWrite(from, to, category)
}

// powerCut copies the disk as a power cut at this moment would leave it.
func (c crashable) powerCut(config vfs.CrashCloneCfg) *vfs.MemFS {
	c.twice.Lock()
	defer c.twice.Unlock()
	return c.CrashClone(config)
}

func logEntry(i uint64) []byte { return keys.LogEntry(1, 1, i) }

func event(s keys.Shard, n uint64) []byte { return keys.Event(s, keys.UUID{1}, keys.UUID{2}, n) }

// effects are the ops of the n-th applied entry of a shard, the applied index among them. Every
// tenth entry drops all events before it.
func effects(s keys.Shard, n uint64) []store.Op {
	ops := []store.Op{store.Put(keys.Replica(s), fmt.Append(nil, n))}
	if n%10 == 0 {
		ops = append(ops, store.DeleteRange(event(s, 0), event(s, n)))
	}
	return append(ops, store.Put(event(s, n), bytes.Repeat([]byte{byte(n)}, int(n%7)*500)))
}

// stateAfter is all that a shard holds after n entries, as key -> value.
func stateAfter(s keys.Shard, n uint64) map[string]string {
	want := map[string]string{}
	if n == 0 {
		return want
	}
	want[string(keys.Replica(s))] = fmt.Sprint(n)
	for i := max(1, n-n%10); i <= n; i++ {
		want[string(event(s, i))] = string(bytes.Repeat([]byte{byte(i)}, int(i%7)*500))
	}
	return want
}

func applyEntry(st *store.Store, s keys.Shard, n uint64) error {
	b := st.State().NewBatch()
	for _, op := range effects(s, n) {
		if err := store.Apply(b, op); err != nil {
			return err
		}
	}
	return b.Commit(pebble.NoSync)
}

func TestPowerCutKeepsEveryPromise(t *testing.T) {
	disk := newCrashable()
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	given := &promises{}
	cutter := &cutter{disk: disk, promises: given, enough: enough, rng: rand.New(rand.NewPCG(1, 2))}
	st := open(t, "n1", options(errorfs.Wrap(disk, cutter)))

	g := &errgroup.Group{}
	g.Go(func() error { return appendLog(ctx, st, given) })
	for s := keys.Shard(1); s <= shards; s++ {
		g.Go(func() error { return applyShard(ctx, st, s, given) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}

	lost := 0 // how often a crash took something: else the test would prove nothing
	for i, cut := range cutter.cuts {
		lost += verifyCut(t, i, cut)
	}
	t.Logf("%d power cuts, %d log entries, shards at %d %d %d, unsynced work lost in %d shards",
		len(cutter.cuts), given.synced.Load(), given.durable[1].Load(), given.durable[2].Load(), given.durable[3].Load(), lost)
	if len(cutter.cuts) != crashPoints || lost == 0 {
		t.Errorf("%d power cuts, %d of them lost unsynced work", len(cutter.cuts), lost)
	}
}

func appendLog(ctx context.Context, st *store.Store, given *promises) error {
	for i := uint64(1); ctx.Err() == nil; i++ {
		if err := st.Log().Set(logEntry(i), bytes.Repeat([]byte{byte(i)}, int(i%9)*300), pebble.Sync); err != nil {
			return err
		}
		given.synced.Store(i)
	}
	return nil
}

// applyShard applies entries, flushes and asks what is durable now and then; the jumper installs
// a snapshot in the place of entries.
func applyShard(ctx context.Context, st *store.Store, s keys.Shard, given *promises) error {
	rng := rand.New(rand.NewPCG(uint64(s), 3))
	for n := uint64(1); ctx.Err() == nil; n++ {
		if err := applyEntry(st, s, n); err != nil {
			return err
		}
		given.applied[s].Store(n)
		switch dice := rng.IntN(100); {
		case dice < 3:
			if err := st.FlushState(context.WithoutCancel(ctx)); err != nil {
				return err
			}
			raise(&given.durable[s], n)
		case dice < 6:
			row, ok, err := st.DurableApplied(s)
			if err != nil {
				return err
			}
			if ok {
				var durable uint64
				fmt.Sscan(string(row), &durable)
				raise(&given.durable[s], durable)
			}
		case dice < 10 && s == jumper:
			n += uint64(rng.IntN(30))
			if err := install(ctx, st, s, n); err != nil {
				return err
			}
			raise(&given.durable[s], n)
		}
	}
	return nil
}

// install replaces the shard by what another node has after n entries.
func install(ctx context.Context, st *store.Store, s keys.Shard, n uint64) (err error) {
	leader, err := store.Open("leader", options(vfs.NewMem()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leader.Close()) }()
	for i := max(1, n-n%10); i <= n; i++ {
		if err := applyEntry(leader, s, i); err != nil {
			return err
		}
	}
	r, err := leader.Snapshot()
	if err != nil {
		return err
	}
	defer r.Close()
	ctx = context.WithoutCancel(ctx)
	var stream bytes.Buffer
	if _, err := snapshot.Write(ctx, &stream, r, s); err != nil {
		return err
	}
	f, err := snapshot.Receive(ctx, &stream, st.FS(), st.IncomingDir(), s)
	if err != nil {
		return err
	}
	return errors.Join(snapshot.Install(ctx, st, f), f.Remove())
}

// verifyCut opens one copy of the disk and says in how many shards the crash took applied work
// that nobody had promised.
func verifyCut(t *testing.T, i int, cut powerCut) (lost int) {
	t.Helper()
	st, err := store.Open("n1", options(cut.fs))
	if err != nil {
		t.Fatalf("cut %d (%d %% unsynced kept) does not open: %v", i, cut.unsynced, err)
	}
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	if n := survivedLog(t, st); n < cut.synced {
		t.Errorf("cut %d (%d %%): %d log entries were synced, %d are left", i, cut.unsynced, cut.synced, n)
	}
	for s := keys.Shard(1); s <= shards; s++ {
		n, got := survived(t, st, s)
		if n < cut.durable[s] {
			t.Errorf("cut %d (%d %%): shard %d was durable at %d, is at %d", i, cut.unsynced, s, cut.durable[s], n)
		}
		if !maps.Equal(got, stateAfter(s, n)) {
			t.Errorf("cut %d (%d %%): shard %d has applied %d, but not exactly its effects", i, cut.unsynced, s, n)
		}
		row, ok, err := st.DurableApplied(s)
		if err != nil || ok != (n > 0) || ok && string(row) != fmt.Sprint(n) {
			t.Errorf("cut %d: shard %d is at %d, durable says %q %v %v", i, s, n, row, ok, err)
		}
		if n < cut.applied[s] {
			lost++
		}
	}
	return lost
}

// survivedLog counts the log entries, which must be dense from 1.
func survivedLog(t *testing.T, st *store.Store) (n uint64) {
	t.Helper()
	it, err := st.Log().NewIter(&pebble.IterOptions{LowerBound: logEntry(0), UpperBound: logEntry(1 << 40)})
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		if n++; !bytes.Equal(it.Key(), logEntry(n)) {
			t.Fatalf("a hole in the log: entry %d is %x", n, it.Key())
		}
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

// survived reads a shard's applied index and all its rows.
func survived(t *testing.T, st *store.Store, s keys.Shard) (applied uint64, rows map[string]string) {
	t.Helper()
	rows = map[string]string{}
	lo, hi := keys.Span(s)
	err := st.Reader().Scan(lo, hi, false, func(k, v []byte) (bool, error) {
		rows[string(k)] = string(v)
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if row, ok := rows[string(keys.Replica(s))]; ok {
		fmt.Sscan(row, &applied)
	}
	return applied, rows
}

// TestSnapshotInstallIsAllOrNothing cuts the power at every single file system operation of one
// install, over flushed and unflushed rows of before.
func TestSnapshotInstallIsAllOrNothing(t *testing.T) {
	disk := newCrashable()
	every := &everyOperation{disk: disk}
	st := open(t, "n1", options(errorfs.Wrap(disk, every)))
	for n := uint64(1); n <= 25; n++ {
		if err := applyEntry(st, jumper, n); err != nil {
			t.Fatal(err)
		}
		if n == 15 {
			flush(t, st)
		}
	}
	every.on.Store(true)
	if err := install(t.Context(), st, jumper, 48); err != nil {
		t.Fatal(err)
	}
	cuts := every.stop()

	var seen []uint64
	for i, fs := range cuts {
		after := open(t, "n1", options(fs))
		n, rows := survived(t, after, jumper)
		if !maps.Equal(rows, stateAfter(jumper, n)) {
			t.Errorf("cut %d of %d: applied %d, but not exactly its effects", i, len(cuts), n)
		}
		if seen = append(seen, n); i > 0 && seen[i-1] > n {
			t.Errorf("cut %d of %d: back from %d to %d", i, len(cuts), seen[i-1], n)
		}
	}
	if last := seen[len(seen)-1]; last != 48 {
		t.Errorf("the install returned, and a crash leaves applied %d", last)
	}
	if seen = slices.Compact(seen); !slices.Equal(seen, []uint64{15, 25, 48}) {
		t.Errorf("applied after the cuts: %v", seen)
	}
}

// everyOperation copies the disk before each change of it.
type everyOperation struct {
	disk crashable
	on   atomic.Bool
	mu   sync.Mutex // guards cuts
	cuts []*vfs.MemFS
}

// MaybeError implements errorfs.Injector.
func (e *everyOperation) MaybeError(op errorfs.Op) error {
	if e.on.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.cuts = append(e.cuts, e.disk.powerCut(vfs.CrashCloneCfg{}))
	}
	return nil
}

// stop takes the last copy, and gives all. Pebble's own work may go on, and be cut: those copies are no more asked for.
func (e *everyOperation) stop() []*vfs.MemFS {
	e.on.Store(false)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cuts = append(e.cuts, e.disk.powerCut(vfs.CrashCloneCfg{}))
	return e.cuts
}

// String implements errorfs.Injector.
func (e *everyOperation) String() string { return "every operation" }
