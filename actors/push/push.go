// Package push tells members that are away of what was said, on their devices.
//
// The Sink runs where a conversation's shard is led. An outbox row names an event; the Sink reads it,
// walks the members page by page, leaves out who wrote it and who is connected anywhere, and brings
// the event to each device of the others by the provider of its platform (packages fcm, apns,
// webpush). A row is done when every device was told, is dead, or was refused for good. What failed
// for now is kept in memory and tried again with the row, which the outbox brings back later; after a
// change of the leader the row begins anew, so that a device may be told twice, under one collapse id.
package push

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"parley/actors/outbox"
	"parley/actors/push/delivery"
	"parley/actors/user"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// Sender brings a notification to a device, over one provider. Its errors are those of package
// delivery. Implementations are safe for concurrent use.
type Sender interface {
	Send(ctx context.Context, c *eventv1.PushCredential, d *eventv1.Device, n *delivery.Notification) error
	// Close ends connections that are not in use.
	Close()
}

// Caller brings a request to its grain, or a query to a node that may answer it.
type Caller interface {
	Ask(ctx context.Context, req *nodev1.GrainRequest) (*nodev1.GrainReply, error)
}

// Options are what a Sink is made of. Start from DefaultOptions.
type Options struct {
	Caller Caller
	// Application gives an application as this node sees it; nil when there is none.
	Application func(id string) (*eventv1.Application, error)
	// Fresh waits until Application shows all that was committed before the call; nil = it always
	// does.
	Fresh func(ctx context.Context) error
	// Live gives those of the users that are connected to any node of the cluster.
	Live func(ctx context.Context, application string, users []string) []string
	// Senders are the providers, by platform.
	Senders map[eventv1.Platform]Sender
	// JobsMax bounds the rows that are worked on at once, SendsMax the notifications of all of them
	// that are on their way at once, and JobSendsMax those of one.
	JobsMax, SendsMax, JobSendsMax int
	// PageSize is how many members are looked at together, 1 to 100.
	PageSize uint32
	// JobTimeout ends one attempt at a row. What was done by then is kept.
	JobTimeout time.Duration
	// Lasts is how long after an event its notification is worth something: older ones are dropped,
	// and providers are told to give up then.
	Lasts time.Duration
	// OwedLasts is how long a device that fails for now is tried; after it the row goes on without it.
	OwedLasts time.Duration
	// OwedMax bounds the devices of one row that wait for another attempt. One more gives up the oldest, as
	// long as others are reached; while nobody is, the walk waits.
	OwedMax int
	// UnfinishedMax bounds the rows whose progress is remembered; one more forgets the oldest, which
	// then begins anew.
	UnfinishedMax int
	Now           func() time.Time
	Logger        *slog.Logger
	Metrics       prometheus.Registerer // nil: counted, not shown
}

// DefaultOptions are the production settings, without the dependencies.
func DefaultOptions() Options {
	return Options{
		JobsMax: 64, SendsMax: 256, JobSendsMax: 32, PageSize: 100, JobTimeout: 2 * time.Minute, Lasts: 24 * time.Hour,
		OwedLasts: time.Hour, OwedMax: 1000, UnfinishedMax: 1024, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	switch {
	case o.Caller == nil || o.Application == nil || o.Live == nil || o.Now == nil || o.Logger == nil:
		return errors.New("push options: Caller, Application, Live, Now and Logger are needed")
	case o.JobsMax < 1 || o.SendsMax < 1 || o.JobSendsMax < 1 || o.OwedMax < 1 || o.UnfinishedMax < 1:
		return errors.New("push options: limits must be positive")
	case o.PageSize < 1 || o.PageSize > 100:
		return errors.New("push options: the page size must be 1 to 100")
	case o.JobTimeout <= 0 || o.Lasts <= 0 || o.OwedLasts <= 0:
		return errors.New("push options: times must be positive")
	}
	return nil
}

// Sink implements outbox.Sink for devices. Safe for concurrent use.
type Sink struct {
	options Options
	metrics *metrics
	notes   *notes
	rows    *unfinished
	sends   chan struct{} // a place for each notification on its way
	group   errgroup.Group
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc

	mu     sync.Mutex     // guards places
	places map[string]int // that the rows of each application have; none = not listed
}

var _ outbox.Sink = (*Sink)(nil)

// Open makes a Sink. Close ends what it works on; the end of ctx does not.
func Open(ctx context.Context, o Options) (*Sink, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Metrics)
	if err != nil {
		return nil, fmt.Errorf("register push metrics: %w", err)
	}
	for platform := range o.Senders { // from the start: in a counter that appears with its first event an alert sees no increase
		m.notifications.WithLabelValues(user.PlatformName(platform), delivery.Unauthorized.String())
	}
	s := &Sink{
		options: o, metrics: m, notes: newNotes(), rows: newUnfinished(o.UnfinishedMax), sends: make(chan struct{}, o.SendsMax),
		places: make(map[string]int),
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.group.SetLimit(o.JobsMax)
	return s, nil
}

// Close ends the attempts under way and the idle connections. It comes after the outbox's own Close:
// then nothing is delivered any more.
func (s *Sink) Close() error {
	s.cancel()
	err := s.group.Wait()
	for _, sender := range s.options.Senders {
		sender.Close()
	}
	return err
}

// busyFor is when a row comes back that found every place taken.
const busyFor = time.Second

// Deliver implements outbox.Sink.
func (s *Sink) Deliver(ctx context.Context, d outbox.Delivery, done func(error)) {
	app := d.Row.ApplicationId
	taken := s.takePlace(app)
	if taken && !s.group.TryGo(func() error {
		err := s.attempt(ctx, d)
		s.leavePlace(app)
		done(err)
		return nil
	}) {
		s.leavePlace(app)
		taken = false
	}
	if !taken {
		s.metrics.busy.Inc()
		done(&outbox.Failure{Err: errors.New("as many rows as may be are being worked on"), After: busyFor, Untried: true})
	}
}

// shareOfJobs is the part of the places that one application may have: its slow rows leave room for
// those of others.
const shareOfJobs = 4

// takePlace says whether an application may work on one more row. leavePlace gives the place back.
func (s *Sink) takePlace(app string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.places[app] >= max(1, s.options.JobsMax/shareOfJobs) {
		return false
	}
	s.places[app]++
	return true
}

func (s *Sink) leavePlace(app string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.places[app]--; s.places[app] == 0 {
		delete(s.places, app)
	}
}

// attempt works on a row until everything is told, too much has failed, or the time is over.
func (s *Sink) attempt(ctx context.Context, d outbox.Delivery) error {
	ctx, cancel := context.WithTimeout(ctx, s.options.JobTimeout)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	name := nameOf(d.Row)
	progress := s.rows.take(name)
	before := progress.advances()
	j := &job{Sink: s, row: d.Row, progress: progress}
	err := j.run(ctx)
	switch {
	case err == nil && progress.finished():
		return nil
	case err == nil:
		err = fmt.Errorf("%d devices are still to be told: %w", len(progress.owed), progress.last)
	}
	s.rows.put(name, progress)
	var failure *outbox.Failure
	switch {
	case errors.As(err, &failure):
		return failure
	case errors.Is(ctx.Err(), context.DeadlineExceeded) && progress.advances() > before:
		return &outbox.Failure{Err: err, After: goesOnAfter, Untried: true} // it is long, and comes on
	}
	return &outbox.Failure{Err: err, After: progress.after(s.options.Now())}
}

// goesOnAfter is when a row comes back whose attempt took all its time and got somewhere.
const goesOnAfter = 100 * time.Millisecond
