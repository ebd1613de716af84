package outbox

import (
	"context"
	"errors"

	"parley/actors/grain"
	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// Redeliver brings back the dead letters of an application in one shard, or drops them, and says how many
// there were. Only the shard's leader can.
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

// written tells what became of a write. One that the shard will never take is tried again, like any other:
// that it is, somebody has to know.
func (b *Outbox) written(p place, out Propose, err error) {
	switch {
	case err == nil:
		b.buried(p, out)
	case errors.Is(err, shard.ErrTooLarge), errors.Is(err, shard.ErrMalformed):
		b.metrics.refusedWrites.Inc()
		b.options.Logger.Error("rows stay in an outbox, because the write that deletes them is refused for good", "shard", p.shard,
			"kind", p.kind.String(), "ops", len(out.Write.Ops), "error", err)
	}
}

// refused tells of a row that its target refuses for good. That somebody is not there any more happens; a
// row that nobody can take is a mistake of its sender's.
func (b *Outbox) refused(p place, r grain.Row, err error) {
	b.metrics.refused.Inc()
	say := b.options.Logger.Warn
	if code.Has(err, code.TooLarge) {
		say = b.options.Logger.Error
	}
	say("an outbox row was refused, and is dropped", "shard", p.shard,
		"source", r.Row.SourceId, "target", r.Row.TargetId, "kind", r.Row.TargetKind.String(), "error", err)
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
