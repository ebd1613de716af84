package system

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"parley/cluster/directory"
	"parley/persistence/keys"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// sweepInterval is how late an end of a context or a silent attempt may be noticed.
const sweepInterval = 50 * time.Millisecond

// Caller calls grains wherever they live. It repeats an attempt that surely did not execute, and
// any attempt of a request for which executing twice is the same as once, until the caller's
// deadline. All methods may be called from any goroutine.
type Caller struct {
	s       *System
	table   table
	lines   *lines
	targets []atomic.Pointer[target] // by shard
	order   atomic.Uint64
	kick    chan struct{} // capacity 1: any number of wakes before a sweep cost one
	awake   atomic.Bool   // the sweeper looks every sweepInterval by itself
}

// target caches where a shard's requests go. It is valid for one epoch and address.
type target struct {
	lead               directory.Lead
	placement, queries *actor.PID
}

func newCaller(s *System) *Caller {
	c := &Caller{s: s, targets: make([]atomic.Pointer[target], s.dir.Shards()+1), kick: make(chan struct{}, 1)}
	c.lines = newLines(c)
	c.table.open(s)
	return c
}

// Ask sends req to its identity's grain, or its shard's reader, and waits for the answer. ctx
// bounds the call; without a deadline Options.CallTimeout does. Every error is a *code.Error: a
// refusal of the grain (then the reply is there, too), code.Unavailable when surely nothing
// happened, and code.Unknown when a command may have been executed.
func (c *Caller) Ask(ctx context.Context, req *nodev1.GrainRequest) (*nodev1.GrainReply, error) {
	type result struct {
		reply *nodev1.GrainReply
		err   error
	}
	done := make(chan result, 1) // done is called once
	c.AskAsync(ctx, req, func(reply *nodev1.GrainReply, err error) { done <- result{reply, err} })
	select {
	case r := <-done:
		return r.reply, r.err
	case <-ctx.Done():
		c.wake() // the sweeper knows whether the request was delivered
		r := <-done
		return r.reply, r.err
	}
}

// AskAsync is Ask without waiting. Commands of one goroutine to one identity arrive in the order of
// the calls while the leader stays the same, also when for a time it could not be reached or was not
// known; but what was on a connection that broke arrives again after what was asked meanwhile. done is called exactly once, from any goroutine
// (also this one), and must not block. req must not be changed any more. The end of ctx may be
// noticed 50 ms late.
func (c *Caller) AskAsync(ctx context.Context, req *nodev1.GrainRequest, done func(*nodev1.GrainReply, error)) {
	n, err := ShardOf(req, c.s.dir.Shards())
	if err != nil {
		done(nil, code.New(code.NotFound, "%v.", err))
		return
	}
	if (req.Command == nil) == (req.Query == nil) {
		done(nil, code.New(code.Internal, "A request carries one of command and query."))
		return
	}
	if err := c.s.gated(req); err != nil {
		done(nil, err)
		return
	}
	if c.table.len() >= c.s.o.CallsMax {
		c.s.metrics.drop(dropCallsFull)
		done(nil, &code.Error{Code: code.Unavailable, Message: "Too many requests are in flight.", RetryAfter: c.s.o.RetryAfter})
		return
	}
	now := time.Now()
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = now.Add(c.s.o.CallTimeout)
	}
	call := &call{c: c, ctx: ctx, req: req, shard: n, done: done, deadline: deadline, safety: safetyOf(req),
		order: c.order.Add(1), patience: c.s.o.AttemptTimeout}
	call.start(now)
}

// target gives where requests of the lead's shard go.
func (c *Caller) target(lead directory.Lead) *target {
	t := c.targets[lead.Shard].Load()
	if t == nil || t.lead.Epoch != lead.Epoch || t.lead.Addr != lead.Addr || t.lead.Local != lead.Local {
		t = &target{lead: lead, queries: actor.NewPID(lead.Addr, queriesName)}
		if lead.Local {
			t.placement = c.s.placements[lead.Shard]
		} else {
			t.placement = actor.NewPID(lead.Addr, placementName(lead.Shard))
		}
		c.targets[lead.Shard].Store(t)
	}
	return t
}

// replyTo is the address for the answer to one attempt.
func (c *Caller) replyTo(id callID) *actor.PID {
	return &actor.PID{Address: c.s.Addr(), Id: c.table.stripes[id.stripe].name, RequestId: id.number}
}

// replied hands an answer to the attempt that waits for it.
func (c *Caller) replied(id callID, msg any) {
	w := c.table.take(id)
	if w == nil {
		c.s.metrics.drop(dropLateReply)
		return
	}
	w.replied(msg)
}

// register puts w into the table and makes sure that the sweeper looks at it in time.
func (c *Caller) register(w waiter) (callID, bool) {
	id, ok := c.table.put(w)
	if ok && !c.awake.Load() {
		c.wake()
	}
	return id, ok
}

// wake asks for a sweep soon.
func (c *Caller) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// review is what a sweep looks with.
type review struct {
	now  time.Time
	next time.Time // when the earliest of those that are not due wants to be looked at again
}

// again asks for a look at t.
func (r *review) again(t time.Time) {
	if t.Before(r.next) {
		r.next = t
	}
}

// sweep ends what is over and repeats what must be, until ctx ends. It sleeps while nothing is
// in flight.
func (c *Caller) sweep(ctx context.Context) {
	timer := time.NewTimer(sweepInterval)
	defer timer.Stop()
	var calls uint64 // made when the last sweep found none in flight
	for {
		c.awake.Store(true)
		next := c.sweepOnce(time.Now())
		if made := c.order.Load(); c.table.len() == 0 && made == calls && c.sleep() {
			timer.Stop()
		} else {
			calls = made
			timer.Reset(max(time.Until(next), 0))
		}
		select {
		case <-ctx.Done():
			return
		case <-c.kick:
		case <-timer.C:
		}
	}
}

// sleep lets the next call wake the sweeper. It gives false when one came meanwhile.
func (c *Caller) sleep() bool {
	c.awake.Store(false)
	if c.table.len() > 0 { // it may have seen the sweeper awake
		c.awake.Store(true)
		return false
	}
	return true
}

// sweepOnce looks at all calls, and says when to look again.
func (c *Caller) sweepOnce(now time.Time) time.Time {
	r := &review{now: now, next: now.Add(sweepInterval)}
	all := c.table.takeDue(r)
	slices.SortFunc(all, func(a, b waiter) int { return cmp.Compare(a.rank(), b.rank()) })
	for _, w := range all {
		w.act(r)
	}
	for _, key := range c.lines.due(r) {
		c.lines.retry(key, r)
	}
	return r.next
}

// close ends all calls; none can be made after it.
func (c *Caller) close() {
	for _, w := range c.table.close() {
		w.end()
	}
}

// follows says that a request sent under attempt's lead still goes where it should.
func (c *Caller) follows(n keys.Shard, attempt directory.Lead) bool {
	now := c.s.dir.Get(n)
	return now.Epoch == attempt.Epoch && now.Addr == attempt.Addr
}
