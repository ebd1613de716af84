package shard

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.etcd.io/raft/v3/raftpb"

	"parley/cluster/transport"
	"parley/persistence/keys"
	"parley/persistence/raftlog"
	"parley/persistence/store"
)

// syncHook calls a function before every sync of a file.
func syncHook(fs vfs.FS, before func()) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			before()
		}
		return nil
	}))
}

// stallingDisk syncs nothing while it is stalled.
type stallingDisk struct {
	vfs.FS
	mu sync.Mutex // held while stalled
}

func newStallingDisk() *stallingDisk {
	d := &stallingDisk{}
	d.FS = syncHook(vfs.NewMem(), func() {
		d.mu.Lock()
		defer d.mu.Unlock()
	})
	return d
}

// TestStalledDiskLosesLeadership shows that a leader whose disk does not sync is replaced,
// although its heartbeats could still flow, and that nothing it acknowledged is lost.
func TestStalledDiskLosesLeadership(t *testing.T) {
	c := unopenedTowns(t, 1, "n1", "n2", "n3")
	defer c.close()
	disk := newStallingDisk()
	first := c.nodes["n1"]
	first.fs, first.o.StallAfter = disk.FS, 200*time.Millisecond
	st := testStore(t, first.fs)
	if err := errors.Join(Bootstrap(t.Context(), st, "n1", 1), st.Close()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"n1", "n2", "n3"} {
		c.revive(name)
	}
	c.grow("n2", "n3")
	c.post(1, 7, 0)
	c.handOver(1, "n1") // a busy machine may look like a stalled disk, too
	disk.mu.Lock()
	began := time.Now()
	lead := first.Lead(1)
	stuck := make(chan error, 1)
	first.Propose(Proposal{Shard: 1, Epoch: lead.Epoch, Write: post(1, 8, 0), Done: func(err error) { stuck <- err }})
	c.postWithout(first, 1)
	t.Logf("first committed write after the stall: %v", time.Since(began))
	disk.mu.Unlock()
	<-stuck // answered, whatever became of it
	c.agree(1, 7, 2, "n1", "n2", "n3")
}

// TestBudgets shows that what waits for a slow disk is bounded, by shard and by node, and that
// who is refused is told so at once.
func TestBudgets(t *testing.T) {
	disk := newStallingDisk()
	o := testOptions("n1")
	o.ShardBytesMax, o.NodeBytesMax = WriteBytesMax, 3*WriteBytesMax/2
	h := openHost(t, disk.FS, 2, o)
	defer h.stop()
	epochs := map[keys.Shard]Epoch{1: (<-h.leads.of(1)).Epoch, 2: (<-h.leads.of(2)).Epoch}
	large := func(s keys.Shard, conversation byte) Write {
		w := post(s, conversation, 0)
		w.Ops[0].Value = make([]byte, 6*WriteBytesMax/10)
		return w
	}
	disk.mu.Lock()
	waiting := make(chan error, 2)
	for s := keys.Shard(1); s <= 2; s++ {
		h.Propose(Proposal{Shard: s, Epoch: epochs[s], Write: large(s, 1), Done: func(err error) { waiting <- err }})
		if s == 1 { // the shard's budget, while the node's has room
			if err := h.write(1, epochs[1], large(1, 2)); !errors.Is(err, ErrOverloaded) {
				t.Errorf("beyond the shard's budget: %v", err)
			}
		}
	}
	if err := h.write(2, epochs[2], large(2, 2)); !errors.Is(err, ErrOverloaded) {
		t.Errorf("beyond the node's budget: %v", err)
	}
	disk.mu.Unlock()
	for range 2 {
		if err := <-waiting; err != nil {
			t.Errorf("within the budget: %v", err)
		}
	}
	// Those who wait are answered a moment before the store loop hears of it and frees the budgets.
	err := ErrOverloaded
	for over := time.Now().Add(30 * time.Second); errors.Is(err, ErrOverloaded) && time.Now().Before(over); {
		err = h.write(1, epochs[1], large(1, 2))
	}
	if err != nil {
		t.Errorf("when all was answered: %v", err)
	}
}

