package runtime

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"

	"parley/cluster/shard"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// TestFreshEndsWithItsContext: also while somebody else's pull is under way.
func TestFreshEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Runtime{public: &public{pulling: make(chan struct{}, 1)}}
		r.public.pulling <- struct{}{}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.fresh(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

// scarce is a file system in memory on which, while it is full, nothing more can be written to a log.
type scarce struct {
	*vfs.MemFS
	full atomic.Bool
	met  chan struct{} // capacity 1: a write has found no space
}

func (s *scarce) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.MemFS.Create(name, c)
	if filepath.Ext(name) == ".log" && err == nil {
		f = scarceFile{f, s}
	}
	return f, err
}

type scarceFile struct {
	vfs.File
	fs *scarce
}

func (f scarceFile) Write(p []byte) (int, error) {
	if !f.fs.full.Load() {
		return f.File.Write(p)
	}
	select {
	case f.fs.met <- struct{}{}:
	default:
	}
	return 0, syscall.ENOSPC
}

// TestACopyThatWaitsForSpace: while the copy of the public part waits to be written, it shows what is new, and
// who must know that it is on disk can give up; when there is space, it is, and is there after a restart.
func TestACopyThatWaitsForSpace(t *testing.T) {
	disk := &scarce{MemFS: vfs.NewMem(), met: make(chan struct{}, 1)}
	o := store.DefaultOptions()
	o.FS, o.CacheBytes, o.LogMemTableBytes, o.StateMemTableBytes = disk, 1<<20, 1<<20, 1<<20
	st, err := store.Open("data", o)
	if err != nil {
		t.Fatal(err)
	}
	r := &Runtime{options: Options{Logger: slog.New(slog.DiscardHandler)}}
	if r.public, err = openPublic(st); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.group.Go(func() error { r.keepPublic(ctx); return nil })
	disk.full.Store(true)
	r.public.show(&eventv1.PublicCopy{Version: 7, Rows: []*eventv1.PublicRow{{Key: []byte("k"), Value: []byte("v")}}})
	<-disk.met
	if value, ok, err := r.public.Get([]byte("k")); string(value) != "v" || !ok || err != nil {
		t.Errorf("while it waits: %q, %v, %v", value, ok, err)
	}
	impatient, stop := context.WithTimeout(t.Context(), time.Millisecond)
	defer stop()
	if err := r.public.durable(impatient); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("durable without space: %v", err)
	}
	disk.full.Store(false)
	if err := r.public.durable(t.Context()); err != nil {
		t.Error(err)
	}
	cancel()
	if err := errors.Join(r.group.Wait(), st.Close()); err != nil {
		t.Fatal(err)
	}
	if st, err = store.Open("data", o); err != nil {
		t.Fatal(err)
	}
	p, err := openPublic(st)
	if err != nil || p.copy.Load().Version != 7 {
		t.Errorf("after a restart: version %d, %v", p.copy.Load().GetVersion(), err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

// TestChangesAreToldSoon: however many follow them, and what does not change is told every second.
func TestChangesAreToldSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := announcer{make(chan struct{}, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		pass := func(d time.Duration) {
			<-time.NewTimer(d).C
			synctest.Wait()
		}
		var told atomic.Int64
		go a.run(ctx, func() { told.Add(1) })
		const step, steps = 2 * time.Millisecond, 1500
		for range steps {
			a.LeadChanged(shard.Lead{})
			pass(step)
		}
		if most, n := int64(step*steps/announceAfter), told.Load(); n > most || n < most/2 {
			t.Errorf("changes for 3 s were told %d times", n)
		}
		pass(announceAfter)
		told.Store(0)
		if pass(3 * announceEvery); told.Load() != 3 {
			t.Errorf("in 3 s without a change it was told %d times", told.Load())
		}
		cancel()
		synctest.Wait()
	})
}

// TestWorkForOtherNodesEnds: when who asked for it has gone.
func TestWorkForOtherNodesEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Runtime{ctx: t.Context(), options: DefaultOptions()}
		r.options.Sessions = func(ctx context.Context, _, _ string) ([]string, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}
		began := time.Now()
		r.onNode(&nodev1.GrainRequest{Query: &nodev1.Query{Body: &nodev1.Query_ListSessions{ListSessions: &nodev1.ListSessions{User: "ann"}}}},
			func(proto.Message) {})
		if err := r.tasks.Wait(); err != nil || time.Since(began) != r.options.System.CallTimeout {
			t.Errorf("it took %v, %v", time.Since(began), err)
		}
	})
}
