package hub

import (
	"maps"
	"runtime"
	"slices"

	"parley/edge/dialect"
	"parley/edge/socket"
)

// writer is a room's way out. What is said to all live subscribers is rendered once per dialect
// into the open batch; a pass takes the batch and writes its bytes to every socket. What is said
// while a pass runs leaves together in the next: the first event leaves at once, load makes
// passes larger, and no timer is needed.
//
// A batch belongs to those who were live when its bytes were said. Whenever somebody joins or
// leaves, the open batch is sealed with the subscribers of before. Guarded by the room's lock.
type writer struct {
	groups  []*group
	sealed  []batch
	waiting int  // bytes in open and sealed batches
	flying  bool // scheduled, or a pass runs
}

// group is the live subscribers of one dialect.
type group struct {
	dialect dialect.Dialect
	live    []*Subscription
	lent    bool   // a sealed batch or a running pass reads live: do not change it in place
	open    []byte // said, and in no batch yet
}

// batch is bytes and whom they are for; then frames for single subscribers.
type batch struct {
	parts []part
	after []remark
}

type part struct {
	bytes []byte
	to    []*Subscription
}

// remark ends a subscription after the batch: with a frame, unless nil, and a call.
type remark struct {
	to    *Subscription
	frame []byte
	then  func()
}

func (m *remark) make() {
	if m.frame != nil {
		m.to.to.Send(m.frame)
	}
	m.to.ended.Store(true)
	m.then()
}

// full says that events must wait until a pass has taken what is there.
func (w *writer) full(bytesMax int) bool { return w.waiting >= bytesMax }

// join makes s live: it hears what is said from now on.
func (w *writer) join(s *Subscription) {
	w.seal()
	g := w.group(s.dialect)
	s.at = len(g.live)
	g.live = append(g.live, s) // a lent prefix is not changed by this
}

// leave makes s not live. What was sealed before still goes to it.
func (w *writer) leave(s *Subscription) {
	w.seal()
	g := w.group(s.dialect)
	if g.lent {
		g.live = slices.Clone(g.live)
		g.lent = false
	}
	end := len(g.live) - 1
	g.live[s.at] = g.live[end]
	g.live[s.at].at = s.at
	g.live[end] = nil
	g.live = g.live[:end]
	s.at = -1
}

func (w *writer) group(d dialect.Dialect) *group {
	for _, g := range w.groups {
		if g.dialect == d {
			return g
		}
	}
	g := &group{dialect: d}
	w.groups = append(w.groups, g)
	return g
}

// of lists the live subscriptions of a user.
func (w *writer) of(user string) []*Subscription {
	var list []*Subscription
	for _, s := range w.everyone() {
		if s.user == user {
			list = append(list, s)
		}
	}
	return list
}

// everyone lists the live subscriptions.
func (w *writer) everyone() []*Subscription {
	var list []*Subscription
	for _, g := range w.groups {
		list = append(list, g.live...)
	}
	return list
}

// broadcast says the same to all live subscribers.
func (w *writer) broadcast(r *room, render func(d dialect.Dialect, dst []byte) []byte) {
	for _, g := range w.groups {
		if len(g.live) == 0 {
			continue
		}
		before := len(g.open)
		g.open = render(g.dialect, g.open)
		w.waiting += len(g.open) - before
		r.metrics.rendered.Inc()
		w.schedule(r)
	}
}

// say makes a remark after everything that was said before.
func (w *writer) say(r *room, m remark) {
	w.seal()
	if !w.flying {
		m.make()
		return
	}
	if len(w.sealed) == 0 {
		w.sealed = append(w.sealed, batch{})
	}
	b := &w.sealed[len(w.sealed)-1]
	b.after = append(b.after, m)
}

func (w *writer) schedule(r *room) {
	if !w.flying {
		w.flying = true
		r.world.schedule(r)
	}
}

// seal closes the open batch, if anything was said.
func (w *writer) seal() {
	var parts []part
	for _, g := range w.groups {
		if len(g.open) == 0 {
			continue
		}
		parts = append(parts, part{bytes: g.open, to: g.live[:len(g.live):len(g.live)]})
		g.open, g.lent = nil, true
	}
	if parts != nil {
		w.sealed = append(w.sealed, batch{parts: parts})
	}
}

// take gives all batches to a pass.
func (w *writer) take() []batch {
	w.seal()
	batches := w.sealed
	w.sealed, w.waiting = nil, 0
	return batches
}

// done ends a pass: nobody reads the lent lists any more, unless sealed batches wait.
func (w *writer) done() {
	if len(w.sealed) == 0 {
		for _, g := range w.groups {
			g.lent = false
		}
	}
}

// Flush implements socket.Task: one pass over the room's sockets with all that waits.
func (r *room) Flush(*socket.Scratch) {
	for _, b := range r.begin() {
		b.pass(r.metrics)
	}
	r.finish()
}

// begin takes what waits for a pass.
func (r *room) begin() []batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.writer.take()
}

// finish ends a pass, and asks for the next if more was said meanwhile.
func (r *room) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writer.done()
	r.writer.flying = false
	if r.writer.pending() {
		r.writer.schedule(r)
	}
	r.drainHeld()
	r.hear(r.want)
}

// pending says whether anything waits for a pass.
func (w *writer) pending() bool {
	return len(w.sealed) > 0 || slices.ContainsFunc(w.groups, func(g *group) bool { return len(g.open) > 0 })
}

// stretch is how many sockets are written to before others may have the processor: half a millisecond.
// The scheduler would take it after ten.
const stretch = 64

// pass writes the batch to everybody it is for.
func (b *batch) pass(m *metrics) {
	reached := 0 // in all parts: many dialects, each with a few sockets, are a long pass too
	for _, p := range b.parts {
		for _, s := range p.to {
			if reached++; reached%stretch == 0 {
				runtime.Gosched()
			}
			if !s.ended.Load() {
				s.to.SendNow(p.bytes)
			}
		}
		m.passes.Observe(float64(len(p.to)))
		m.passBytes.Observe(float64(len(p.bytes)))
	}
	for _, m := range b.after {
		m.make()
	}
}

// without removes the first s.
func without(list []*Subscription, s *Subscription) []*Subscription {
	if i := slices.Index(list, s); i >= 0 {
		return slices.Delete(list, i, i+1)
	}
	return list
}

func sortedKeys(m map[uint64]*page) []uint64 { return slices.Sorted(maps.Keys(m)) }
