package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"parley/actors/grain"
	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// Caller brings a command to the grain it is for, wherever that lives. done is called exactly
// once, from any goroutine.
type Caller interface {
	AskAsync(ctx context.Context, req *nodev1.GrainRequest, done func(*nodev1.GrainReply, error))
}

// Options are a node's outbox settings. Start from DefaultOptions.
type Options struct {
	Host   grain.Host
	Caller Caller
	// DeliveryTimeout ends one attempt; the row is then tried again.
	DeliveryTimeout time.Duration
	// InboxMax bounds the posted rows that wait for the driver; more are left on disk.
	InboxMax int
	Limits   Limits
	// Sinks take the rows of their kinds. Rows of a kind without a sink stay where they are.
	Sinks map[nodev1.Kind]Sink
	// SinkLimits bound the queue of each kind of sink.
	SinkLimits Limits
	// Now is the wall clock, by which rows are dated. It may be set while something waits.
	Now     func() time.Time
	Logger  *slog.Logger
	Metrics prometheus.Registerer // nil: counted, not shown
}

// DefaultOptions are the production settings, without the dependencies.
func DefaultOptions() Options {
	return Options{
		DeliveryTimeout: 5 * time.Second, InboxMax: 1 << 16, Limits: DefaultLimits(), SinkLimits: DefaultSinkLimits(),
		Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	if o.Host == nil || o.Caller == nil || o.Now == nil {
		return errors.New("outbox options: Host, Caller and Now are needed")
	}
	if o.DeliveryTimeout <= 0 || o.InboxMax < 1 {
		return errors.New("outbox options: timeout and inbox limit must be positive")
	}
	for kind, sink := range o.Sinks {
		if !grain.IsSink(kind) || sink == nil {
			return fmt.Errorf("outbox options: %s is no kind of sink, or has none", kind)
		}
	}
	return errors.Join(o.Limits.Validate(), o.SinkLimits.Validate())
}

// Outbox drives the queues of the shards that this node leads. Safe for concurrent use.
type Outbox struct {
	options Options
	metrics *metrics
	group   errgroup.Group
	cancel  context.CancelFunc
	wake    chan struct{} // capacity 1: any number of calls before the loop runs cost one run

	mu      sync.Mutex // guards the inbox, the waiters and leading
	inbox   []message
	posted  int // rows in the inbox
	waiters map[Link]map[*Waiter]struct{}
	leading map[keys.Shard]struct{}

	// Owned by run.
	queues map[place]*led
	clock  *clock
}

// place is where a queue stands.
type place struct {
	shard keys.Shard
	kind  nodev1.Kind // of the sink; unspecified for grains
}

// message is an input on its way to a queue in one epoch, or a change of lead.
type message struct {
	place
	epoch shard.Epoch // 0 = whatever is led now
	in    Input
	lead  *shard.Lead
}

// led is one queue of a led shard with its alarm.
type led struct {
	epoch   shard.Epoch
	queue   *Queue
	ctx     context.Context // of its deliveries; ends with the lead
	cancel  context.CancelFunc
	alarmAt int64 // 0 = none
	held    int   // as last counted in the depth metric
}

// Open starts an outbox that leads nothing yet. Close ends it; the end of ctx does not.
func Open(ctx context.Context, o Options) (*Outbox, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	b := &Outbox{
		options: o, metrics: m, cancel: cancel, wake: make(chan struct{}, 1),
		waiters: make(map[Link]map[*Waiter]struct{}), leading: make(map[keys.Shard]struct{}), queues: make(map[place]*led),
		clock: newClock(o.Now),
	}
	b.group.Go(func() error { b.run(ctx); return nil })
	return b, nil
}

// Close stops delivering. What is not delivered stays in the state and is found by the next leader.
func (b *Outbox) Close() error {
	b.cancel()
	return b.group.Wait()
}

// LeadChanged follows the leadership of a shard (shard.Observer).
func (b *Outbox) LeadChanged(l shard.Lead) {
	b.mu.Lock()
	if l.Local && l.Ready {
		b.leading[l.Shard] = struct{}{}
	} else {
		delete(b.leading, l.Shard)
	}
	b.mu.Unlock()
	b.send(message{place: place{shard: l.Shard}, lead: &l})
}

// Posted brings rows that have just been committed (grain.Listener).
func (b *Outbox) Posted(s keys.Shard, rows []grain.Row) {
	b.mu.Lock()
	full := b.posted+len(rows) > b.options.InboxMax
	if !full {
		b.posted += len(rows)
	}
	b.mu.Unlock()
	if full {
		b.metrics.deferred.Add(float64(len(rows)))
		b.Missed(s)
		return
	}
	for kind, part := range byQueue(rows) {
		b.send(message{place: place{s, kind}, in: Posted{Rows: part}})
	}
}

// byQueue sorts the rows of a batch by the queue they belong to. Mostly that is one.
func byQueue(rows []grain.Row) map[nodev1.Kind][]grain.Row {
	parts := make(map[nodev1.Kind][]grain.Row, 1)
	for _, r := range rows {
		kind := nodev1.Kind_KIND_UNSPECIFIED
		if grain.IsSink(r.Row.TargetKind) {
			kind = r.Row.TargetKind
		}
		parts[kind] = append(parts[kind], r)
	}
	return parts
}

// Missed has a shard's rows looked up on disk, because some may have been committed that were not
// posted (grain.Listener).
func (b *Outbox) Missed(s keys.Shard) {
	for _, kind := range b.kinds() {
		b.send(message{place: place{s, kind}, in: Overrun{}})
	}
}

func (b *Outbox) send(m message) {
	b.mu.Lock()
	b.inbox = append(b.inbox, m)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// agesEvery is how often the ages of the oldest rows are measured. Alerts look at minutes.
const agesEvery = 5 * time.Second

// measure shows how long the oldest row of each kind of sink has waited.
func (b *Outbox) measure(now int64) {
	for kind := range b.options.Sinks {
		age := int64(0)
		for p, l := range b.queues {
			if oldest := l.queue.Oldest(); p.kind == kind && oldest > 0 {
				age = max(age, now-oldest)
			}
		}
		b.metrics.oldest.WithLabelValues(sinkName(kind)).Set(float64(age) / 1000)
	}
}

// run is the one goroutine that steps the queues.
func (b *Outbox) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	ages := time.NewTicker(agesEvery)
	defer ages.Stop()
	for {
		select {
		case <-ctx.Done():
			b.end()
			return
		case <-b.wake:
			b.drain(ctx)
		case <-timer.C:
			b.tick()
		case <-ages.C:
			b.measure(b.now())
		}
		timer.Reset(b.untilAlarm())
	}
}

func (b *Outbox) drain(ctx context.Context) {
	b.mu.Lock()
	inbox := b.inbox
	b.inbox, b.posted = nil, 0
	b.mu.Unlock()
	for _, m := range inbox {
		if m.lead != nil {
			b.follow(ctx, *m.lead)
			continue
		}
		b.step(m)
	}
}

func (b *Outbox) step(m message) {
	l := b.queues[m.place]
	if l == nil || m.epoch != 0 && m.epoch != l.epoch {
		if ask, ok := m.in.(Redeliver); ok {
			ask.Done(0, shard.ErrNotLeader)
		}
		return // of an epoch that is over: its rows are on disk
	}
	outs, err := l.queue.Step(b.now(), m.in)
	if err != nil {
		// The queue stops here and the next epoch begins anew: the state cannot be read.
		b.options.Logger.Error("an outbox stopped", "shard", m.shard, "epoch", l.epoch, "error", err)
		b.metrics.broken.Inc()
		b.drop(m.place)
		return
	}
	b.metrics.depth.Add(float64(l.queue.Held() - l.held))
	l.held = l.queue.Held()
	for _, out := range outs {
		b.carryOut(m.place, l, out)
	}
}

func (b *Outbox) carryOut(p place, l *led, out Output) {
	epoch := l.epoch
	switch out := out.(type) {
	case Deliver:
		b.deliver(p, l, out)
	case Propose:
		b.options.Host.Propose(shard.Proposal{Shard: p.shard, Epoch: epoch, Write: out.Write, Done: func(err error) {
			b.written(p, out, err)
			b.send(message{place: p, epoch: epoch, in: Deleted{Err: err}})
		}})
	case Answer:
		out.Done(out.Moved, out.Err)
	case Alarm:
		l.alarmAt = out.At
	}
}

// deliver brings a row to its grain, or hands it to its sink.
func (b *Outbox) deliver(p place, l *led, d Deliver) {
	r, epoch := d.Row, l.epoch
	if sink := b.options.Sinks[p.kind]; sink != nil {
		sink.Deliver(l.ctx, Delivery{Row: r.Row, Attempt: d.Attempt}, func(err error) { b.delivered(p, epoch, r, err) })
		return
	}
	ctx, cancel := context.WithTimeout(l.ctx, b.options.DeliveryTimeout)
	req := &nodev1.GrainRequest{Kind: r.Row.TargetKind, ApplicationId: r.Row.ApplicationId, Id: r.Row.TargetId, Command: r.Row.Command}
	b.options.Caller.AskAsync(ctx, req, func(reply *nodev1.GrainReply, err error) {
		cancel()
		if err == nil && reply.NotLeader {
			err = shard.ErrNotLeader
		}
		if err == nil {
			err = grain.CodedError(reply.Error)
		}
		if Final(err) {
			b.refused(p, r, err)
			err = nil
		}
		b.delivered(p, epoch, r, err)
	})
}

func (b *Outbox) delivered(p place, epoch shard.Epoch, r grain.Row, err error) {
	if err == nil {
		b.acked(r)
	} else {
		b.metrics.retries.Inc()
	}
	b.send(message{place: p, epoch: epoch, in: Delivered{Row: r, Err: err}})
}

// Final says whether a target's answer is a refusal that no retry will change: its row is done with.
func Final(err error) bool {
	e, coded := code.Of(err)
	if !coded {
		return false
	}
	switch e.Code {
	case code.Unavailable, code.NotStored, code.Unknown, code.RateLimited, code.Internal:
		return false
	}
	return true
}

func (b *Outbox) acked(r grain.Row) {
	b.metrics.delivered.Inc()
	if r.Row.CreatedMs > 0 && !grain.IsSink(r.Row.TargetKind) {
		b.metrics.age.Observe(float64(time.Now().UnixMilli()-r.Row.CreatedMs) / 1000)
	}
	b.tell(r)
}

func (b *Outbox) tick() {
	now := b.now()
	for p, l := range b.queues {
		if l.alarmAt != 0 && l.alarmAt <= now {
			l.alarmAt = 0
			b.step(message{place: p, epoch: l.epoch, in: Ticked{}})
		}
	}
}

func (b *Outbox) untilAlarm() time.Duration {
	now, next := b.now(), int64(0)
	for _, l := range b.queues {
		if l.alarmAt != 0 && (next == 0 || l.alarmAt < next) {
			next = l.alarmAt
		}
	}
	if next == 0 {
		return time.Hour
	}
	return time.Duration(max(0, next-now)) * time.Millisecond
}
