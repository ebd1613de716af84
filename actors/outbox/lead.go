package outbox

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"

	"parley/cluster/shard"
	nodev1 "parley/proto/node/v1"
)

// kinds are those of the queues of each shard.
func (b *Outbox) kinds() []nodev1.Kind {
	return append(slices.Collect(maps.Keys(b.options.Sinks)), nodev1.Kind_KIND_UNSPECIFIED)
}

// follow starts the queues of a shard when this node leads and is ready, and drops them at the end
// of the epoch, with what they have under way.
func (b *Outbox) follow(ctx context.Context, l shard.Lead) {
	leads := l.Local && l.Ready
	for _, kind := range b.kinds() {
		p := place{l.Shard, kind}
		now := b.queues[p]
		if now != nil && (!leads || now.epoch != l.Epoch) {
			b.drop(p)
			now = nil
		}
		if leads && now == nil {
			b.lead(ctx, p, l.Epoch)
		}
	}
}

func (b *Outbox) lead(ctx context.Context, p place, epoch shard.Epoch) {
	q := NewQueue(p.shard, b.options.Host.Reader(), b.options.Limits, rand.Float64)
	if p.kind != nodev1.Kind_KIND_UNSPECIFIED {
		q = NewSinkQueue(p.shard, p.kind, b.options.Host.Reader(), b.options.SinkLimits, rand.Float64)
	}
	l := &led{epoch: epoch, queue: q}
	l.ctx, l.cancel = context.WithCancel(ctx)
	b.queues[p] = l
	b.step(message{place: p, epoch: epoch, in: Started{}})
}

// end drops all queues.
func (b *Outbox) end() {
	for p := range b.queues {
		b.drop(p)
	}
}

func (b *Outbox) drop(p place) {
	l := b.queues[p]
	b.metrics.depth.Sub(float64(l.held))
	l.cancel()
	for _, ask := range l.queue.Pending() {
		ask.Done(0, shard.ErrNotLeader)
	}
	delete(b.queues, p)
}
