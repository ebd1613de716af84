package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"
)

// Kind says what a server's frame is to a measurement.
type Kind uint8

// The kinds.
const (
	Other Kind = iota
	Delivery
	Ack
	Refusal
)

// Target is a server under load and its protocol.
type Target interface {
	// Prepare makes rooms conversations with members users each.
	Prepare(ctx context.Context, rooms, members int) error
	// Open connects a member, logged in and live in its room.
	Open(ctx context.Context, room, member int) (*Conn, error)
	// Post appends a message to a room to dst; its ack and its deliveries give stamp back.
	Post(dst []byte, room int, stamp int64) []byte
	// Kind looks at a frame; Stamp digs its stamp out. They must be cheap.
	Kind(payload []byte) Kind
	Stamp(payload []byte) (int64, bool)
	// Opcode is that of a posted frame: 1 text, 2 binary.
	Opcode() byte
}

// Shape is how many clients there are and how they stand together.
type Shape struct {
	Rooms   int
	Members int // of each room, all connected
	Senders int // of each room
}

// Fleet is the connected clients of one target.
type Fleet struct {
	target Target
	shape  Shape
	conns  []*Conn // by room, then member
	group  errgroup.Group
	closed atomic.Bool

	sent      atomic.Int64
	acked     atomic.Int64
	refused   atomic.Int64
	delivered atomic.Int64
	lost      atomic.Int64 // connections

	mu         sync.Mutex
	ack        *hdrhistogram.Histogram // guarded by mu; microseconds
	delivery   *hdrhistogram.Histogram // guarded by mu; microseconds
	firstError error                   // guarded by mu
}

// highest latency told apart, in microseconds.
const latencyMax = int64(time.Minute / time.Microsecond)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, latencyMax, 2) }

