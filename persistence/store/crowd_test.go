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
	st.Hurry()
	select {
	case err := <-ended:
		if n := len(written); !errors.Is(err, store.ErrNoSpace) || n < 16 || n > 64 {
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
