package system

import (
	"fmt"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
)

// mayIdle asks a grain whether it can be passivated; sent is the placement's count when it asked.
type mayIdle struct{ sent uint64 }

// woken is a message that an activation posted to itself.
type woken struct {
	by  *grain
	msg any
}

// IgnoreDeadLetterLogging keeps what was posted to an ended grain out of the log.
func (woken) IgnoreDeadLetterLogging() {}

// grain is the actor round one activation. A panic makes protoactor replace it by a fresh one
// with the same mailbox; the record stays.
type grain struct {
	s      *System
	record *record
	home   *actor.PID // the placement

	activation Activation
	self       *actor.PID
	ended      atomic.Bool
}

// Receive is called by protoactor, one message at a time.
func (g *grain) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *inbound:
		g.onRequest(m)
	case woken:
		if m.by == g && !g.ended.Load() {
			g.activation.Wake(m.msg)
		}
	case mayIdle:
		if g.record.waiters.count() == 0 && g.activation.Idle() {
			ctx.Send(g.home, idle{record: g.record, seen: m.sent})
		}
	case *actor.Started:
		g.self = ctx.Self()
		g.activation = g.record.kind.Activate(g.record.id, g.post)
	case *actor.Restarting:
		g.onPanicked()
	case *actor.Stopping:
		g.onStopping()
	}
}

// onRequest refuses what belongs to an epoch that is over: the mailbox may be long, and the
// poison that ends the grain waits behind it.
func (g *grain) onRequest(in *inbound) {
	if !in.claim() {
		return
	}
	lead := g.s.dir.Get(g.record.id.Shard)
	if !lead.Serves() || lead.Epoch != g.record.id.Epoch {
		in.respond(notLeader())
		return
	}
	g.activation.Receive(in.req, in.respond)
}

// post is called from any goroutine.
func (g *grain) post(msg any) {
	if !g.ended.Load() {
		g.s.actors.Root.Send(g.self, woken{by: g, msg: msg})
	}
}

// onPanicked gives up a broken activation: its state may be wrong, so it is not even asked to stop.
func (g *grain) onPanicked() {
	g.ended.Store(true)
	g.s.metrics.ended.WithLabelValues("panic").Inc()
	defer func() {
		if r := recover(); r != nil { // nobody would restart the actor a second time
			g.s.o.Logger.Error("grain panicked while it was given up", "kind", g.record.kind.Name, "reason", fmt.Sprint(r))
		}
		for _, in := range g.record.waiters.list() {
			if in.stage.Load() == delivered {
				g.s.metrics.drop(dropPanicked)
				in.respond(unknown())
			}
		}
	}()
	if g.activation != nil { // else it was that which panicked
		g.activation.Abandon()
	}
}

func (g *grain) onStopping() {
	if g.ended.Swap(true) || g.activation == nil {
		return
	}
	defer func() {
		if r := recover(); r != nil {
			g.s.o.Logger.Error("grain panicked while stopping", "kind", g.record.kind.Name, "reason", fmt.Sprint(r))
		}
		for _, in := range g.record.waiters.list() {
			in.abandon()
		}
	}()
	g.activation.Stop()
}
