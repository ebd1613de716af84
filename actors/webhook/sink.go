package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"parley/actors/application"
	"parley/actors/conversation"
	"parley/actors/grain"
	"parley/actors/outbox"
	"parley/internal/guard"
	"parley/persistence/keys"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// Options are what a Sink needs of its node. Start from DefaultOptions.
type Options struct {
	// Reader reads the applied state of the shards on this node.
	Reader store.Reader
	// Applications are those of the cluster as this node sees them.
	Applications *application.View
	// Fresh waits until Applications shows all that was committed before the call; nil = it always
	// does.
	Fresh func(ctx context.Context) error
	// Shards is the cluster's number of data shards.
	Shards uint32
	// Guard says what may be reached.
	Guard *guard.Guard
	// Timeout bounds one request, from its look-up to the end of its answer.
	Timeout time.Duration
	// FlightMax is how many requests one application has under way to one host.
	FlightMax int
	// FailuresMax is after how many failures in a row a host is left alone, but for a probe after
	// each pause. Pauses double from PauseMin to PauseMax.
	FailuresMax        int
	PauseMin, PauseMax time.Duration
	Logger             *slog.Logger
	Metrics            prometheus.Registerer // nil: counted, not shown
}

// DefaultOptions are the production settings, without the dependencies.
func DefaultOptions() Options {
	return Options{
		Timeout: 10 * time.Second, FlightMax: 32, FailuresMax: 10, PauseMin: 5 * time.Second, PauseMax: time.Minute,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	switch {
	case o.Reader == nil || o.Applications == nil || o.Guard == nil || o.Logger == nil:
		return errors.New("webhook options: reader, applications, guard and logger are needed")
	case o.Shards == 0:
		return errors.New("webhook options: shards must be at least 1")
	case o.Timeout <= 0 || o.FlightMax < 1 || o.FailuresMax < 1:
		return errors.New("webhook options: timeout and limits must be positive")
	case o.PauseMin <= 0 || o.PauseMax < o.PauseMin:
		return errors.New("webhook options: pauses must be positive and ordered")
	}
	return nil
}

// Sink delivers events to webhooks (outbox.Sink).
type Sink struct {
	// Fixed at New.
	options Options
	client  *http.Client
	metrics *metrics
	group   errgroup.Group

	mu    sync.Mutex // guards lines and what is in them
	lines map[string]*line
}

var _ outbox.Sink = (*Sink)(nil)

const (
	// linesMax bounds the lines that are kept for what is known of their hosts. When there are so many no
	// more than linesKept stay.
	linesMax  = 4096
	linesKept = linesMax * 7 / 8
)

// New makes a Sink. Close it after the outbox that uses it.
func New(o Options) (*Sink, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, err
	}
	return &Sink{options: o, client: newClient(o), metrics: m, lines: make(map[string]*line)}, nil
}

// Close waits for the deliveries under way, which ended with the outbox's lead.
func (s *Sink) Close() error {
	err := s.group.Wait()
	s.client.CloseIdleConnections()
	return err
}

// hook is where and how an event goes.
type hook struct {
	application *eventv1.Application
	url         *url.URL
	method      string
}

// Deliver implements outbox.Sink.
func (s *Sink) Deliver(ctx context.Context, d outbox.Delivery, done func(error)) {
	h, err := s.find(d.Row)
	if !errors.Is(err, errUnseen) {
		s.dispatch(ctx, d, h, err, done)
		return
	}
	s.group.Go(func() error {
		h, err := s.findFresh(ctx, d.Row)
		s.dispatch(ctx, d, h, err, done)
		return nil
	})
}

// dispatch brings a row to its line, or ends it when there is no hook.
func (s *Sink) dispatch(ctx context.Context, d outbox.Delivery, h *hook, err error, done func(error)) {
	if h == nil {
		if err == nil {
			s.metrics.count(outcomeUnwanted)
		}
		done(err)
		return
	}
	name := d.Row.ApplicationId + " " + h.url.Scheme + "://" + h.url.Host
	s.enqueue(name, job{ctx: ctx, done: done, run: func(ctx context.Context) verdict { return s.attempt(ctx, d, h) }})
}

// errUnseen says that this node's copy of the meta shard, which may be old, knows no webhook for a row.
var errUnseen = errors.New("this node does not know of the application's webhook")

const (
	// freshWithin bounds how long a row waits for this node's view of the meta shard.
	freshWithin = time.Second
	// unseenFor is when a row comes back that could not be judged for want of a fresh view.
	unseenFor = time.Second
)

// findFresh is find after this node has seen what was committed in the meta shard. A row must not be
// thrown away because a node that has just started, or lags, has not heard of its webhook yet.
func (s *Sink) findFresh(ctx context.Context, r *nodev1.OutboxRow) (*hook, error) {
	var old error
	if s.options.Fresh != nil {
		ctx, cancel := context.WithTimeout(ctx, freshWithin)
		old = s.options.Fresh(ctx)
		cancel()
	}
	h, err := s.find(r)
	switch {
	case !errors.Is(err, errUnseen):
		return h, err
	case old != nil:
		return nil, &outbox.Failure{Err: fmt.Errorf("%w: %w", errUnseen, old), After: unseenFor, Untried: true}
	}
	return nil, nil
}

