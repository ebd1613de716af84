package grain

import (
	"errors"
	"log/slog"

	"parley/cluster/shard"
)

// EffectsBytesMax is the most that the outbox rows of one decision should hold, in bytes. A decision
// that leads to more than one write may hold is refused, whoever asked, and for good: who tells many
// entities of something large does it in steps.
const EffectsBytesMax = shard.WriteBytesMax / 2

// Options bound what one Shell holds and proposes. Start from DefaultOptions.
type Options struct {
	// Shards is the cluster's number of data shards; it places the targets of outbox rows.
	Shards uint32
	// WaitingMax is how many commands may wait for the batch in flight. More are answered
	// code.Unavailable.
	WaitingMax int
	// WaitingBytesMax bounds the same commands by their encoded size.
	WaitingBytesMax int
	// BatchMax is how many commands are decided into one write.
	BatchMax int
	// BatchBytesMax bounds the keys and values of one write. One command that leads to more
	// is proposed alone, up to the shard's own limit.
	BatchBytesMax int
	// Logger hears of entities that cannot be read. Never nil.
	Logger *slog.Logger
	// Metrics counts what the shells do, those of one node in one place. It has no default;
	// Activate takes the Setting's.
	Metrics *Metrics
}

// DefaultOptions are the production limits, without Shards, which the cluster's settings give, and
// without Metrics.
func DefaultOptions() Options {
	return Options{
		WaitingMax:      1024,
		WaitingBytesMax: 4 << 20,
		BatchMax:        256,
		BatchBytesMax:   512 << 10,
		Logger:          slog.New(slog.DiscardHandler),
	}
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	switch {
	case o.Shards == 0:
		return errors.New("grain options: shards must be at least 1")
	case o.Logger == nil:
		return errors.New("grain options: a logger is needed")
	case o.WaitingMax < 1 || o.WaitingBytesMax < 1:
		return errors.New("grain options: waiting limits must be positive")
	case o.BatchMax < 1 || o.BatchBytesMax < 1:
		return errors.New("grain options: batch limits must be positive")
	}
	return nil
}
