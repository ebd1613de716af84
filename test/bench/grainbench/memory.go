package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"time"

	"parley/test/bench/meter"
)

// memory is what conversations leave on the heap after they were used once.
type memory struct {
	AliveBytes       float64 `json:"alive_bytes"`   // of one that is alive, and idle
	PassiveBytes     float64 `json:"passive_bytes"` // of one that was passivated
	ActivationMicros float64 `json:"activation_us"` // CPU of the command that wakes one
	CommandMicros    float64 `json:"command_us"`    // CPU of the same command once it is alive
}

// memory uses every conversation twice, and then waits until all are passivated. What the store
// caches is there before.
func (b *bench) memory(dir string) (m memory, err error) {
	s, err := openStage(dir, passivation{after: time.Second, tick: time.Second})
	if err != nil {
		return m, err
	}
	err = b.found(s, b.conversations)
	if closed := s.close(); err == nil {
		err = closed
	}
	if err != nil {
		return m, err
	}
	if s, err = openStage(dir, passivation{after: b.alive, tick: time.Second}); err != nil {
		return m, err
	}
	defer s.close()
	if err := b.warm(s); err != nil {
		return m, err
	}
	before := heap()
	if m.ActivationMicros, err = b.use(s); err != nil {
		return m, err
	}
	if m.CommandMicros, err = b.use(s); err != nil {
		return m, err
	}
	if alive := s.here.Activations(); alive != b.conversations {
		return m, fmt.Errorf("%d conversations are alive, not %d: the machine is too slow for %s", alive, b.conversations, b.alive)
	}
	m.AliveBytes = (heap() - before) / float64(b.conversations)
	if err := b.keepProfile(); err != nil {
		return m, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), b.alive+passiveWithin)
	defer cancel()
	if err := awaitPassive(ctx, s); err != nil {
		return m, err
	}
	m.PassiveBytes = (heap() - before) / float64(b.conversations)
	fmt.Fprintf(b.Out, "%d conversations: %.0f bytes alive, %.0f bytes passivated; %.1f µs CPU to wake one, %.1f µs for the same command again\n",
		b.conversations, m.AliveBytes, m.PassiveBytes, m.ActivationMicros, m.CommandMicros)
	return m, nil
}

// warm reads all that is stored, so that caches have grown.
func (b *bench) warm(s *stage) error {
	return s.host.Reader().Scan(nil, nil, false, func(_, _ []byte) (bool, error) { return true, nil })
}

// use gives every conversation one command, and the CPU of one in microseconds.
func (b *bench) use(s *stage) (cpu float64, err error) {
	before := meter.Self()
	err = b.each(b.conversations, func(i int) error {
		_, err := s.here.Caller().Ask(bounded(), typing(i))
		return err
	})
	return micros(meter.Self()-before) / float64(b.conversations), err
}

// heap is what is in use of it, and of stacks, in bytes.
func heap() float64 {
	for range 2 { // the first one's finalizers free more
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}

// passiveWithin is how long grains may take to go once they may.
const passiveWithin = 2 * time.Minute

// awaitPassive returns when no grain is alive.
func awaitPassive(ctx context.Context, s *stage) error {
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for s.here.Activations() > 0 {
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("%d grains are still alive: %w", s.here.Activations(), ctx.Err())
		}
	}
	return nil
}

func (b *bench) keepProfile() error {
	if b.profile == "" {
		return nil
	}
	f, err := os.Create(b.profile)
	if err != nil {
		return err
	}
	defer f.Close()
	return pprof.WriteHeapProfile(f)
}
