package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"parley/persistence/keys"
	"parley/persistence/store"
)

func TestMain(m *testing.M) {
	if kind := os.Getenv(failingSync); kind != "" {
		writeUntilSyncFails(kind) // a child of TestFailedSyncEndsTheProcess
		return
	}
	goleak.VerifyTestMain(m)
}

// options are small ones over fs; a fatal error fails the test process at once.
func options(fs vfs.FS) store.Options {
	o := store.DefaultOptions()
	o.FS = fs
	o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	o.CacheBytes = 1 << 20
	o.LogMemTableBytes, o.StateMemTableBytes = 256<<10, 256<<10
	return o
}

func open(t *testing.T, dir string, o store.Options) *store.Store {
	t.Helper()
	st, err := store.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil && !errors.Is(err, store.ErrClosed) {
			t.Error(err)
		}
	})
	return st
}

func apply(t *testing.T, st *store.Store, ops ...store.Op) {
	t.Helper()
	b := st.State().NewBatch()
	for _, op := range ops {
		if err := store.Apply(b, op); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		t.Fatal(err)
	}
}

func scanned(t *testing.T, r store.Reader, lo, hi string, reverse bool, limit int) []string {
	t.Helper()
	var got []string
	err := r.Scan([]byte(lo), []byte(hi), reverse, func(k, v []byte) (bool, error) {
		got = append(got, string(k)+"="+string(v))
		return len(got) < limit, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestReadsWhatWasApplied(t *testing.T) {
	st := open(t, "n1", options(vfs.NewMem()))
	apply(t, st, store.Put([]byte("a"), []byte("1")), store.Put([]byte("b"), nil), store.Put([]byte("c"), []byte("3")),
		store.Put([]byte("d"), []byte("4")), store.Put([]byte("e"), []byte("5")))
	apply(t, st, store.Delete([]byte("a")), store.DeleteRange([]byte("c"), []byte("e")))

	snap, err := st.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	for name, r := range map[string]store.Reader{"live": st.Reader(), "snapshot": snap} {
		t.Run(name, func(t *testing.T) {
			if v, ok, err := r.Get([]byte("b")); v == nil || len(v) != 0 || !ok || err != nil {
				t.Errorf("an empty value is present: %q %v %v", v, ok, err)
			}
			for _, absent := range []string{"a", "c", "d", "aa", "z"} {
				if v, ok, err := r.Get([]byte(absent)); v != nil || ok || err != nil {
					t.Errorf("%s: %q %v %v", absent, v, ok, err)
				}
			}
			for _, c := range []struct {
				lo, hi  string
				reverse bool
				limit   int
				want    []string
			}{
				{"a", "z", false, 9, []string{"b=", "e=5"}},
				{"a", "z", true, 9, []string{"e=5", "b="}},
				{"a", "z", false, 1, []string{"b="}},
				{"b", "e", false, 9, []string{"b="}},
				{"c", "e", false, 9, nil},
			} {
				if got := scanned(t, r, c.lo, c.hi, c.reverse, c.limit); !slices.Equal(got, c.want) {
					t.Errorf("%+v: %q", c, got)
				}
			}
			stop := errors.New("stop")
			if err := r.Scan([]byte("a"), []byte("z"), false, func(_, _ []byte) (bool, error) { return true, stop }); err != stop {
				t.Errorf("the visitor's error comes back as it is, not %v", err)
			}
		})
	}
}

func TestSnapshotKeepsItsMomentThroughAnExcise(t *testing.T) {
	st := open(t, "n1", options(vfs.NewMem()))
	lo, hi := keys.Span(7)
	apply(t, st, store.Put(keys.Replica(7), []byte("applied 1")))
	flush(t, st)
	snap, err := st.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	apply(t, st, store.Put(keys.Replica(7), []byte("applied 2")))
	if err := st.State().Excise(context.Background(), pebble.KeyRange{Start: lo, End: hi}); err != nil {
		t.Fatal(err)
	}
	if v, ok, err := snap.Get(keys.Replica(7)); string(v) != "applied 1" || !ok || err != nil {
		t.Errorf("the snapshot gives %q %v %v", v, ok, err)
	}
	if _, ok, _ := st.Reader().Get(keys.Replica(7)); ok {
		t.Error("the excise left the row")
	}
	if err := errors.Join(snap.Close(), snap.Close()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := snap.Get(keys.Replica(7)); !errors.Is(err, store.ErrClosed) {
		t.Errorf("a closed snapshot gives %v", err)
	}
}

func TestUnknownOpIsRefused(t *testing.T) {
	st := open(t, "n1", options(vfs.NewMem()))
	b := st.State().NewBatch()
	defer b.Close()
	if err := store.Apply(b, store.Op{Kind: 9, Key: []byte("k")}); err == nil {
		t.Error("an op of unknown kind was taken")
	}
}

func flush(t *testing.T, st *store.Store) {
	t.Helper()
	if err := st.FlushState(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestDurableAppliedIsWhatWasFlushed(t *testing.T) {
	st := open(t, "n1", options(vfs.NewMem()))
	want := func(row string) {
		t.Helper()
		got, ok, err := st.DurableApplied(3)
		if err != nil || ok != (row != "") || string(got) != row {
			t.Errorf("durable %q %v %v, not %q", got, ok, err, row)
		}
	}
	want("")
	apply(t, st, store.Put(keys.Replica(3), []byte("1")), store.Put(keys.Replica(4), []byte("other shard")))
	want("") // applied and readable, but a crash would lose it
	flush(t, st)
	want("1")
	apply(t, st, store.Put(keys.Replica(3), []byte("2")))
	want("1")
	flush(t, st)
	flush(t, st) // with nothing to flush
	want("2")
}

func TestFlushStateStopsWaitingWithItsContext(t *testing.T) {
	st := open(t, "n1", options(vfs.NewMem()))
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("shutting down"))
	apply(t, st, store.Put([]byte("k"), make([]byte, 100<<10)))
	// Both branches may be ready: then nil is right too.
	if err := st.FlushState(ctx); err != nil && !strings.Contains(err.Error(), "shutting down") {
		t.Errorf("flush: %v", err)
	}
}

func TestMemTableBytesGrow(t *testing.T) {
	o := options(vfs.NewMem())
	o.StateMemTableBytes = 8 << 20
	st := open(t, "n1", o)
	before := st.StateMemTableBytes()
	for i := range 32 {
		apply(t, st, store.Put(fmt.Appendf(nil, "k%d", i), make([]byte, 64<<10)))
	}
	if after := st.StateMemTableBytes(); after < 2<<20 || before > after/2 {
		t.Errorf("memtables: %d bytes before, %d after 2 MiB", before, after)
	}
}

func TestIdentityIsGivenOnce(t *testing.T) {
	fs := vfs.NewCrashableMem()
	st := open(t, "n1", options(fs))
	if _, ok, err := st.Identity(); ok || err != nil {
		t.Fatalf("a new store has an identity: %v %v", ok, err)
	}
	id := store.Identity{ClusterID: "c", NodeName: "n1", StoreUUID: "s", CreatedMs: 5}
	if err := st.SetIdentity(store.Identity{ClusterID: "c"}); err == nil {
		t.Error("half an identity was taken")
	}
	if err := st.SetIdentity(id); err != nil {
		t.Fatal(err)
	}
	row, closer, err := st.Log().Get(keys.StoreIdentity())
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"format":1,"cluster_id":"c","node_name":"n1","store_uuid":"s","created_ms":5}`; string(row) != want {
		t.Errorf("the row is %s, docs/formats.md says %s", row, want)
	}
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	crashed := fs.CrashClone(vfs.CrashCloneCfg{}) // synced: a crash right now keeps it

	again := open(t, "n1", options(crashed))
	got, ok, err := again.Identity()
	id.Format = 1
	if got != id || !ok || err != nil {
		t.Errorf("after a crash: %+v %v %v", got, ok, err)
	}
	renamed := id
	renamed.NodeName = "n2"
	if err := again.SetIdentity(renamed); err != nil {
		t.Errorf("a node may be renamed: %v", err)
	}
	for _, other := range []store.Identity{{ClusterID: "x", NodeName: "n1", StoreUUID: "s"}, {ClusterID: "c", NodeName: "n1", StoreUUID: "x"}} {
		if err := again.SetIdentity(other); err == nil || !strings.Contains(err.Error(), "belongs to cluster c as store s") {
			t.Errorf("%+v: %v", other, err)
		}
	}
}

func TestIdentityOfALaterVersionIsRefusedButNotDamage(t *testing.T) {
	st := open(t, "n1", options(vfs.NewMem()))
	for row, damage := range map[string]bool{`{"format":2}`: false, `{`: true} {
		if err := st.Log().Set(keys.StoreIdentity(), []byte(row), pebble.Sync); err != nil {
			t.Fatal(err)
		}
		if _, _, err := st.Identity(); err == nil || errors.Is(err, store.ErrDamaged) != damage {
			t.Errorf("%s: %v", row, err)
		}
	}
}

func TestDirectoryIsExclusive(t *testing.T) {
	for name, at := range map[string]struct {
		fs  vfs.FS
		dir string
	}{"disk": {vfs.Default, t.TempDir()}, "memory": {vfs.NewMem(), "n1"}} {
		t.Run(name, func(t *testing.T) {
			first := open(t, at.dir, options(at.fs))
			_, err := store.Open(at.dir, options(at.fs))
			if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), at.dir) {
				t.Fatalf("a second open gives %v", err)
			}
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			open(t, at.dir, options(at.fs))
		})
	}
}

func TestClosedStoreAnswersErrClosed(t *testing.T) {
	st := open(t, "n1", options(vfs.NewMem()))
	r := st.Reader()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	calls := map[string]func() error{
		"get":  func() error { _, _, err := r.Get([]byte("k")); return err },
		"scan": func() error { return r.Scan(nil, []byte("z"), false, nil) },
		"snapshot": func() error {
			_, err := st.Snapshot()
			return err
		},
		"identity":     func() error { _, _, err := st.Identity(); return err },
		"set identity": func() error { return st.SetIdentity(store.Identity{ClusterID: "c", NodeName: "n", StoreUUID: "s"}) },
		"begin life":   func() error { _, err := st.BeginLife(1); return err },
		"durable":      func() error { _, _, err := st.DurableApplied(1); return err },
		"flush":        func() error { return st.FlushState(context.Background()) },
		"close":        st.Close,
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s gives %v", name, err)
		}
	}
	if n := st.StateMemTableBytes(); n != 0 {
		t.Errorf("memtables of a closed store: %d bytes", n)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	if err := store.DefaultOptions().Validate(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*store.Options){
		"FS":             func(o *store.Options) { o.FS = nil },
		"Logger":         func(o *store.Options) { o.Logger = nil },
		"Fatal":          func(o *store.Options) { o.Fatal = nil },
		"CacheBytes":     func(o *store.Options) { o.CacheBytes = -1 },
		"memtables":      func(o *store.Options) { o.StateMemTableBytes = 1 },
		"OpenFilesMax":   func(o *store.Options) { o.OpenFilesMax = 0 },
		"CompactionsMax": func(o *store.Options) { o.CompactionsMax = 0 },
	} {
		o := options(vfs.NewMem())
		spoil(&o)
		if _, err := store.Open("n1", o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMetricsComeAndGoWithTheStore(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	fs := vfs.NewMem()
	for range 2 { // the second round: Close took everything back
		o := options(fs)
		o.Metrics = registry
		st := open(t, "n1", o)
		apply(t, st, store.Put([]byte("k"), []byte("v")))
		flush(t, st)
		if _, err := store.Open("n2", o); err == nil {
			t.Error("two stores share a registerer without a label between them")
		}
		if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
			t.Errorf("lint: %v %v", problems, err)
		}
		for _, name := range []string{"sync_seconds", "flush_seconds", "disk_bytes", "write_stalls_total"} {
			if n, err := testutil.GatherAndCount(registry, "parley_persistence_"+name); n == 0 || err != nil {
				t.Errorf("%s: %d series, %v", name, n, err)
			}
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		if families, err := registry.Gather(); len(families) != 0 || err != nil {
			t.Errorf("after Close: %v %v", families, err)
		}
	}
}

func TestIncomingIsEmptiedAtOpen(t *testing.T) {
	fs := vfs.NewMem()
	st := open(t, "n1", options(fs))
	name := fs.PathJoin(st.IncomingDir(), "left")
	f, err := st.FS().Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close(), st.Close()); err != nil {
		t.Fatal(err)
	}
	open(t, "n1", options(fs))
	if left, err := fs.List(st.IncomingDir()); len(left) != 0 || err != nil {
		t.Errorf("left behind: %v %v", left, err)
	}
}
