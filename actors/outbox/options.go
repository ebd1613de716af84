package outbox

import (
	"errors"
	"time"
)

// Limits bound the queue of one shard. Start from DefaultLimits.
type Limits struct {
	RowsMax    int           // rows held; more stay on disk until there is room
	LaneMax    int           // rows held of one (source, target)
	FlightMax  int           // deliveries on their way at once
	DeleteMax  int           // rows deleted by one write
	BackoffMin time.Duration // before the first retry of a target
	BackoffMax time.Duration
}

// DefaultLimits are the production limits.
func DefaultLimits() Limits {
	return Limits{RowsMax: 8192, LaneMax: 64, FlightMax: 64, DeleteMax: 512, BackoffMin: 50 * time.Millisecond, BackoffMax: 30 * time.Second}
}

// Validate says what is wrong with the limits.
func (l Limits) Validate() error {
	if l.RowsMax < 1 || l.LaneMax < 1 || l.FlightMax < 1 || l.DeleteMax < 1 {
		return errors.New("outbox limits: counts must be positive")
	}
	if l.BackoffMin <= 0 || l.BackoffMax < l.BackoffMin {
		return errors.New("outbox limits: back-off must be positive and ordered")
	}
	return nil
}
