package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/persistence/store"
)

// scarce is a file system in memory with little space.
type scarce struct {
	*vfs.MemFS
	hidden bool   // as with a quota, it does not say what is left
	only   string // part of the names of the files that need space; empty = all do

	mu   sync.Mutex // guards what follows
	left uint64
	held map[string]uint64 // set aside, by file

	refusals chan struct{} // a value for each write that found no space, as long as there is room
}

const scarceSize = 64 << 20

func newScarce() *scarce {
	return &scarce{MemFS: vfs.NewMem(), left: scarceSize, held: map[string]uint64{}, refusals: make(chan struct{}, 1000)}
}

// take gives as many of n bytes as there are.
func (s *scarce) take(n int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if uint64(n) <= s.left {
		s.left -= uint64(n)
		return n, nil
	}
	n, s.left = int(s.left), 0
	select {
	case s.refusals <- struct{}{}:
	default:
	}
	return n, &fs.PathError{Op: "write", Err: syscall.ENOSPC}
}

// set says how much is left, and gives what was.
func (s *scarce) set(left uint64) (before uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.left = s.left, left
	return before
}

// refused waits until another write has found no space.
func (s *scarce) refused(t *testing.T) {
	t.Helper()
	select {
	case <-s.refusals:
	case <-time.After(time.Minute):
		t.Fatal("no write asks for space")
	}
}

func (s *scarce) GetDiskUsage(string) (vfs.DiskUsage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hidden {
		return vfs.DiskUsage{AvailBytes: scarceSize, TotalBytes: scarceSize}, nil
	}
	return vfs.DiskUsage{AvailBytes: s.left, TotalBytes: scarceSize, UsedBytes: scarceSize - s.left}, nil
}

func (s *scarce) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.MemFS.Create(name, c)
	if !strings.Contains(name, s.only) {
		return f, err
	}
	return scarceFile{f, s, name}, err
}

func (s *scarce) Remove(name string) error {
	err := s.MemFS.Remove(name)
	if err == nil {
		s.mu.Lock()
		s.left += s.held[name]
		delete(s.held, name)
		s.mu.Unlock()
	}
	return err
}

type scarceFile struct {
	vfs.File
	fs   *scarce
	name string
}

func (f scarceFile) Write(p []byte) (int, error) {
	n, none := f.fs.take(len(p))
	if n, err := f.File.Write(p[:n]); err != nil {
		return n, err
	}
	return n, none
}

func (f scarceFile) Preallocate(_, n int64) error {
	if n, err := f.fs.take(int(n)); err != nil {
		f.fs.set(uint64(n))
		return err
	}
	f.fs.mu.Lock()
	f.fs.held[f.name] += uint64(n)
	f.fs.mu.Unlock()
	return nil
}