// find reads where a row's event goes now: nil when nobody wants it any more. Of the application only
// a tombstone says so for good; otherwise the error is errUnseen.
func (s *Sink) find(r *nodev1.OutboxRow) (*hook, error) {
	a, err := s.options.Applications.Get(r.ApplicationId)
	switch {
	case err != nil:
		return nil, err
	case a == nil:
		return nil, errUnseen
	case a.DeletedMs != 0:
		return nil, nil
	}
	address, method := a.EventUrl.GetAddress(), a.EventUrl.GetHttpMethod()
	if r.TargetId == conversation.TargetCallback {
		rows, ok := s.rows(r)
		if !ok {
			return nil, nil
		}
		meta, err := rows.Metadata(s.options.Reader)
		if err != nil {
			return nil, err
		}
		if address, method = meta.GetCallback().GetUrl(), meta.GetCallback().GetMethod(); address == "" {
			return nil, nil // read where the conversation is led: it is so
		}
	}
	if address == "" {
		return nil, errUnseen
	}
	if err := s.options.Guard.Check(address); err != nil {
		s.metrics.count(outcomeRefused)
		return nil, err
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the webhook's address is no URL")
	}
	return &hook{application: a, url: u, method: method}, nil
}

func (s *Sink) rows(r *nodev1.OutboxRow) (conversation.Rows, bool) {
	home := keys.ShardOf(r.ApplicationId, r.SourceId, s.options.Shards)
	return conversation.RowsOf(grain.Entity{Shard: home, Application: r.ApplicationId, ID: r.SourceId})
}

// event reads the event of a row: nil when its conversation is gone.
func (s *Sink) event(r *nodev1.OutboxRow) (*nodev1.EventView, error) {
	rows, ok := s.rows(r)
	if !ok {
		return nil, nil
	}
	e, err := rows.Event(s.options.Reader, r.GetCommand().GetDeliverEvent().GetSequence())
	if err != nil || e == nil {
		return nil, err
	}
	v := &nodev1.EventView{Event: e}
	if e.FromMember != "" {
		m, err := rows.Member(s.options.Reader, e.FromMember)
		if err != nil {
			return nil, err
		}
		v.Author = m.GetUser()
	}
	return v, nil
}

// enqueue starts a job, lets it wait for its turn, or refuses it while its host is left alone.
func (s *Sink) enqueue(name string, j job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[name]
	if l == nil {
		s.makeRoom()
		l = &line{name: name}
		s.lines[name] = l
	}
	j.since = time.Now()
	l.waiting = append(l.waiting, j)
	s.advance(l)
}

// makeRoom forgets some lines that have nothing to do, once there are many: first of those whose host is not
// left alone at the moment.
func (s *Sink) makeRoom() {
	if len(s.lines) < linesMax {
		return
	}
	now := time.Now()
	for _, open := range []bool{false, true} {
		for name, l := range s.lines {
			if len(s.lines) <= linesKept {
				return
			}
			if l.idle() && (open || !now.Before(l.openTill)) {
				delete(s.lines, name)
			}
		}
	}
}

// advance starts what may start and sends away what may not or has waited too long, with s.mu held.
func (s *Sink) advance(l *line) {
	now := time.Now()
	for len(l.waiting) > 0 && l.flying < s.options.FlightMax {
		j := l.waiting[0]
		l.waiting = l.waiting[1:]
		if ok, after := l.admit(now, &s.options); !ok {
			s.sendAway(j, after)
			continue
		}
		if l.flying++; l.flying == 1 {
			l.askedAt = now
		}
		s.group.Go(func() error { s.run(l, j); return nil })
	}
	for len(l.waiting) > 0 && now.Sub(l.waiting[0].since) >= waitMax {
		s.sendAway(l.waiting[0], spread(waitMax))
		l.waiting = l.waiting[1:]
	}
	if l.idle() && !l.known && l.failures == 0 {
		delete(s.lines, l.name)
	}
}

var errLeftAlone = errors.New("the host is left alone for a while: it fails, has not answered yet, or has enough to do")

// sendAway gives a job back untried. Nothing is told under the lock: answers have goroutines of their own,
// because the outbox may be called by them.
func (s *Sink) sendAway(j job, after time.Duration) {
	s.metrics.count(outcomeCircuit)
	s.group.Go(func() error {
		j.done(&outbox.Failure{Err: errLeftAlone, After: after, Untried: true})
		return nil
	})
}

// run carries out a job and starts the next.
func (s *Sink) run(l *line, j job) {
	ctx, cancel := context.WithTimeout(j.ctx, s.options.Timeout)
	v := j.run(ctx)
	cancel()
	s.mu.Lock()
	l.flying--
	if j.ctx.Err() != nil {
		v.host = unasked // it was not the host that ended the attempt
	}
	l.ended(time.Now(), v, &s.options)
	s.advance(l)
	s.mu.Unlock()
	j.done(v.err)
}

// attempt sends one event once.
func (s *Sink) attempt(ctx context.Context, d outbox.Delivery, h *hook) verdict {
	v, err := s.event(d.Row)
	if err != nil {
		return verdict{err: fmt.Errorf("read the event: %w", err)}
	}
	if v == nil {
		s.metrics.count(outcomeGone)
		return verdict{}
	}
	began := time.Now()
	request, err := s.request(ctx, d, h, v)
	if err != nil {
		return verdict{err: err}
	}
	result, outcome := judge(s.client.Do(request))
	s.metrics.sent(outcome, time.Since(began))
	if result.err == nil && v.Event.TimestampMs > 0 {
		s.metrics.age.Observe(time.Since(time.UnixMilli(v.Event.TimestampMs)).Seconds())
	}
	return result
}
