package outbox

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
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
	Logger   *slog.Logger
	Metrics  prometheus.Registerer // nil: counted, not shown
}

// DefaultOptions are the production settings, without the dependencies.
func DefaultOptions() Options {
	return Options{
		DeliveryTimeout: 5 * time.Second, InboxMax: 1 << 16, Limits: DefaultLimits(),
		Logger: slog.New(slog.DiscardHandler),
	}
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	if o.Host == nil || o.Caller == nil {
		return errors.New("outbox options: Host and Caller are needed")
	}
	if o.DeliveryTimeout <= 0 || o.InboxMax < 1 {
		return errors.New("outbox options: timeout and inbox limit must be positive")
	}
	return o.Limits.Validate()
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
	queues map[keys.Shard]*led
}

// message is an input on its way to the queue of one shard and epoch, or a change of lead.
type message struct {
	shard keys.Shard
	epoch shard.Epoch // 0 = whatever is led now
	in    Input
	lead  *shard.Lead
}

// led is the queue of one led shard with its alarm.
type led struct {
	epoch   shard.Epoch
	queue   *Queue
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
		waiters: make(map[Link]map[*Waiter]struct{}), leading: make(map[keys.Shard]struct{}), queues: make(map[keys.Shard]*led),
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
	b.send(message{shard: l.Shard, lead: &l})
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
		b.send(message{shard: s, in: Overrun{}})
		return
	}
	b.send(message{shard: s, in: Posted{Rows: rows}})
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

// run is the one goroutine that steps the queues.
func (b *Outbox) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
			b.drain(ctx)
		case <-timer.C:
			b.tick(ctx)
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
		b.step(ctx, m)
	}
}

// follow starts a queue when this node leads and is ready, and drops it at the end of the epoch.
func (b *Outbox) follow(ctx context.Context, l shard.Lead) {
	now := b.queues[l.Shard]
	leads := l.Local && l.Ready
	if now != nil && (!leads || now.epoch != l.Epoch) {
		b.metrics.depth.Sub(float64(now.held))
		delete(b.queues, l.Shard)
		now = nil
	}
	if leads && now == nil {
		q := NewQueue(l.Shard, b.options.Host.Reader(), b.options.Limits, rand.Float64)
		b.queues[l.Shard] = &led{epoch: l.Epoch, queue: q}
		b.step(ctx, message{shard: l.Shard, epoch: l.Epoch, in: Started{}})
	}
}

func (b *Outbox) step(ctx context.Context, m message) {
	l := b.queues[m.shard]
	if l == nil || m.epoch != 0 && m.epoch != l.epoch {
		return // of an epoch that is over: its rows are on disk
	}
	now := time.Now().UnixMilli()
	outs, err := l.queue.Step(now, m.in)
	if err != nil {
		// The queue stops here and the next epoch begins anew: the state cannot be read.
		b.options.Logger.Error("an outbox stopped", "shard", m.shard, "epoch", l.epoch, "error", err)
		b.metrics.broken.Inc()
		delete(b.queues, m.shard)
		return
	}
	b.metrics.depth.Add(float64(l.queue.Held() - l.held))
	l.held = l.queue.Held()
	for _, out := range outs {
		b.carryOut(ctx, m.shard, l, out)
	}
}

func (b *Outbox) carryOut(ctx context.Context, s keys.Shard, l *led, out Output) {
	epoch := l.epoch
	switch out := out.(type) {
	case Deliver:
		b.deliver(ctx, s, epoch, out.Row)
	case Propose:
		b.options.Host.Propose(shard.Proposal{Shard: s, Epoch: epoch, Write: out.Write, Done: func(err error) {
			b.send(message{shard: s, epoch: epoch, in: Deleted{Err: err}})
		}})
	case Alarm:
		l.alarmAt = out.At
	}
}

func (b *Outbox) deliver(ctx context.Context, s keys.Shard, epoch shard.Epoch, r grain.Row) {
	ctx, cancel := context.WithTimeout(ctx, b.options.DeliveryTimeout)
	req := &nodev1.GrainRequest{Kind: r.Row.TargetKind, ApplicationId: r.Row.ApplicationId, Id: r.Row.TargetId, Command: r.Row.Command}
	b.options.Caller.AskAsync(ctx, req, func(reply *nodev1.GrainReply, err error) {
		cancel()
		if err == nil && reply.NotLeader {
			err = shard.ErrNotLeader
		}
		if err == nil {
			err = grain.CodedError(reply.Error)
		}
		if final(err) {
			b.options.Logger.Warn("an outbox row was refused", "shard", s, "target", r.Row.TargetId, "kind", r.Row.TargetKind.String(), "error", err)
			b.metrics.refused.Inc()
			err = nil
		}
		if err == nil {
			b.acked(r)
		} else {
			b.metrics.retries.Inc()
		}
		b.send(message{shard: s, epoch: epoch, in: Delivered{Row: r, Err: err}})
	})
}

// final is true for a refusal that no retry will change.
func final(err error) bool {
	e, coded := code.Of(err)
	if !coded {
		return false
	}
	switch e.Code {
	case code.Unavailable, code.Unknown, code.RateLimited, code.Internal:
		return false
	}
	return true
}

func (b *Outbox) acked(r grain.Row) {
	b.metrics.delivered.Inc()
	if r.Row.CreatedMs > 0 {
		b.metrics.age.Observe(float64(time.Now().UnixMilli()-r.Row.CreatedMs) / 1000)
	}
	b.tell(r)
}

func (b *Outbox) tick(ctx context.Context) {
	now := time.Now().UnixMilli()
	for s, l := range b.queues {
		if l.alarmAt != 0 && l.alarmAt <= now {
			l.alarmAt = 0
			b.step(ctx, message{shard: s, epoch: l.epoch, in: Ticked{}})
		}
	}
}

func (b *Outbox) untilAlarm() time.Duration {
	next := int64(0)
	for _, l := range b.queues {
		if l.alarmAt != 0 && (next == 0 || l.alarmAt < next) {
			next = l.alarmAt
		}
	}
	if next == 0 {
		return time.Hour
	}
	return max(0, time.Until(time.UnixMilli(next)))
}
