package store

import (
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
)

// TestFullness tells how a store becomes full and has space again, second by second.
func TestFullness(t *testing.T) {
	const least = 100
	f, start := fullness{}, time.Unix(1000, 0)
	for i, step := range []struct {
		second int
		free   uint64
		full   bool
	}{
		{0, 1000, false}, {1, 100, false},
		{2, 99, true},                  // at once
		{3, 100, true}, {4, 124, true}, // not enough to go on with
		{5, 125, true}, {7, 125, true}, // enough, but only just
		{8, 125, false}, {9, 100, false}, // for long enough
		{10, 0, true}, {11, 500, true}, // again
		{12, 124, true}, {13, 500, true}, // it counts from the last time that it was too little
		{15, 500, true}, {16, 500, false},
		{17, 50, true}, {18, 200, true}, {19, 60, true}, {30, 200, true}, {33, 200, false},
	} {
		f = f.next(start.Add(time.Duration(step.second)*time.Second), step.free, least)
		if f.full != step.full {
			t.Fatalf("step %d, second %d, %d free: full is %v", i, step.second, step.free, f.full)
		}
	}
}

func TestSharesOfTheVolume(t *testing.T) {
	for _, c := range []struct{ configured, size, least, reserve uint64 }{
		{0, 2 << 30, (2 << 30) / 20, (2 << 30) / 50},
		{0, 1 << 40, 1 << 30, 128 << 20},
		{5 << 30, 1 << 40, 5 << 30, 128 << 20},
	} {
		if least, reserve := minFree(c.configured, c.size), reserveOf(c.size); least != c.least || reserve != c.reserve {
			t.Errorf("of %d: %d and %d", c.size, least, reserve)
		}
	}
}

// TestPatience: a write that finds no space waits as long as its kind may, and not at all once the
// store is about to be closed; another error is nothing to wait for.
func TestPatience(t *testing.T) {
	o := DefaultOptions()
	o.FS = vfs.NewMem()
	r := newRoom("data", o, prometheus.NewCounter(prometheus.CounterOpts{Name: "x"}))
	asked := make(chan struct{}, 1000)
	full := func() error {
		asked <- struct{}{}
		return syscall.ENOSPC
	}
	if err := r.find(forever, full); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("while the store is being opened: %v", err)
	}
	r.patient.Store(true)
	for _, patience := range []time.Duration{notAtAll, time.Millisecond} {
		if err := r.find(patience, full); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("patient for %s: %v", patience, err)
		}
	}
	if err := r.find(forever, func() error { return syscall.EIO }); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	for len(asked) > 0 {
		<-asked
	}
	done := make(chan error)
	go func() { done <- r.find(forever, full) }()
	for range 3 {
		<-asked
	}
	r.end()
	if err := <-done; !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("at the end: %v", err)
	}
	r.end() // again
}

// TestSpaceThatCameJustBeforeTheEnd is found by who waits for it.
func TestSpaceThatCameJustBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultOptions()
		o.FS = vfs.NewMem()
		r := newRoom("data", o, prometheus.NewCounter(prometheus.CounterOpts{Name: "x"}))
		r.patient.Store(true)
		err, done := error(syscall.ENOSPC), make(chan error, 1)
		go func() { done <- r.find(forever, func() error { return err }) }()
		synctest.Wait() // it has tried, and waits
		err = nil
		r.end()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestTheHastyKeepTheirPace: a flush that finds no space fails when the store is about to be closed, and is
// not tried again at once; whoever waits for it is told.
func TestTheHastyKeepTheirPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultOptions()
		o.FS = vfs.NewMem()
		r := newRoom("data", o, prometheus.NewCounter(prometheus.CounterOpts{Name: "x"}))
		r.patient.Store(true)
		r.end()
		began := time.Now()
		err := r.find(whileOthersMayFree, func() error { return syscall.ENOSPC })
		if took := time.Since(began); !errors.Is(err, syscall.ENOSPC) || took != roomEvery {
			t.Errorf("after %s: %v", took, err)
		}
		select {
		case <-r.denied:
		default:
			t.Error("nobody is told")
		}
	})
}
