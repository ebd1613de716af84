package system

import (
	"strconv"

	"github.com/asynkron/protoactor-go/actor"

	"parley/cluster/directory"
	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// What a placement is told besides requests.
type (
	leadMoved struct{}              // the directory has something new about the shard
	tick      struct{}              // look for idle grains
	shutdown  struct{ done func() } // end all grains, then call done
	idle      struct {
		record *record
		seen   uint64
	} // the grain may go if it was sent no more than seen
)

// placementName is the address of a shard's placement on every node that may lead it.
func placementName(s keys.Shard) string { return "shard-" + strconv.FormatUint(uint64(s), 10) }

// entity is an identity within its shard.
type entity struct {
	kind            nodev1.Kind
	application, id string
}

// record is what a placement keeps about one grain, for as long as the actor lives. The grain
// shares it, across restarts after a panic.
type record struct {
	key  entity
	kind *Kind
	id   Identity
	pid  *actor.PID

	waiters waiters // requests that the grain has to answer

	// Owned by the placement.
	sent     uint64     // requests handed on
	unused   int        // ticks since the last one
	stopping bool       // passivated: its end is awaited
	queue    []*inbound // arrived while stopping; bounded by WaitingPerGrain
}

// placement is the one way to the grains of one shard on this node. It serves one epoch at a
// time:
//
//	idle ──first request while the node leads──▶ serving(epoch) ──epoch moved──▶ ending ──all stopped──▶ idle
//
// Requests that arrive while ending wait: two generations of an entity never live side by side.
type placement struct {
	s     *System
	shard keys.Shard

	epoch  shard.Epoch // of the grains
	grains map[entity]*record
	actors map[string]*record // every live actor by PID id, those of earlier epochs included
	ending int                // actors of earlier epochs
	queue  []*inbound         // arrived while ending; bounded by WaitingPerGrain
	closed func()             // set by shutdown
}

func (s *System) newPlacement(n keys.Shard) *placement {
	return &placement{s: s, shard: n, grains: map[entity]*record{}, actors: map[string]*record{}}
}

// Receive is called by protoactor, one message at a time.
func (p *placement) Receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case *inbound:
		p.onRequest(ctx, m)
	case *nodev1.GrainRequest:
		p.onRemote(ctx, m)
	case leadMoved:
		p.follow(ctx)
	case *actor.Terminated:
		p.onTerminated(ctx, m.Who.Id)
	case tick:
		p.onTick(ctx)
	case idle:
		p.onIdle(ctx, m)
	case shutdown:
		p.onShutdown(ctx, m)
	}
}

// onRemote takes a request that another node sent; without a sender nobody waits for it.
func (p *placement) onRemote(ctx actor.Context, req *nodev1.GrainRequest) {
	if ctx.Sender() == nil {
		p.s.metrics.drop(dropForbidden)
		return
	}
	in := &inbound{s: p.s, req: req, sender: ctx.Sender()}
	if n, err := ShardOf(req, p.s.dir.Shards()); err != nil || n != p.shard || req.Command == nil {
		p.s.waiting.Add(1)
		in.respond(refusal(code.Internal, "The request does not belong to this shard."))
		return
	}
	if p.s.admit(in) {
		p.onRequest(ctx, in)
	}
}

func (p *placement) onRequest(ctx actor.Context, in *inbound) {
	lead := p.follow(ctx)
	switch {
	case p.closed != nil || !lead.Serves():
		in.respond(notLeader())
	case p.ending > 0:
		p.queue = p.enqueue(p.queue, in)
	default:
		p.place(ctx, lead, in)
	}
}

// follow ends the grains of an epoch that is over.
func (p *placement) follow(ctx actor.Context) directory.Lead {
	lead := p.s.dir.Get(p.shard)
	if lead.Serves() && lead.Epoch == p.epoch {
		return lead
	}
	if len(p.grains) > 0 {
		p.endAll(ctx)
	}
	if !lead.Serves() {
		p.refuseQueue()
	}
	return lead
}

// endAll poisons every grain. Poison, because Stop would drop what waits in a mailbox; the grain
// itself refuses what it finds there.
func (p *placement) endAll(ctx actor.Context) {
	for _, r := range p.grains {
		p.ending++
		if !r.stopping {
			r.stopping = true
			ctx.Poison(r.pid)
		}
		for _, in := range r.queue {
			in.respond(notLeader())
		}
		r.queue = nil
		p.s.metrics.ended.WithLabelValues("epoch").Inc()
	}
	p.grains = map[entity]*record{}
}

func (p *placement) refuseQueue() {
	for _, in := range p.queue {
		in.respond(notLeader())
	}
	p.queue = nil
}

