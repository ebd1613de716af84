package outbox

import (
	"context"

	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

// Redeliver brings back dead letters of an application in one shard, or drops them, as many as one
// write may move: 0 says that there are no more. Only the shard's leader can.
func (b *Outbox) Redeliver(ctx context.Context, s keys.Shard, kind nodev1.Kind, r Redeliver) (moved int, err error) {
	type result struct {
		moved int
		err   error
	}
	answer := make(chan result, 1) // one answer, also when nobody waits any more
	r.Done = func(moved int, err error) { answer <- result{moved, err} }
	b.send(message{place: place{s, kind}, in: r})
	select {
	case a := <-answer:
		return a.moved, a.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// buried tells of rows that were given up.
func (b *Outbox) buried(p place, out Propose) {
	if out.Dropped > 0 {
		b.metrics.droppedLetters.Add(float64(out.Dropped))
		b.options.Logger.Warn("dead letters were dropped, because newer ones need their place", "shard", p.shard, "kind", p.kind.String(), "letters", out.Dropped)
	}
	for _, l := range out.Died {
		b.metrics.letters.Inc()
		b.options.Logger.Warn("an outbox row became a dead letter", "shard", p.shard, "kind", p.kind.String(), "application", l.Row.ApplicationId,
			"source", l.Row.SourceId, "target", l.Row.TargetId, "attempts", l.Attempts, "reason", l.Reason)
	}
}