// TestFlushBytes shows that the log is bounded by bytes, not only by time.
func TestFlushBytes(t *testing.T) {
	o := testOptions("n1")
	o.FlushBytes, o.FlushInterval = 4<<10, time.Hour
	h := openHost(t, vfs.NewMem(), 1, o)
	defer h.stop()
	epoch := (<-h.leads.of(1)).Epoch
	for base := uint64(0); ; base++ {
		if err := h.write(1, epoch, post(1, 7, base)); err != nil {
			t.Fatal(err)
		}
		status, err := h.Status(t.Context(), 1)
		if err != nil || base > 100_000 {
			t.Fatalf("after %d writes the log begins at %d, %v", base, status.First, err)
		}
		if status.First > raftlog.FirstIndex {
			return
		}
	}
}

// TestFenceOfEpoch shows that apply itself refuses a write of another epoch than its entry's
// term, whoever let it into the log.
func TestFenceOfEpoch(t *testing.T) {
	st := testStore(t, vfs.NewMem())
	defer st.Close()
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	a := newApplier(st, m, 100)
	for _, c := range []struct {
		epoch, term, base uint64
		want              error
	}{{6, 6, 0, nil}, {6, 7, 1, ErrStale}, {8, 7, 1, ErrStale}, {7, 7, 0, ErrStale}, {7, 7, 2, ErrStale}, {7, 7, 1, nil}} {
		entry := &raftpb.Entry{Term: new(c.term), Index: new(uint64(12)), Type: raftpb.EntryNormal.Enum(), Data: encodeEntry(Epoch(c.epoch), post(1, 7, c.base))}
		got := errors.New("no answer")
		task := &applyTask{shard: 1, entries: []*raftpb.Entry{entry}, owners: []owner{{0, []func(error){func(err error) { got = err }}}}}
		if _, err := a.apply(t.Context(), []*applyTask{task}); err != nil || !errors.Is(got, c.want) {
			t.Errorf("%+v: %v, %v", c, got, err)
		}
	}
	if got := revisionOf(t, st.Reader(), post(1, 7, 0)); got != 2 {
		t.Errorf("revision %d", got)
	}
}

// TestBootstrapPowerCuts cuts the power before every sync of a bootstrap: what is left has all
// replicas, or none and can be bootstrapped again.
func TestBootstrapPowerCuts(t *testing.T) {
	disk, rng := vfs.NewCrashableMem(), rand.New(rand.NewPCG(1, 1))
	var mu sync.Mutex
	var cuts []*vfs.MemFS
	armed := false // a store that is being made is the store's affair
	hooked := syncHook(disk, func() {
		mu.Lock()
		defer mu.Unlock()
		if !armed {
			return
		}
		for _, percent := range []int{0, 50, 100} {
			cuts = append(cuts, disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}))
		}
	})
	st := testStore(t, hooked)
	mu.Lock()
	armed = true
	mu.Unlock()
	if err := errors.Join(Bootstrap(t.Context(), st, "n1", 3), st.Close()); err != nil {
		t.Fatal(err)
	}
	found := map[bool]int{}
	for _, left := range cuts {
		st := testStore(t, left)
		made, err := Bootstrapped(st)
		if err != nil {
			t.Fatal(err)
		}
		found[made]++
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		h := openHost(t, left, 3, testOptions("n1"))
		for s := keys.Meta; s <= 3; s++ {
			if lead := <-h.leads.of(s); h.write(s, lead.Epoch, post(s, 7, 0)) != nil {
				t.Errorf("shard %d takes no write", s)
			}
		}
		h.stop()
	}
	t.Logf("%d power cuts: %d before the cluster was made, %d after", len(cuts), found[false], found[true])
	if found[false] == 0 || found[true] == 0 {
		t.Error("the cuts show nothing")
	}
}

