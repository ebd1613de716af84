package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/persistence/keys"
)

// Two options of this package look harmless and are not. Each test shows the loss without the
// option, and that the option prevents it. When the first half fails after an upgrade of Pebble,
// the option may no longer be needed.

func smallOptions(fs vfs.FS) Options {
	o := DefaultOptions()
	o.FS = fs
	o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	o.CacheBytes, o.LogMemTableBytes, o.StateMemTableBytes = 1<<20, 256<<10, 256<<10
	return o
}

func quiet(p *pebble.Options, fs vfs.FS) *pebble.Options {
	p.FS = fs
	p.Logger = pebbleLogger{halter: halter{fatal: func(err error) { panic(err) }}, logger: slog.New(slog.DiscardHandler)}
	return p
}

func TestIngestOverAMemtableSurvivesACrash(t *testing.T) {
	ingest := func(t *testing.T, spoil func(*pebble.Options)) (value string) {
		fs := vfs.NewCrashableMem()
		p := quiet(stateOptions(smallOptions(fs)), fs)
		spoil(p)
		db, err := pebble.Open("state", p)
		must(t, err)
		must(t, db.Set(keys.Replica(1), []byte("before"), pebble.NoSync)) // in the memtable
		f, err := fs.Create("one.sst", vfs.WriteCategoryUnspecified)
		must(t, err)
		w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), TableOptions())
		must(t, w.Set(keys.Replica(1), []byte("installed")))
		must(t, w.Close())
		lo, hi := keys.Span(1)
		_, err = db.IngestAndExcise(context.Background(), []string{"one.sst"}, nil, nil, pebble.KeyRange{Start: lo, End: hi})
		must(t, err)
		crashed := fs.CrashClone(vfs.CrashCloneCfg{})
		must(t, db.Close())

		after, err := pebble.Open("state", quiet(stateOptions(smallOptions(crashed)), crashed))
		must(t, err)
		defer after.Close()
		v, closer, err := after.Get(keys.Replica(1))
		if err != nil {
			return ""
		}
		defer closer.Close()
		return string(v)
	}
	// Without the option the ingested table becomes durable when a background flush gets to it:
	// the crash comes before that in some of these attempts.
	lost := false
	for attempt := 0; attempt < 200 && !lost; attempt++ {
		lost = ingest(t, func(p *pebble.Options) {
			p.Experimental.DisableIngestAsFlushable = func() bool { return false }
		}) != "installed"
	}
	if !lost {
		t.Error("without DisableIngestAsFlushable the ingest survives too: is the option still needed?")
	}
	if with := ingest(t, func(*pebble.Options) {}); with != "installed" {
		t.Errorf("the ingest had returned, and after a crash the row is %q", with)
	}
}

func TestDamagedSyncedRecordIsNotACleanEnd(t *testing.T) {
	const records = 600 // several blocks of the log: only what a later block vouches for is known
	damage := func(t *testing.T, write func(vfs.FS) *pebble.DB) (left int, err error) {
		fs := vfs.NewCrashableMem()
		db := write(fs)
		for i := range records {
			must(t, db.Set(keys.LogEntry(1, 1, uint64(i)), []byte(strings.Repeat("x", 200)), pebble.Sync))
		}
		crashed := fs.CrashClone(vfs.CrashCloneCfg{})
		flipMiddle(t, crashed, "node/log", ".log")
		after, err := Open("node", smallOptions(crashed))
		if err != nil {
			return 0, err
		}
		it, err := after.Log().NewIter(nil)
		must(t, err)
		for ok := it.First(); ok; ok = it.Next() {
			left++
		}
		must(t, it.Close())
		must(t, after.Close())
		return left, nil
	}
	bare := func(format pebble.FormatMajorVersion) func(vfs.FS) *pebble.DB {
		return func(fs vfs.FS) *pebble.DB {
			p := quiet(logOptions(smallOptions(fs)), fs)
			p.FormatMajorVersion = format
			must(t, makeDirectory(fs, "node/log"))
			db, err := pebble.Open("node/log", p)
			must(t, err)
			t.Cleanup(func() { must(t, db.Close()) })
			return db
		}
	}
	for name, write := range map[string]func(vfs.FS) *pebble.DB{
		"the format before":                  bare(pebble.FormatWALSyncChunks - 1),
		"the first log file of a new Pebble": bare(formatPebble),
	} {
		if left, err := damage(t, write); err != nil || left >= records {
			t.Errorf("%s notices too: is the precaution still needed? %d %v", name, left, err)
		}
	}
	left, err := damage(t, func(fs vfs.FS) *pebble.DB {
		st, err := Open("node", smallOptions(fs))
		must(t, err)
		t.Cleanup(func() { must(t, st.Close()) })
		return st.Log()
	})
	if err == nil {
		t.Errorf("%d of %d synced records are left, and nobody was told", left, records)
	} else if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "node/log") || !strings.Contains(err.Error(), "quarantine") {
		t.Errorf("the damage is called %v", err)
	}
}

// flipMiddle flips a bit in the middle of the newest file of dir with that ending.
func flipMiddle(t *testing.T, fs vfs.FS, dir, ending string) {
	t.Helper()
	names, err := fs.List(dir)
	must(t, err)
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ending) })
	if len(names) == 0 {
		t.Fatalf("no %s in %s", ending, dir)
	}
	f, err := fs.OpenReadWrite(fs.PathJoin(dir, slices.Max(names)), vfs.WriteCategoryUnspecified)
	must(t, err)
	body, err := io.ReadAll(f)
	must(t, err)
	at := len(body) / 2
	_, err = f.WriteAt([]byte{body[at] ^ 1}, int64(at))
	must(t, err)
	must(t, f.Close())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFormatTellsDamageFromATornTail(t *testing.T) {
	if formatPebble < pebble.FormatWALSyncChunks {
		t.Errorf("format %d is older than FormatWALSyncChunks", formatPebble)
	}
}

func TestFatalfDoesNotReturn(t *testing.T) {
	var told error
	returned := false
	l := pebbleLogger{dir: "d", halter: halter{fatal: func(err error) { told = err; runtime.Goexit() }}}
	var wait sync.WaitGroup
	wait.Go(func() {
		l.Fatalf("commit %d", 7)
		returned = true
	})
	wait.Wait()
	if returned || fmt.Sprint(told) != "d: commit 7" {
		t.Errorf("returned %v, told %v", returned, told)
	}
}
