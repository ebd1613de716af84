package shard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.etcd.io/raft/v3/raftpb"

	"parley/cluster/transport"
	"parley/persistence/snapshot"
	"parley/persistence/store"
)

// filling is a file system in memory that can be full: then no table can be made any more. What a log has set
// aside can still be written, as on a real one.
type filling struct {
	*vfs.MemFS
	full   atomic.Bool
	hidden bool   // as with a quota, it does not say what is left
	below  string // only tables in this directory find no space; empty = none does
	more   uint64 // bytes that are free beyond half of it
}

func (f *filling) GetDiskUsage(string) (vfs.DiskUsage, error) {
	u := vfs.DiskUsage{TotalBytes: 100 << 30, AvailBytes: 50<<30 + f.more}
	if f.full.Load() && !f.hidden {
		u.AvailBytes = 0
	}
	return u, nil
}

func (f *filling) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.full.Load() && strings.HasSuffix(name, ".sst") && strings.Contains(name, f.below) {
		return nil, &fs.PathError{Op: "create", Path: name, Err: syscall.ENOSPC}
	}
	return f.MemFS.Create(name, c)
}

// openFilling opens a host on such a file system. The channel hears what Options.Space is told.
func openFilling(t *testing.T) (*host, *filling, <-chan bool) {
	t.Helper()
	disk, told := &filling{MemFS: vfs.NewMem()}, make(chan bool, 10)
	o := testOptions("n1")
	o.Space = func(full bool) { told <- full }
	return openHost(t, disk, 1, o), disk, told
}

