package shard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"parley/cluster/transport"
	"parley/persistence/keys"
	"parley/persistence/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// leads lets a test wait for a shard to be led and ready.
type leads struct {
	mu    sync.Mutex
	ready map[keys.Shard]chan Lead
}

func newLeads() *leads { return &leads{ready: map[keys.Shard]chan Lead{}} }

func (l *leads) of(s keys.Shard) chan Lead {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ready[s] == nil {
		l.ready[s] = make(chan Lead, 100)
	}
	return l.ready[s]
}

func (l *leads) LeadChanged(now Lead) {
	if now.Ready {
		l.of(now.Shard) <- now
	}
}

func testStore(t testing.TB, fs vfs.FS) *store.Store {
	t.Helper()
	o := store.DefaultOptions()
	o.FS, o.CacheBytes, o.LogMemTableBytes, o.StateMemTableBytes = fs, 1<<20, 1<<20, 1<<20
	st, err := store.Open("data", o)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func testOptions(node string) Options {
	o := DefaultOptions()
	o.Node = node
	return o
}

// host is an open Host with its store; restart closes both and opens them again.
type host struct {
	*Host
	t     testing.TB
	fs    vfs.FS
	o     Options
	store *store.Store
	leads *leads
}

func openHost(t testing.TB, fs vfs.FS, shards uint32, o Options) *host {
	h := &host{t: t, fs: fs, o: o}
	st := testStore(t, fs)
	if err := Bootstrap(t.Context(), st, o.Node, shards); err != nil && !errors.Is(err, ErrExists) {
		t.Fatal(err)
	}
	h.start(st)
	return h
}

func (h *host) start(st *store.Store) {
	var err error
	h.store, h.leads = st, newLeads()
	if h.Host, err = Open(st, transport.NewMemory().Endpoint(h.o.Node), h.leads, h.o); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) stop() {
	h.t.Helper()
	if err := errors.Join(h.Host.Close(), h.store.Close()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) restart() {
	h.t.Helper()
	h.stop()
	h.start(testStore(h.t, h.fs))
}

// write proposes one write of an entity and waits for its outcome.
func (h *host) write(s keys.Shard, epoch Epoch, w Write) error {
	done := make(chan error, 1)
	h.Propose(Proposal{Shard: s, Epoch: epoch, Write: w, Done: func(err error) { done <- err }})
	return <-done
}

// post is a write of one event of a conversation: what a small message costs.
func post(s keys.Shard, conversation byte, base uint64) Write {
	app, c := keys.UUID{1}, keys.UUID{conversation}
	return Write{
		Entity: keys.Head(s, app, c, keys.KindConversation), Base: base, Head: binary.BigEndian.AppendUint64(nil, base+1),
		Ops: []store.Op{
			store.Put(keys.Event(s, app, c, base+1), fmt.Appendf(nil, "event %d", base+1)),
			store.Put(keys.Dedup(s, app, c, keys.UUID{2}, fmt.Sprint(base+1)), binary.BigEndian.AppendUint64(nil, base+1)),
		},
	}
}

func revisionOf(t testing.TB, r store.Reader, w Write) uint64 {
	t.Helper()
	row, ok, err := r.Get(w.Entity)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return 0
	}
	return binary.BigEndian.Uint64(row)
}

func TestHostCommitsAndSurvivesRestart(t *testing.T) {
	h := openHost(t, vfs.NewMem(), 3, testOptions("n1"))
	for s := keys.Meta; s <= 3; s++ {
		lead := <-h.leads.of(s)
		if !lead.Local || lead.Node != "n1" {
			t.Fatalf("lead %+v", lead)
		}
		for base := range uint64(5) {
			if err := h.write(s, lead.Epoch, post(s, 7, base)); err != nil {
				t.Fatalf("shard %d write %d: %v", s, base, err)
			}
		}
		if err := h.write(s, lead.Epoch, post(s, 7, 3)); !errors.Is(err, ErrStale) {
			t.Fatalf("an old base gave %v", err)
		}
		if err := h.write(s, lead.Epoch+1, post(s, 7, 5)); !errors.Is(err, ErrNotLeader) {
			t.Fatalf("another epoch gave %v", err)
		}
	}
	h.restart()
	defer h.stop()
	for s := keys.Meta; s <= 3; s++ {
		lead := <-h.leads.of(s)
		if got := revisionOf(t, h.Reader(), post(s, 7, 0)); got != 5 {
			t.Fatalf("shard %d has revision %d after a restart", s, got)
		}
		if err := h.write(s, lead.Epoch, post(s, 7, 5)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReadIndexOfSoleVoter(t *testing.T) {
	h := openHost(t, vfs.NewMem(), 1, testOptions("n1"))
	defer h.stop()
	type answer struct {
		epoch Epoch
		err   error
	}
	lead := <-h.leads.of(1)
	got := make(chan answer, 1)
	h.ReadIndex(1, func(epoch Epoch, err error) { got <- answer{epoch, err} })
	if a := <-got; a.err != nil || a.epoch != lead.Epoch {
		t.Fatalf("read gave %+v, leading in %d", a, lead.Epoch)
	}
	h.ReadIndex(9, func(epoch Epoch, err error) { got <- answer{epoch, err} })
	if a := <-got; !errors.Is(a.err, ErrNoReplica) {
		t.Fatalf("read of an absent shard gave %+v", a)
	}
	status, err := h.Status(context.Background(), 1)
	if err != nil || status.Role != "leader" || !status.Quiesced || status.Applied < 11 {
		t.Fatalf("status %+v, %v", status, err)
	}
}

// TestEveryProposalIsAnsweredOnce closes a host under load: each proposal hears exactly one
// answer, and what was acknowledged is there afterwards.
func TestEveryProposalIsAnsweredOnce(t *testing.T) {
	h := openHost(t, vfs.NewMem(), 4, testOptions("n1"))
	epochs := map[keys.Shard]Epoch{}
	for s := keys.Shard(1); s <= 4; s++ {
		epochs[s] = (<-h.leads.of(s)).Epoch
	}
	const proposers = 32
	acked, started := make([]uint64, proposers), make(chan struct{}, proposers)
	var wg sync.WaitGroup
	for i := range proposers {
		wg.Go(func() {
			s := keys.Shard(1 + i%4)
			for base := uint64(0); ; base++ {
				answers := make(chan error, 2)
				h.Propose(Proposal{Shard: s, Epoch: epochs[s], Write: post(s, byte(i), base), Done: func(err error) { answers <- err }})
				if err := <-answers; err != nil {
					if !errors.Is(err, ErrClosed) && !errors.Is(err, ErrUnknown) {
						t.Errorf("proposer %d: %v", i, err)
					}
					if len(answers) > 0 {
						t.Errorf("proposer %d: answered twice", i)
					}
					return
				}
				acked[i] = base + 1
				if base == 20 {
					started <- struct{}{}
				}
			}
		})
	}
	for range proposers {
		<-started
	}
	if err := h.Host.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
	h.start(testStore(t, h.fs))
	defer h.stop()
	for s := keys.Shard(1); s <= 4; s++ {
		<-h.leads.of(s)
	}
	for i := range proposers {
		s := keys.Shard(1 + i%4)
		if got := revisionOf(t, h.Reader(), post(s, byte(i), 0)); got != acked[i] && got != acked[i]+1 {
			t.Errorf("proposer %d: revision %d, acknowledged %d", i, got, acked[i])
		}
	}
}

// TestRefusals shows what is refused before anything is proposed.
func TestRefusals(t *testing.T) {
	o := testOptions("n1")
	o.ShardBytesMax, o.NodeBytesMax = WriteBytesMax, WriteBytesMax
	h := openHost(t, vfs.NewMem(), 1, o)
	defer h.stop()
	epoch := (<-h.leads.of(1)).Epoch
	large := post(1, 7, 0)
	large.Head = make([]byte, WriteBytesMax)
	if err := h.write(1, epoch, large); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	if n := testutil.ToFloat64(h.m.outcomes.WithLabelValues("too_large")); n != 1 {
		t.Errorf("counted as too large: %v", n)
	}
	if err := h.write(5, epoch, post(5, 7, 0)); !errors.Is(err, ErrNoReplica) {
		t.Errorf("no replica: %v", err)
	}
	if err := h.write(1, epoch, Write{Entity: []byte("nonsense")}); !errors.Is(err, ErrMalformed) {
		t.Errorf("malformed: %v", err)
	}
	h.waiting.Add(int64(o.NodeBytesMax)) // as if others waited
	if err := h.write(1, epoch, post(1, 7, 0)); !errors.Is(err, ErrOverloaded) {
		t.Errorf("overloaded: %v", err)
	}
	h.waiting.Add(-int64(o.NodeBytesMax))
	if err := h.write(1, epoch, post(1, 7, 0)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	// A write is answered before its bytes are given back; a read is answered after.
	read := make(chan error, 1)
	h.ReadIndex(1, func(_ Epoch, err error) { read <- err })
	if err := <-read; err != nil || h.waiting.Load() != 0 {
		t.Errorf("read: %v, %d bytes still count", err, h.waiting.Load())
	}
	bad := DefaultOptions()
	if _, err := Open(h.store, transport.NewMemory().Endpoint("x"), h.leads, bad); err == nil {
		t.Error("a host without a name was opened")
	}
	if err := h.Host.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// TestBootstrapIsOneStep crashes a bootstrap at every moment of its writes: the store has all
// replicas or none, and then can be bootstrapped again.
func TestBootstrapIsOneStep(t *testing.T) {
	fs := vfs.NewCrashableMem()
	st := testStore(t, fs)
	before := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := Bootstrap(t.Context(), st, "n1", 8); err != nil {
		t.Fatal(err)
	}
	if err := Bootstrap(t.Context(), st, "n1", 8); !errors.Is(err, ErrExists) {
		t.Fatalf("a second bootstrap gave %v", err)
	}
	after := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	for _, left := range []*vfs.MemFS{before, after} {
		h := openHost(t, left, 8, testOptions("n1"))
		for s := keys.Meta; s <= 8; s++ {
			<-h.leads.of(s)
		}
		h.stop()
	}
}

// TestRemoveReplica drops a shard under load: every proposal is answered, what is left of the
// shard is its tombstone, and the others go on.
func TestRemoveReplica(t *testing.T) {
	h := openHost(t, vfs.NewMem(), 2, testOptions("n1"))
	epochs := map[keys.Shard]Epoch{1: (<-h.leads.of(1)).Epoch, 2: (<-h.leads.of(2)).Epoch}
	var wg sync.WaitGroup
	started := make(chan struct{}, 8)
	for i := range byte(8) {
		wg.Go(func() {
			for base := uint64(0); ; base++ {
				if base == 5 {
					started <- struct{}{}
				}
				if err := h.write(1, epochs[1], post(1, i, base)); err != nil {
					if !errors.Is(err, ErrNoReplica) && !errors.Is(err, ErrUnknown) {
						t.Errorf("proposer %d: %v", i, err)
					}
					return
				}
			}
		})
	}
	for range 8 {
		<-started
	}
	if err := h.RemoveReplica(t.Context(), 1, 99); !errors.Is(err, ErrNoReplica) {
		t.Errorf("removal of a stranger: %v", err)
	}
	if err := errors.Join(h.RemoveReplica(t.Context(), 1, 2), h.RemoveReplica(t.Context(), 1, 2)); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	for range 2 {
		lo, hi := keys.Span(1)
		err := h.Reader().Scan(lo, hi, false, func(key, _ []byte) (bool, error) {
			t.Errorf("row %x is left", key)
			return true, nil
		})
		if err != nil {
			t.Error(err)
		}
		if err := h.AddReplica(1, 2); !errors.Is(err, ErrExists) {
			t.Errorf("the removed id came back: %v", err)
		}
		if _, err := h.Status(t.Context(), 1); !errors.Is(err, ErrNoReplica) {
			t.Errorf("status: %v", err)
		}
		if h.waiting.Load() != 0 {
			t.Errorf("%d bytes wait for ever", h.waiting.Load())
		}
		if err := h.write(2, epochs[2], post(2, 7, revisionOf(t, h.Reader(), post(2, 7, 0)))); err != nil {
			t.Error(err)
		}
		h.restart()
		epochs[2] = (<-h.leads.of(2)).Epoch
	}
	h.stop()
	if err := h.RemoveReplica(t.Context(), 2, 3); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}
