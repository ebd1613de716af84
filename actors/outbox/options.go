package outbox

import (
	"errors"
	"time"

	"parley/cluster/shard"
)

// Limits bound a queue. Start from DefaultLimits or DefaultSinkLimits.
type Limits struct {
	RowsMax        int           // rows held; more stay on disk until there is room
	GroupRowsMax   int           // rows held for one shard, or for one sink of an application
	LaneMax        int           // rows held of one (source, target)
	ParkedMax      int           // lanes remembered without their rows until it is their turn
	FlightMax      int           // deliveries on their way at once
	GroupFlightMax int           // of them for one shard, or for one sink of an application
	SlowAfter      time.Duration // a delivery to a target of which nothing is known leaves its place to others then
	GroupSlowMax   int           // of them at once for one sink of an application, beside GroupFlightMax; 0 = none leaves it
	DeleteMax      int           // rows deleted by one write
	DeleteBytes    int           // dead letters in one write, of which it may have one in any case
	BackoffMin     time.Duration // before the first retry of a lane
	BackoffMax     time.Duration
	AgeMax         time.Duration // a row that fails when it is older becomes a dead letter; 0 = never
	LettersMax     int           // dead letters of one application; newer ones drop the oldest
}

// DefaultLimits are the production limits of the queue for grains: they are of this cluster, so
// what they owe each other is never given up.
func DefaultLimits() Limits {
	return Limits{
		RowsMax: 8192, GroupRowsMax: 4096, LaneMax: 64, ParkedMax: 16 << 10, FlightMax: 64, GroupFlightMax: 64,
		DeleteMax: 512, DeleteBytes: shard.WriteBytesMax / 2,
		BackoffMin: 50 * time.Millisecond, BackoffMax: 30 * time.Second,
	}
}

// DefaultSinkLimits are the production limits of a queue for sinks, which are slower and belong to
// others.
func DefaultSinkLimits() Limits {
	return Limits{
		RowsMax: 8192, GroupRowsMax: 512, LaneMax: 16, ParkedMax: 16 << 10, FlightMax: 64, GroupFlightMax: 8,
		DeleteMax: 512, DeleteBytes: shard.WriteBytesMax / 2,
		SlowAfter: time.Second, GroupSlowMax: 16,
		BackoffMin: time.Second, BackoffMax: 10 * time.Minute, AgeMax: 24 * time.Hour, LettersMax: 256,
	}
}

// Validate says what is wrong with the limits.
func (l Limits) Validate() error {
	for _, n := range []int{l.RowsMax, l.GroupRowsMax, l.LaneMax, l.ParkedMax, l.FlightMax, l.GroupFlightMax, l.DeleteMax, l.DeleteBytes} {
		if n < 1 {
			return errors.New("outbox limits: counts must be positive")
		}
	}
	if l.BackoffMin <= 0 || l.BackoffMax < l.BackoffMin {
		return errors.New("outbox limits: back-off must be positive and ordered")
	}
	if l.GroupSlowMax < 0 || l.GroupSlowMax > 0 && l.SlowAfter <= 0 {
		return errors.New("outbox limits: what is slow must have a time, and a count that is not negative")
	}
	if l.AgeMax < 0 || l.LettersMax < 0 {
		return errors.New("outbox limits: age and letters must not be negative")
	}
	return nil
}