// Connect prepares the target and connects everybody. progress, if not nil, gets a line now and then.
func Connect(ctx context.Context, t Target, s Shape, progress io.Writer) (*Fleet, error) {
	if s.Rooms < 1 || s.Members < 1 || s.Senders > s.Members {
		return nil, errors.New("load: a shape needs rooms, members, and no more senders than members")
	}
	if err := t.Prepare(ctx, s.Rooms, s.Members); err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	f := &Fleet{target: t, shape: s, conns: make([]*Conn, s.Rooms*s.Members), ack: newHistogram(), delivery: newHistogram()}
	var opened atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	const atOnce = 32
	g.SetLimit(atOnce)
	for i := range f.conns {
		g.Go(func() error {
			c, err := t.Open(gctx, i/s.Members, i%s.Members)
			if err != nil {
				return fmt.Errorf("connect client %d: %w", i, err)
			}
			f.conns[i] = c
			if n := opened.Add(1); progress != nil && n%1000 == 0 {
				fmt.Fprintf(progress, "%d connected\n", n)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	for _, c := range f.conns {
		f.group.Go(func() error { f.listen(c); return nil })
	}
	return f, nil
}

// Close disconnects everybody and waits for the readers.
func (f *Fleet) Close() error {
	f.closed.Store(true)
	for _, c := range f.conns {
		if c != nil {
			_ = c.Close() // the server may have closed it before
		}
	}
	return f.group.Wait()
}

// sampleEvery is how many deliveries of a connection go by between two whose latency is taken.
const sampleEvery = 16

// listen counts what a connection gets.
func (f *Fleet) listen(c *Conn) {
	seen := 0
	err := c.Frames(func(payload []byte) bool {
		switch f.target.Kind(payload) {
		case Delivery:
			f.delivered.Add(1)
			if seen++; seen%sampleEvery == 0 || f.shape.Rooms > 1 {
				f.record(f.delivery, payload)
			}
		case Ack:
			f.acked.Add(1)
			f.record(f.ack, payload)
		case Refusal:
			f.refused.Add(1)
			f.note(fmt.Errorf("refused: %q", payload))
		}
		return false
	})
	if !f.closed.Load() {
		f.lost.Add(1)
		f.note(err)
	}
}

// note keeps the first thing that went wrong.
func (f *Fleet) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.firstError == nil {
		f.firstError = err
	}
}

func (f *Fleet) record(h *hdrhistogram.Histogram, payload []byte) {
	stamp, ok := f.target.Stamp(payload)
	if !ok {
		return
	}
	micros := max(1, min(latencyMax, (time.Now().UnixNano()-stamp)/1000))
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = h.RecordValue(micros) // cannot be out of range
}

// Counts are what has happened since a run began.
type Counts struct {
	Sent, Acked, Refused, Delivered int64
	Lost                            int64 // connections
}

// Counts may be called at any time, to show progress.
func (f *Fleet) Counts() Counts {
	return Counts{Sent: f.sent.Load(), Acked: f.acked.Load(), Refused: f.refused.Load(), Delivered: f.delivered.Load(), Lost: f.lost.Load()}
}

// Report is what one run at one rate gave.
type Report struct {
	Rate           float64 // messages a second, as asked for
	Elapsed        time.Duration
	Sent, Acked    int64
	Refused        int64
	Delivered      int64
	Expected       int64 // deliveries of what was sent
	Lost           int64 // connections
	AckP50, AckP99 time.Duration
	P50, P99       time.Duration // of deliveries
	FirstError     error
}

// DeliveriesPerSecond counts over the sending time and what came in the grace period after it. It
// is 0 for a run that never was.
func (r Report) DeliveriesPerSecond() float64 {
	if r.Elapsed == 0 {
		return 0
	}
	return float64(r.Delivered) / r.Elapsed.Seconds()
}

// Kept says whether the server kept up: all but a thousandth was acked and arrived, 99 of 100
// within a second.
func (r Report) Kept() bool {
	return r.Lost == 0 && r.Refused == 0 && r.P99 < time.Second &&
		float64(r.Delivered) >= 0.999*float64(r.Expected) && r.Acked >= r.Sent*999/1000
}

// String is one line for people.
func (r Report) String() string {
	s := fmt.Sprintf("%8.0f msg/s: acked %d/%d, delivered %d/%d (%.0f/s), ack p50 %v p99 %v, delivery p50 %v p99 %v",
		r.Rate, r.Acked, r.Sent, r.Delivered, r.Expected, r.DeliveriesPerSecond(), r.AckP50, r.AckP99, r.P50, r.P99)
	if r.Refused+r.Lost > 0 {
		s += fmt.Sprintf(", refused %d, lost %d: %v", r.Refused, r.Lost, r.FirstError)
	}
	return s
}

// Run sends rate messages a second for a while, waits a second for what is on its way, and reports.
func (f *Fleet) Run(ctx context.Context, rate float64, lasts time.Duration) (Report, error) {
	for _, n := range []*atomic.Int64{&f.sent, &f.acked, &f.refused, &f.delivered, &f.lost} {
		n.Store(0)
	}
	f.mu.Lock()
	f.ack.Reset()
	f.delivery.Reset()
	f.firstError = nil
	f.mu.Unlock()

	begin := time.Now()
	const pacers = 2
	g, gctx := errgroup.WithContext(ctx)
	for p := range pacers {
		g.Go(func() error { return f.pace(gctx, begin, rate, lasts, p, pacers) })
	}
	if err := g.Wait(); err != nil {
		return Report{}, err
	}
	f.settle(ctx, time.Second)
	r := Report{
		Rate: rate, Elapsed: max(lasts, time.Since(begin)-100*time.Millisecond),
		Sent: f.sent.Load(), Acked: f.acked.Load(), Refused: f.refused.Load(),
		Delivered: f.delivered.Load(), Expected: f.sent.Load() * int64(f.shape.Members), Lost: f.lost.Load(),
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	at := func(h *hdrhistogram.Histogram, q float64) time.Duration {
		return time.Duration(h.ValueAtQuantile(q)) * time.Microsecond
	}
	r.AckP50, r.AckP99, r.P50, r.P99 = at(f.ack, 50), at(f.ack, 99), at(f.delivery, 50), at(f.delivery, 99)
	r.FirstError = f.firstError
	return r, nil
}

// pace sends every message at its due time, or as soon after it as the connection takes it.
func (f *Fleet) pace(ctx context.Context, begin time.Time, rate float64, lasts time.Duration, first, step int) error {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	total := int(rate * lasts.Seconds())
	var message []byte
	for i := first; i < total; {
		for now := time.Since(begin); i < total; i += step {
			due := time.Duration(float64(i) / rate * float64(time.Second))
			if due > now {
				break
			}
			room := i % f.shape.Rooms
			sender := (i / f.shape.Rooms) % f.shape.Senders
			message = f.target.Post(message[:0], room, begin.Add(due).UnixNano())
			f.sent.Add(1)
			if err := f.conns[room*f.shape.Members+sender].Send(f.target.Opcode(), message); err != nil {
				f.note(err)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return nil
}

// settle waits until everything has arrived, or for a grace period.
func (f *Fleet) settle(ctx context.Context, grace time.Duration) {
	deadline := time.NewTimer(grace)
	defer deadline.Stop()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for f.delivered.Load() < f.sent.Load()*int64(f.shape.Members) || f.acked.Load() < f.sent.Load() {
		select {
		case <-ctx.Done():
			return
		case <-deadline.C:
			return
		case <-ticker.C:
		}
	}
}

// backlogMax is how long a step that was too fast may go on afterwards.
const backlogMax = 20 * time.Second

// Climb looks for the highest rate that the server keeps: doubling from start, or halving when
// that is too much already, then bisecting. A step that was not kept gets a second chance, because
// the machine may have been busy with something else for a moment. Every step's report goes to told.
func (f *Fleet) Climb(ctx context.Context, start, ceiling float64, lasts time.Duration, told func(Report)) (Report, error) {
	c := climb{fleet: f, lasts: lasts, told: told}
	c.double(ctx, start, ceiling)
	const halvings, bisections = 4, 2
	for n := 0; n < halvings && c.low == 0 && c.high > 0; n++ {
		c.step(ctx, c.high/2)
	}
	for n := 0; n < bisections && c.low > 0 && c.high > 0; n++ {
		c.step(ctx, (c.low+c.high)/2)
	}
	return c.best, c.err
}

// climb is a Climb on its way. The first error ends it.
type climb struct {
	fleet *Fleet
	lasts time.Duration
	told  func(Report)

	low, high float64 // the highest rate kept and the lowest not kept; 0 = none yet
	best      Report
	err       error
}

func (c *climb) double(ctx context.Context, start, ceiling float64) {
	for rate := start; rate <= ceiling && c.high == 0 && c.err == nil; rate *= 2 {
		c.step(ctx, rate)
	}
}

// step tries a rate, twice if need be.
func (c *climb) step(ctx context.Context, rate float64) {
	for range 2 {
		if c.err != nil {
			return
		}
		if c.kept(ctx, rate) {
			c.low = rate
			return
		}
	}
	c.high = rate
}

func (c *climb) kept(ctx context.Context, rate float64) bool {
	r, err := c.fleet.Run(ctx, rate, c.lasts)
	if err != nil {
		c.err = err
		return false
	}
	c.told(r)
	if !r.Kept() {
		c.fleet.settle(ctx, backlogMax) // or the next step would count this one's deliveries
		return false
	}
	c.best = r
	return true
}
