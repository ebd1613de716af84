// Package gate lets in who arrives: connections, logins, and what they subscribe to. However many come
// at once, only so many are worked on that those who are in keep their room.
//
// How many that is follows from a delay that is measured, and from no number: how long work that is
// ready waits for a processor of this node. A message crosses a dozen goroutines on its way, and each
// of them stands in that line. While the delay is small, more may come in; when it is not, fewer.
//
// The heart is valve, a pure step function; Gate gives it a lock, a clock and the measurement.
package gate

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/internal/cadence"
	"parley/proto/code"
)

// Rank says who goes first: what has come furthest, so that what was begun is finished.
type Rank int

// The ranks, the first one first.
const (
	Subscribe Rank = iota // by a connection that is logged in
	Login                 // by one that is open
	Connect               // an upgrade
	ranks
)

var rankNames = [ranks]string{"subscribe", "login", "connect"}

// String is the label in metrics.
func (r Rank) String() string { return rankNames[r] }

// Options are the limits of a Gate. Start from DefaultOptions.
type Options struct {
	InsideMin  int                   // worked on at once, however long the delay
	InsideMax  int                   // worked on at once, however short the delay
	DelayMax   time.Duration         // what is ready may wait for a processor so long, on average; then fewer come in
	LookEvery  time.Duration         // how often the delay is measured
	TurnMax    time.Duration         // who is worked on for longer waits for others, and takes no place any more
	WaitMax    time.Duration         // who would wait longer, as far as is known, is sent away at once, and told when to come back
	WaitingMax int                   // who wait; one more is sent away
	Registerer prometheus.Registerer // nil = metrics are kept but not published
}

// DefaultOptions are right for production.
func DefaultOptions() Options {
	return Options{
		InsideMin: 8, InsideMax: 256, DelayMax: time.Millisecond, LookEvery: 50 * time.Millisecond,
		TurnMax: 100 * time.Millisecond, WaitMax: 10 * time.Second, WaitingMax: 64 << 10,
	}
}

// Validate says what is wrong with o.
func (o Options) Validate() error {
	switch {
	case o.InsideMin < 1 || o.InsideMax < o.InsideMin:
		return errors.New("gate: at least one must be let in, and the most must not be below the least")
	case o.DelayMax <= 0 || o.LookEvery <= 0 || o.TurnMax <= 0 || o.WaitMax <= 0:
		return errors.New("gate: times must be positive")
	case o.WaitingMax < 0:
		return errors.New("gate: the number of those who wait must not be negative")
	}
	return nil
}

// Gate is safe for use from any goroutine.
type Gate struct {
	options Options
	metrics metrics
	cancel  context.CancelFunc
	group   sync.WaitGroup

	mu    sync.Mutex
	valve *valve // guarded by mu
}

// New makes a Gate that measures until Close, or until ctx ends.
func New(ctx context.Context, o Options) (*Gate, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	g := &Gate{options: o, valve: newValve(o)}
	var err error
	if g.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, err
	}
	ctx, g.cancel = context.WithCancel(ctx)
	g.group.Go(func() { g.run(ctx) })
	return g, nil
}

// Close ends the measuring. Who waits goes on to wait for those inside, or for the end of its context.
func (g *Gate) Close() error {
	g.cancel()
	g.group.Wait()
	return nil
}

// Enter waits for a turn, at most WaitMax. leave must be called, once, when the work is done. The error
// is code.Unavailable with the time after which to come back, which is another one for everybody: at
// once when the wait would be too long, and when ctx ends first.
func (g *Gate) Enter(ctx context.Context, r Rank) (leave func(), err error) {
	t := &turn{rank: r, comes: make(chan struct{})}
	g.mu.Lock()
	after := g.valve.enter(t, time.Now())
	g.mu.Unlock()
	if after > 0 {
		return nil, g.sendAway(r, after)
	}
	select {
	case <-t.comes:
		return func() { g.leave(t) }, nil
	default:
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, g.options.WaitMax)
	defer cancel()
	select {
	case <-t.comes:
		g.metrics.waited.WithLabelValues(r.String()).Observe(time.Since(began).Seconds())
		return func() { g.leave(t) }, nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	after = g.valve.giveUp(t, time.Now())
	g.mu.Unlock()
	return nil, g.sendAway(r, after)
}

// Insist is Enter for who does not heed when it is told to come back: it stays away for that time by
// itself and asks again, until ctx ends.
func (g *Gate) Insist(ctx context.Context, r Rank) (leave func(), err error) {
	for {
		leave, err = g.Enter(ctx, r)
		refused, _ := code.Of(err)
		if refused == nil {
			return leave, err
		}
		away := time.NewTimer(refused.RetryAfter)
		select {
		case <-away.C:
		case <-ctx.Done():
			away.Stop()
			return nil, err
		}
	}
}

// leave gives the place of t to who is next.
func (g *Gate) leave(t *turn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.valve.leave(t, time.Now())
}

// sendAway spreads those who are sent away, so that they do not come back at once either.
func (g *Gate) sendAway(r Rank, after time.Duration) error {
	g.metrics.refused.WithLabelValues(r.String()).Inc()
	e := code.New(code.Unavailable, "too many arrive at the moment; try again")
	e.RetryAfter = after/2 + rand.N(after)
	return e
}

// run looks at the delay again and again.
func (g *Gate) run(ctx context.Context) {
	ticker := cadence.NewTicker(g.options.LookEvery)
	defer ticker.Stop()
	var line line
	line.read()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			delay := line.read()
			g.mu.Lock()
			g.valve.look(delay, now)
			g.metrics.show(g.valve, delay)
			g.mu.Unlock()
		}
	}
}
