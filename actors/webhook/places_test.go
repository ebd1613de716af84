package webhook

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"parley/actors/outbox"
)

// crowd is an outbox with so many conversations, each with one event for the same host. What comes back untried
// comes again when it is told to.
type crowd struct {
	t    *testing.T
	sink *Sink

	// Guarded by the sink's mu.
	host      func(context.Context) verdict
	inside    int // deliveries that keep a place of the outbox
	delivered int
	failed    int
	longest   time.Duration // that one of them was inside
}

func newCrowd(t *testing.T, host func(context.Context) verdict) *crowd {
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &crowd{t: t, sink: &Sink{options: DefaultOptions(), metrics: m, lines: map[string]*line{}}, host: host}
}

// come has n conversations come at once. Their answers are taken one at a time, under the sink's own lock.
func (c *crowd) come(n int) {
	for range n {
		c.enter()
	}
}

func (c *crowd) enter() {
	began := time.Now()
	c.sink.mu.Lock()
	c.inside++
	host := c.host
	c.sink.mu.Unlock()
	c.sink.enqueue("app http://host", job{ctx: c.t.Context(), run: host, done: func(err error) { c.left(began, err) }})
}

func (c *crowd) left(began time.Time, err error) {
	c.sink.mu.Lock()
	defer c.sink.mu.Unlock()
	c.inside--
	c.longest = max(c.longest, time.Since(began))
	var f *outbox.Failure
	switch {
	case err == nil:
		c.delivered++
	case errors.As(err, &f) && f.Untried:
		time.AfterFunc(f.After, c.enter)
	default:
		c.failed++
	}
}

// pass lets virtual time pass, and gives how many are inside then.
func (c *crowd) pass(d time.Duration) int {
	timer := time.NewTimer(d)
	<-timer.C
	synctest.Wait()
	c.sink.mu.Lock()
	defer c.sink.mu.Unlock()
	return c.inside
}

// answers is a host that answers after a while.
func answers(after time.Duration) func(context.Context) verdict {
	return func(ctx context.Context) verdict {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-timer.C:
			return verdict{host: working}
		case <-ctx.Done():
			return verdict{err: ctx.Err(), host: failing}
		}
	}
}

// TestADeadHostHoldsOnePlace, however many conversations have their first event for it, and however long.
func TestADeadHostHoldsOnePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, answers(time.Hour))
		c.come(100)
		synctest.Wait()
		for range 90 {
			if n := c.pass(time.Second); n > 1 {
				t.Fatalf("%d hold a place", n)
			}
		}
		if c.failed < 8 || c.delivered > 0 { // one after the other, for ten seconds each
			t.Errorf("%d have failed", c.failed)
		}
		c.sink.mu.Lock()
		c.host = answers(time.Millisecond) // it is alive again
		c.sink.mu.Unlock()
		c.pass(5 * time.Minute)
		if c.failed+c.delivered != 100 {
			t.Errorf("%d failed, %d were delivered", c.failed, c.delivered)
		}
	})
}

// TestANewHostIsSoonAskedByAll: its first answer opens the line for everybody.
func TestANewHostIsSoonAskedByAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, answers(50*time.Millisecond))
		c.come(100)
		c.pass(time.Second)
		if c.delivered != 100 {
			t.Errorf("%d of 100 were delivered", c.delivered)
		}
		c.come(32) // it is known now
		c.pass(50 * time.Millisecond)
		if c.delivered != 132 {
			t.Errorf("%d of 132 were delivered", c.delivered)
		}
	})
}

// TestASlowHostKeepsPlacesForATime: those who wait for their turn at a host that answers, but slowly, give their
// places to others.
func TestASlowHostKeepsPlacesForATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, answers(9*time.Second))
		c.come(1)
		c.pass(10 * time.Second)
		c.come(300)
		c.pass(10 * time.Minute)
		if c.delivered != 301 || c.longest > 2*c.sink.options.Timeout {
			t.Errorf("%d were delivered, one kept its place for %s", c.delivered, c.longest)
		}
	})
}