// hear waits until the host has said that its disk is full, or that it has space, and its store loop has heard
// it: that answers in order.
func hear(t *testing.T, h *host, told <-chan bool, want bool) {
	t.Helper()
	select {
	case got := <-told:
		if got != want {
			t.Fatalf("the host says full=%v", got)
		}
	case <-time.After(time.Minute):
		t.Fatalf("nobody says full=%v", want)
	}
	if _, err := h.Status(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
}

// TestAFullDisk: a node that is alone refuses what it cannot store, in words of its own, reads on, and goes on by
// itself when there is space.
func TestAFullDisk(t *testing.T) {
	h, disk, told := openFilling(t)
	lead := <-h.leads.of(1)
	if err := h.write(1, lead.Epoch, post(1, 7, 0)); err != nil {
		t.Fatal(err)
	}
	disk.full.Store(true)
	hear(t, h, told, true)
	if err := h.write(1, lead.Epoch, post(1, 7, 1)); !errors.Is(err, ErrNoSpace) || !h.Full() {
		t.Errorf("a write on a full disk: %v", err)
	}
	read := make(chan error, 1)
	h.ReadIndex(1, func(_ Epoch, err error) { read <- err })
	if err := <-read; err != nil || revisionOf(t, h.Reader(), post(1, 7, 0)) != 1 {
		t.Errorf("a read on a full disk: %v", err)
	}
	if err := h.AddReplica(9, 99); !errors.Is(err, ErrNoSpace) {
		t.Errorf("a new replica on a full disk: %v", err)
	}
	disk.full.Store(false)
	hear(t, h, told, false)
	if err := h.write(1, lead.Epoch, post(1, 7, 1)); err != nil {
		t.Errorf("a write when there is space: %v", err)
	}
	h.stop()
}

// TestCloseOnAFullDisk: a node can be stopped while its disk is full, whether it knows that or not, and loses
// nothing by it.
func TestCloseOnAFullDisk(t *testing.T) {
	for _, hidden := range []bool{false, true} {
		t.Run(fmt.Sprintf("hidden=%v", hidden), func(t *testing.T) { testCloseOnAFullDisk(t, hidden) })
	}
}

func testCloseOnAFullDisk(t *testing.T, hidden bool) {
	h, disk, told := openFilling(t)
	lead := <-h.leads.of(1)
	if err := h.write(1, lead.Epoch, post(1, 7, 0)); err != nil {
		t.Fatal(err)
	}
	disk.hidden = hidden
	if disk.full.Store(true); !hidden {
		hear(t, h, told, true)
	}
	finish(t, h)
	disk.full.Store(false)
	h.start(testStore(t, disk))
	<-h.leads.of(1)
	if n := revisionOf(t, h.Reader(), post(1, 7, 0)); n != 1 {
		t.Errorf("revision %d after the restart", n)
	}
	h.stop()
}

// TestAnApplierOnAFullDisk: what is committed gathers in memory, up to a bound. Beyond that the applier waits until the disk
// has space or the store is about to be closed; then who waits for it is told that nobody knows, once.
func TestAnApplierOnAFullDisk(t *testing.T) {
	disk := &filling{MemFS: vfs.NewMem(), hidden: true}
	st := testStore(t, disk)
	defer func() {
		disk.full.Store(false)
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	a := newApplier(st, m, 100)
	disk.full.Store(true)
	const gathered, most = 8, 24 // writes
	outcomes, ended := make(chan error, 100), make(chan error, 1)
	go func() {
		var err error
		for i := byte(0); err == nil && i < 100; i++ {
			w := post(1, i, 0)
			w.Ops[0].Value = make([]byte, 256<<10)
			entry := &raftpb.Entry{Term: new(uint64(7)), Index: new(uint64(i + 1)), Type: raftpb.EntryNormal.Enum(), Data: encodeEntry(7, w)}
			var left []*applyTask
			left, err = a.apply(t.Context(), []*applyTask{{shard: 1, entries: []*raftpb.Entry{entry},
				owners: []owner{{0, []func(error){func(err error) { outcomes <- err }}}}}})
			a.leave(left)
		}
		ended <- err
	}()
	hearStarved(t, st)
	for range gathered {
		if err := <-outcomes; err != nil {
			t.Errorf("while it gathers: %v", err)
		}
	}
	st.Hurry()
	select {
	case err := <-ended:
		close(outcomes)
		var rest []error
		for o := range outcomes {
			rest = append(rest, o)
		}
		last := len(rest) - 1
		if !errors.Is(err, store.ErrNoSpace) || last < 0 || gathered+last > most || !errors.Is(rest[last], ErrUnknown) || errors.Join(rest[:last]...) != nil {
			t.Errorf("%v after %d writes and the outcomes %v", err, gathered, rest)
		}
	case <-time.After(time.Minute):
		t.Fatal("the applier does not end")
	}
}

// hearStarved waits until a write of a store has found no space.
func hearStarved(t *testing.T, st *store.Store) {
	t.Helper()
	select {
	case <-st.Starved():
	case <-time.After(time.Minute):
		t.Fatal("no write asks for space")
	}
}

// TestADropOnAFullDisk: whoever has a replica dropped on a full disk need not wait for it, nobody else does, the
// host can be closed meanwhile, and its next start drops what is left.
func TestADropOnAFullDisk(t *testing.T) {
	h, disk, told := openFilling(t)
	lead := <-h.leads.of(1)
	if err := h.write(1, lead.Epoch, post(1, 7, 0)); err != nil {
		t.Fatal(err)
	}
	dropped, err := h.Status(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	disk.full.Store(true)
	hear(t, h, told, true)
	for range 2 { // who asks again waits for the same
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		if err := h.RemoveReplica(ctx, 1, dropped.Replica); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a drop without space: %v", err)
		}
		cancel()
	}
	if err := h.AddReplica(1, dropped.Replica+1); !errors.Is(err, ErrExists) {
		t.Errorf("a new replica beside the one that is dropped: %v", err)
	}
	if err := h.RemoveReplica(t.Context(), 9, 99); !errors.Is(err, ErrNoReplica) {
		t.Errorf("a drop of another shard: %v", err)
	}
	finish(t, h)
	disk.full.Store(false)
	h.start(testStore(t, disk))
	if _, err := h.Status(t.Context(), 1); !errors.Is(err, ErrNoReplica) {
		t.Errorf("the replica is back: %v", err)
	}
	h.restart() // closing lets the disk finish
	defer h.stop()
	if n := revisionOf(t, h.Reader(), post(1, 7, 0)); n != 0 {
		t.Errorf("revision %d of what was dropped", n)
	}
}

// finish closes a host whose disk is full, and its store.
func finish(t *testing.T, h *host) {
	t.Helper()
	closed := make(chan error, 1)
	go func() { closed <- errors.Join(h.Host.Close(), h.store.Close()) }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the host does not close")
	}
}

// TestASnapshotEndsWhenTheDiskIsFull: also one that began before.
func TestASnapshotEndsWhenTheDiskIsFull(t *testing.T) {
	var full atomic.Bool
	stream := spacious{strings.NewReader("two parts"), &full}
	part := make([]byte, 3)
	if n, err := stream.Read(part); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	full.Store(true)
	if rest, err := io.ReadAll(stream); len(rest) > 0 || !errors.Is(err, ErrNoSpace) {
		t.Errorf("%q was read, %v", rest, err)
	}
}

// TestASnapshotThatDidNotFit is not read again before there is more space than there was, except now and then.
func TestASnapshotThatDidNotFit(t *testing.T) {
	from := testStore(t, vfs.NewMem())
	if err := Bootstrap(t.Context(), from, "n1", 1); err != nil {
		t.Fatal(err)
	}
	rows, err := from.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	_, err = snapshot.Write(t.Context(), &stream, rows, 1)
	if err := errors.Join(err, rows.Close(), from.Close()); err != nil {
		t.Fatal(err)
	}
	disk := &filling{MemFS: vfs.NewMem(), hidden: true, below: "incoming"}
	st := testStore(t, disk)
	n, err := OpenStepper(st, transport.NewMemory().Endpoint("n2"), newLeads(), testOptions("n2"))
	if err != nil {
		t.Fatal(err)
	}
	header := appendMessage(nil, 1, &raftpb.Message{Type: raftpb.MsgSnap.Enum(), To: new(uint64(12)), From: new(uint64(2)), Term: new(uint64(6))})
	now := time.Unix(1000, 0)
	receive := func() (read bool, err error) {
		st.Space(now)
		now = now.Add(time.Minute)
		st.Space(now) // what was full has space again
		body := bytes.NewReader(stream.Bytes())
		in, err := n.receiveSnapshot(t.Context(), "n1", header, body)
		if err == nil {
			err = in.file.Remove()
		}
		return body.Len() < stream.Len(), err
	}
	disk.full.Store(true)
	for i := range 2 * (crampedMax + 1) {
		read, err := receive()
		if !errors.Is(err, ErrNoSpace) || read != (i%(crampedMax+1) == 0) {
			t.Fatalf("attempt %d: it was read: %v, %v", i, read, err)
		}
	}
	disk.more = 5 << 30
	if read, err := receive(); !errors.Is(err, ErrNoSpace) || !read {
		t.Errorf("with more space: it was read: %v, %v", read, err)
	}
	disk.more++
	if read, err := receive(); !errors.Is(err, ErrNoSpace) || read {
		t.Errorf("with a byte more space: it was read: %v, %v", read, err)
	}
	disk.full.Store(false)
	if read, err := receive(); !errors.Is(err, ErrNoSpace) || read {
		t.Errorf("with as much as before: it was read: %v, %v", read, err)
	}
	disk.more = 10 << 30
	for range 2 {
		if read, err := receive(); err != nil || !read {
			t.Errorf("with enough: it was read: %v, %v", read, err)
		}
	}
	if err := errors.Join(n.Close(), st.Close()); err != nil {
		t.Error(err)
	}
}

// TestTheSparedAreNotReadFor: what is kept from a follower is not read again and again from the log, once for
// each of its answers to heartbeats; yet it counts among the living, without whom the leader would give up.
func TestTheSparedAreNotReadFor(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 1)
	c := &scripted{t: t, network: transport.NewMemory(), nodes: map[string]*scriptedNode{}, disks: map[string]*vfs.MemFS{}}
	c.open("n1", vfs.NewCrashableMem(), 1)
	c.open("n2", vfs.NewCrashableMem(), 0)
	c.open("n3", vfs.NewCrashableMem(), 0)
	n := c.nodes["n1"]
	c.settle()
	c.note("", errors.Join(c.nodes["n2"].AddReplica(1, 12), c.nodes["n3"].AddReplica(1, 13)))
	done := func(err error) {
		if err != nil {
			t.Error(err)
		}
	}
	for _, changes := range [][]Change{{{AddLearner, 12, "n2"}, {AddLearner, 13, "n3"}}, {{AddVoter, 12, ""}, {AddVoter, 13, ""}}} {
		n.ChangeConf(1, 0, changes, done)
		c.settle()
	}
	n.Space("n2", true)
	epoch := n.Lead(1).Epoch
	n.Propose(Proposal{Shard: 1, Epoch: epoch, Write: post(1, 7, 0), Done: done})
	c.settle()
	c.network.Isolate("n3")
	const elections = 10
	kept := n.m.dropped.WithLabelValues(dropNoSpace)
	before := testutil.ToFloat64(kept)
	c.tick("n1", elections*n.o.ElectionTicks)
	if count := testutil.ToFloat64(kept) - before; count == 0 || count > elections+1 {
		t.Errorf("in the time of %d elections old entries were read %v times", elections, count)
	}
	if lead := n.Lead(1); !lead.Local || lead.Epoch != epoch {
		t.Errorf("the lead is %+v", lead)
	}
	for _, name := range c.names() {
		c.nodes[name].stop()
	}
}