// TestDamagedLogTables flips bytes in the log's tables: the replica is refused, or comes up with
// all that it had acknowledged.
func TestDamagedLogTables(t *testing.T) {
	disk, rng := vfs.NewCrashableMem(), rand.New(rand.NewPCG(1, 1))
	o := testOptions("n1")
	o.FlushInterval = time.Hour
	h := openHost(t, disk, 1, o)
	epoch := (<-h.leads.of(1)).Epoch
	for base := range uint64(200) {
		if err := h.write(1, epoch, post(1, 7, base)); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.store.Log().Flush(); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for range 50 {
		left := disk.CrashClone(vfs.CrashCloneCfg{})
		flip(t, left, rng)
		if err := revive(t, left, 200); err != nil {
			refused++
		}
	}
	h.stop()
	t.Logf("%d of 50 refused", refused)
	if refused < 25 {
		t.Errorf("only %d damaged logs were noticed", refused)
	}
}

// flip changes one byte of a log table.
func flip(t *testing.T, fs *vfs.MemFS, rng *rand.Rand) {
	t.Helper()
	dir := "data/log"
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	var tables []string
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") {
			tables = append(tables, fs.PathJoin(dir, name))
		}
	}
	if len(tables) == 0 {
		t.Fatal("the log has no table")
	}
	f, err := fs.OpenReadWrite(tables[rng.IntN(len(tables))], vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	stat, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	at, b := rng.Int64N(stat.Size()/2), make([]byte, 1) // the blocks of rows; the store's tests have the rest
	_, err = f.ReadAt(b, at)
	b[0] ^= 1 << rng.IntN(8)
	_, failed := f.WriteAt(b, at)
	if err := errors.Join(err, failed, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// revive opens what is left, and says why it is refused. A replica that comes up must have the
// revision, and every event of it.
func revive(t *testing.T, fs vfs.FS, revision uint64) error {
	t.Helper()
	o := store.DefaultOptions()
	o.FS, o.Logger = fs, slog.New(slog.DiscardHandler)
	st, err := store.Open("data", o)
	if err != nil {
		return err
	}
	defer st.Close()
	c := &scripted{t: t}
	n := &scriptedNode{cluster: c, name: "n1"}
	s, err := OpenStepper(st, transport.NewMemory().Endpoint("n1"), n, testOptions("n1"))
	if err != nil {
		return err
	}
	s.Settle(t.Context())
	if got := revisionOf(t, s.Reader(), post(1, 7, 0)); got != revision {
		t.Errorf("revision %d after damage", got)
	}
	return s.Close()
}

// BenchmarkIdle reports what three nodes with 256 quiet shards cost while nothing happens.
func BenchmarkIdle(b *testing.B) {
	const shards = 256
	c := unopenedTowns(b, shards, "n1", "n2", "n3")
	defer c.close()
	for i, name := range []string{"n1", "n2", "n3"} {
		makeThree(b, c.nodes[name].fs, i, shards)
	}
	for _, name := range []string{"n1", "n2", "n3"} {
		c.revive(name)
	}
	for s := keys.Meta; s <= shards; s++ {
		c.leader(s)
	}
	c.await("quiet", func() bool {
		for _, n := range c.nodes {
			if n.ticking.Load() {
				return false
			}
		}
		return true
	})
	for b.Loop() {
		began, used := time.Now(), processTime(b)
		<-time.NewTimer(3 * time.Second).C
		b.ReportMetric(100*float64(processTime(b)-used)/float64(time.Since(began)), "%core")
	}
}

// makeThree makes one of three replicas of every shard in an empty store, all voters.
func makeThree(b *testing.B, fs vfs.FS, which int, shards keys.Shard) {
	st := testStore(b, fs)
	defer st.Close()
	state, log := st.State().NewBatch(), st.Log().NewBatch()
	at := raftlog.Position{Index: raftlog.FirstIndex - 1, Term: raftlog.FirstTerm}
	for s := keys.Meta; s <= shards; s++ {
		row := raftlog.Applied{Position: at}
		var voters []uint64
		for i := range 3 {
			voters = append(voters, uint64(3*int(s)+i+1))
			row.Members = append(row.Members, raftlog.Member{Replica: voters[i], Node: fmt.Sprintf("n%d", i+1)})
		}
		row.Conf = raftpb.EnsureConfState(&raftpb.ConfState{Voters: voters})
		if err := errors.Join(state.Set(keys.Replica(s), row.Encode(), nil), raftlog.StageNew(log, s, voters[which], at)); err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(state.Commit(pebble.NoSync), st.FlushState(b.Context()), log.Commit(pebble.Sync)); err != nil {
		b.Fatal(err)
	}
}

// processTime is the processor time that this process has used.
func processTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
