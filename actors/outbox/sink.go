package outbox

import (
	"context"
	"errors"
	"time"

	nodev1 "parley/proto/node/v1"
)

// Sink takes the rows of one kind out of the cluster: to a webhook, to devices. The outbox calls it
// on the leader of the row's shard, where the event that the row names can be read.
type Sink interface {
	// Deliver begins to take one row to its target and does not block. done is called exactly once,
	// from any goroutine: with nil when the row was taken or nobody wants it any more, else with why
	// not, as a *Failure if there is more to say. The sink bounds how long that takes; the end of
	// ctx, which is that of this node's lead, ends it. A row may come again after it was taken.
	Deliver(ctx context.Context, d Delivery, done func(error))
}

// Delivery is one attempt to deliver a row. It must not be changed.
type Delivery struct {
	Row *nodev1.OutboxRow
	// Attempt counts from 1 since this node leads the row's shard. One that was Untried does not count: the next has
	// the same number.
	Attempt int
}

// Failure says more of a failed delivery than that it failed.
type Failure struct {
	Err error
	// After is how long the target asks to be left alone. It is heeded up to Limits.BackoffMax.
	After time.Duration
	// Final says that no other attempt will help: the row becomes a dead letter at once.
	Final bool
	// Untried says that the target was not asked: the next attempt comes as soon as After has
	// passed, and the back-off does not grow.
	Untried bool
}

// Error implements error.
func (f *Failure) Error() string { return f.Err.Error() }

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Err }

func failureOf(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return &Failure{Err: err}
}
