// Package cadence lets the periodic work of a process fall together. A processor that is idle
// costs little until it is woken, and a wake-up costs the same for one loop as for ten.
package cadence

import (
	"math/rand/v2"
	"sync"
	"time"
)

// phase is where in each interval the ticks of this process fall. It differs between processes:
// nodes that count the same number of ticks until they stand for election must not do so at the
// same instant.
var phase = time.Duration(rand.Int64N(int64(time.Hour)))

// Ticker is a time.Ticker whose ticks fall together with those of every other Ticker of the
// process whose interval divides this one's or is a multiple of it. The first tick comes early or late,
// after half an interval at least and one and a half at most. Create with NewTicker. Safe for concurrent use.
type Ticker struct {
	// C delivers the ticks; one that nobody waits for is dropped, as time.Ticker does.
	C <-chan time.Time

	mu      sync.Mutex
	ticks   *time.Ticker // guarded by mu
	begin   *time.Timer  // guarded by mu; sets the phase of ticks, once
	stopped bool         // guarded by mu
}

// NewTicker starts a Ticker. It panics unless every is positive. The caller must Stop it.
func NewTicker(every time.Duration) *Ticker {
	ticks := time.NewTicker(every)
	t := &Ticker{C: ticks.C, ticks: ticks}
	first := untilNext(time.Now(), every)
	t.mu.Lock()
	defer t.mu.Unlock()
	ticks.Reset(first)
	t.begin = time.AfterFunc(first, func() { t.settle(every) })
	return t
}

// settle lets the ticks follow each other by the whole interval, from now on.
func (t *Ticker) settle(every time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.stopped {
		t.ticks.Reset(every)
	}
}

// Stop ends the ticks. It does not close C.
func (t *Ticker) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	t.begin.Stop()
	t.ticks.Stop()
}

// untilNext is the time from now to the first tick. It is no short one: the ticks follow each other by it until
// settle has run, which on a busy machine may be late.
func untilNext(now time.Time, every time.Duration) time.Duration {
	next := every - (time.Duration(now.UnixNano())-phase)%every
	if next < every/2 {
		next += every
	}
	return next
}
