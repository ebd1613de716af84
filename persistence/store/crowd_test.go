package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"parley/persistence/store"
)

// TestAWriteToACrowdedState: on a full disk what is applied gathers in memory, up to a bound. Whoever writes or flushes
// beyond that can be ended, and the store be closed; what was written before is there.
func TestAWriteToACrowdedState(t *testing.T) {
	disk := newScarce()
	st := scarceStore(t, disk, func(err error) { panic(err) })
	if err := disk.Remove(disk.PathJoin("data", "reserve")); err != nil {
		t.Fatal(err)
	}
	before := disk.set(0)
	written, ended := make(chan int, 1000), make(chan error, 1)
	go func() {
		for n := 0; ; n++ {
			b := st.State().NewBatch()
			err := errors.Join(b.Set(fmt.Appendf(nil, "key-%03d", n), bytes.Repeat([]byte("x"), 64<<10), nil), st.CommitState(t.Context(), b), b.Close())
			if err != nil {
				ended <- err
				return
			}
			written <- n
		}
	}()
	disk.refused(t) // a flush
	<-st.Starved()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := st.FlushState(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a flush without space: %v", err)
	}
	const gathered, most = 16, 64 // writes
	for range gathered {
		<-written
	}
	st.Hurry()
	select {
	case err := <-ended:
		if n := gathered + len(written); !errors.Is(err, store.ErrNoSpace) || n > most {
			t.Errorf("%d writes, and then %v", n, err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the write does not end")
	}
	disk.set(before)
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

// TestAFlushBehindAManifest that waits for space ends with its context: Pebble says nothing of itself meanwhile.
func TestAFlushBehindAManifest(t *testing.T) {
	disk := newScarce()
	disk.hidden, disk.only = true, "MANIFEST"
	st := scarceStore(t, disk, func(err error) { panic(err) })
	b := st.State().NewBatch()
	if err := errors.Join(b.Set([]byte("a"), []byte("b"), nil), st.CommitState(t.Context(), b), b.Close()); err != nil {
		t.Fatal(err)
	}
	before := disk.set(0)
	first := make(chan error, 1)
	go func() { first <- st.FlushState(t.Context()) }()
	disk.refused(t)
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	for range 2 { // the second comes upon the look of the first
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		ended := make(chan error, 1)
		go func() { ended <- st.FlushState(ctx) }()
		select {
		case err := <-ended:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a flush without space: %v", err)
			}
		case <-late.C:
			t.Fatal("the flush does not end")
		}
		cancel()
	}
	disk.set(before)
	if err := errors.Join(<-first, st.FlushState(t.Context()), st.Close()); err != nil {
		t.Error(err)
	}
}