func scarceStore(t *testing.T, disk *scarce, fatal func(error)) *store.Store {
	t.Helper()
	o := options(disk)
	o.Fatal, o.LogMemTableBytes, o.StateMemTableBytes = fatal, 1<<20, 1<<20
	st, err := store.Open("data", o)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// logs writes to the log, durably.
func logs(st *store.Store, n int) error {
	return st.Log().Set(fmt.Appendf(nil, "key-%03d", n), bytes.Repeat([]byte("x"), 64<<10), pebble.Sync)
}

func reserved(disk *scarce) bool {
	_, err := disk.Stat(disk.PathJoin("data", "reserve"))
	return err == nil
}

// TestADiskThatFillsAtOneStroke: what is being written finds the reserve, what no longer fits waits,
// and goes on when there is space, as if nothing had been. Nothing is lost and nothing ends.
func TestADiskThatFillsAtOneStroke(t *testing.T) {
	disk := newScarce()
	st := scarceStore(t, disk, func(err error) { panic(err) })
	now := time.Unix(1000, 0)
	if got := st.Space(now); got.Full || !got.Known || got.MinFreeBytes != scarceSize/20 || !reserved(disk) {
		t.Fatalf("at first %+v, with a reserve: %v", got, reserved(disk))
	}
	before := disk.set(0)
	if err := logs(st, 1); err != nil {
		t.Fatal(err)
	}
	select {
	case <-st.Starved():
	default:
		t.Error("nobody was told")
	}
	if got := st.Space(now); !got.Full || reserved(disk) {
		t.Fatalf("with nothing left %+v, with a reserve: %v", got, reserved(disk))
	}
	disk.set(1000) // not enough for the next one, but for a part of it
	done := make(chan error, 1)
	go func() { done <- logs(st, 2) }()
	for range 5 {
		disk.refused(t)
	}
	select {
	case err := <-done:
		t.Fatal("written without space:", err)
	default:
	}
	disk.set(before)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := st.Space(now); !got.Full {
		t.Errorf("trusted at once: %+v", got)
	}
	if got := st.Space(now.Add(4 * time.Second)); got.Full || !reserved(disk) {
		t.Errorf("with space again %+v, with a reserve: %v", got, reserved(disk))
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	st = scarceStore(t, disk, func(err error) { panic(err) })
	for n := range 3 {
		_, closer, err := st.Log().Get(fmt.Appendf(nil, "key-%03d", n))
		if (err == nil) != (n > 0) {
			t.Errorf("row %d after a restart: %v", n, err)
		}
		if err != nil {
			continue
		}
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

// TestAStoreWhoseWriteWaitsIsFull: whatever the file system says, and for however long.
func TestAStoreWhoseWriteWaitsIsFull(t *testing.T) {
	disk := newScarce()
	disk.hidden = true
	st := scarceStore(t, disk, func(err error) { panic(err) })
	now := time.Unix(1000, 0)
	if got := st.Space(now); got.Full {
		t.Fatalf("at first %+v", got)
	}
	disk.set(0)
	if err := logs(st, 1); err != nil {
		t.Fatal(err) // into the reserve
	}
	disk.set(0)
	for len(disk.refusals) > 0 {
		<-disk.refusals // of the first write
	}
	done := make(chan error, 1)
	go func() { done <- logs(st, 2) }()
	for range 2 { // the first of them is before the write waits
		disk.refused(t)
	}
	for second := range 10 {
		if got := st.Space(now.Add(time.Duration(second) * time.Second)); !got.Full {
			t.Fatalf("after %d s: %+v", second, got)
		}
	}
	disk.set(scarceSize)
	if err := <-done; err != nil {
		t.Error(err)
	}
	st.Space(now.Add(20 * time.Second))
	if got := st.Space(now.Add(24 * time.Second)); got.Full {
		t.Errorf("when nothing waits any more: %+v", got)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

// TestALastFlushWithoutSpace: who is about to close a store does not wait for a flush that finds no space.
func TestALastFlushWithoutSpace(t *testing.T) {
	disk := newScarce()
	st := scarceStore(t, disk, func(err error) { panic(err) })
	if err := st.State().Set([]byte("key"), bytes.Repeat([]byte("x"), 64<<10), pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	if err := disk.Remove(disk.PathJoin("data", "reserve")); err != nil {
		t.Fatal(err) // anybody may
	}
	before := disk.set(0)
	st.Hurry()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := st.FlushState(ctx); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("the flush: %v", err)
	}
	disk.set(before) // Pebble's own end needs some
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

// TestSnapshotsDoNotWaitForSpace: a stream from another node is refused rather than kept waiting, and
// leaves the reserve to those who cannot be refused.
func TestSnapshotsDoNotWaitForSpace(t *testing.T) {
	disk := newScarce()
	st := scarceStore(t, disk, func(err error) { panic(err) })
	defer func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}()
	f, err := st.FS().Create(disk.PathJoin(st.IncomingDir(), "x"), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	before := disk.set(0)
	if n, err := f.Write(make([]byte, scarceSize)); !errors.Is(err, syscall.ENOSPC) || n > 0 || !reserved(disk) {
		t.Errorf("%d bytes: %v, with a reserve: %v", n, err, reserved(disk))
	}
	select {
	case <-st.Starved():
	default:
		t.Error("nobody was told")
	}
	disk.set(before)
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