func (p *placement) enqueue(queue []*inbound, in *inbound) []*inbound {
	if len(queue) >= p.s.o.WaitingPerGrain {
		p.s.metrics.drop(dropGrainFull)
		in.respond(overloaded(p.s.o.RetryAfter))
		return queue
	}
	return append(queue, in)
}

// place hands a request to its grain, which it makes first if there is none.
func (p *placement) place(ctx actor.Context, lead directory.Lead, in *inbound) {
	p.epoch = lead.Epoch
	key := entity{in.req.Kind, in.req.ApplicationId, in.req.Id}
	r, ok := p.grains[key]
	if !ok {
		if r = p.activate(ctx, key); r == nil {
			in.respond(refusal(code.Internal, "This node hosts no such kind."))
			return
		}
	}
	if r.stopping {
		r.queue = p.enqueue(r.queue, in)
		return
	}
	p.hand(ctx, r, in)
}

func (p *placement) hand(ctx actor.Context, r *record, in *inbound) {
	if !r.waiters.add(in, p.s.o.WaitingPerGrain) {
		p.s.metrics.drop(dropGrainFull)
		in.respond(overloaded(p.s.o.RetryAfter))
		return
	}
	in.record.Store(r)
	if in.stage.Load() == answered { // withdrawn since: whoever did it may not have seen the record
		r.waiters.remove(in)
		return
	}
	r.sent++
	r.unused = 0
	ctx.Send(r.pid, in)
}

// activate spawns a grain beside the placement, not below it: a parent would keep a trace of
// every child it ever had. Its name carries the epoch and a number, so that no name is used twice.
func (p *placement) activate(ctx actor.Context, key entity) *record {
	kind, ok := p.s.kinds[key.kind]
	if !ok {
		return nil
	}
	r := &record{key: key, kind: kind,
		id: Identity{Kind: key.kind, Application: key.application, ID: key.id, Shard: p.shard, Epoch: p.epoch}}
	home := ctx.Self()
	props := actor.PropsFromProducer(func() actor.Actor { return &grain{s: p.s, record: r, home: home} })
	name := kind.Name + "@" + strconv.FormatUint(uint64(p.epoch), 36) + "." + strconv.FormatUint(p.s.spawned.Add(1), 36)
	pid, err := p.s.actors.Root.SpawnNamed(props, name)
	if err != nil { // the name was used: impossible, but a refusal is better than a lost request
		p.s.o.Logger.Error("spawn grain", "kind", kind.Name, "error", err)
		return nil
	}
	r.pid = pid
	ctx.Watch(pid)
	p.grains[key], p.actors[pid.Id] = r, r
	p.s.inflight.Add(1)
	p.s.metrics.activations.WithLabelValues(kind.Name).Inc()
	return r
}

func (p *placement) onTerminated(ctx actor.Context, pid string) {
	r, ok := p.actors[pid]
	if !ok {
		return
	}
	delete(p.actors, pid)
	p.s.inflight.Add(-1)
	for _, in := range r.waiters.list() { // what the actor had no more time for
		in.abandon()
	}
	if p.grains[r.key] != r {
		p.onGenerationSmaller(ctx)
		return
	}
	delete(p.grains, r.key)
	for _, in := range r.queue {
		p.onRequest(ctx, in)
	}
	p.onEmpty()
}

// onGenerationSmaller counts an ended epoch's grains down, and lets those in that waited for the
// last of them.
func (p *placement) onGenerationSmaller(ctx actor.Context) {
	if p.ending--; p.ending > 0 {
		return
	}
	queue := p.queue
	p.queue = nil
	for _, in := range queue {
		p.onRequest(ctx, in)
	}
	p.onEmpty()
}

// onTick asks grains that were not used for long whether they may go.
func (p *placement) onTick(ctx actor.Context) {
	for _, r := range p.grains {
		r.unused++
		// The first tick may come at once, so one more than the quotient is waited for.
		after := r.kind.PassivateAfter
		if after > 0 && !r.stopping && int64(r.unused) > int64(after/p.s.o.PassivateTick) {
			ctx.Send(r.pid, mayIdle{sent: r.sent})
		}
	}
}

// onIdle passivates a grain that said it is idle, unless a request was sent to it since.
func (p *placement) onIdle(ctx actor.Context, m idle) {
	r := m.record
	if r.stopping || p.grains[r.key] != r || r.sent != m.seen {
		return
	}
	r.stopping = true
	ctx.Poison(r.pid)
	p.s.metrics.ended.WithLabelValues("passivated").Inc()
}

func (p *placement) onShutdown(ctx actor.Context, m shutdown) {
	p.closed = m.done
	p.refuseQueue()
	p.endAll(ctx)
	p.onEmpty()
}

// onEmpty says that the placement is empty when it has been shut down.
func (p *placement) onEmpty() {
	if p.closed != nil && len(p.actors) == 0 {
		p.closed()
		p.closed = func() {}
	}
}
