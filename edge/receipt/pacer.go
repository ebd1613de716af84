package receipt

import (
	"slices"
	"sync"
	"time"

	"parley/actors/conversation"
	"parley/actors/grain"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// pacer decides which receipts leave when.
//
// In a small conversation each receipt is an event and travels alone. In a large one it is a
// member's cursor: those that have gathered leave together, as one command, and one such command
// is on its way at a time. So the write of a person waits for one of them at most. Those that are more
// than a cursor travel alone there too, beside that command.
type pacer struct {
	options *Options
	metrics *metrics
	carrier carrier

	mu    sync.Mutex
	lines map[place]*line // guarded by mu; while one of its receipts is on its way
}

// carrier brings receipts to the cluster. Its methods do not block; done is called once.
type carrier interface {
	// one sends a receipt by itself.
	one(e *entry, done func(*nodev1.Reply, error))
	// many moves the cursors of receipts of one conversation, none of which is odd.
	many(es []*entry, done func(*nodev1.Reply, error))
}

// place names a conversation.
type place struct{ application, conversation string }

// member is whose receipts may stand for each other.
type member struct{ user, from string }

// entry is a receipt in a line.
type entry struct {
	Receipt
	before *entry // of the same member and no further: this one stands for it, and for those before it
}

func (e *entry) place() place   { return place{e.Principal.GetApplicationId(), e.Conversation} }
func (e *entry) member() member { return member{e.Principal.GetUserId(), e.From} }

// furthest is the last event that e names.
func (e *entry) furthest() uint64 { return max(e.Delivered, e.Seen) }

// count is how many receipts e is: itself, and those that it stands for.
func (e *entry) count() (n int) {
	for ; e != nil; e = e.before {
		n++
	}
	return n
}

// covers says whether e says all that the earlier one does.
func (e *entry) covers(o *entry) bool { return e.Delivered >= o.Delivered && e.Seen >= o.Seen }

// line is the receipts of one conversation.
type line struct {
	place   place
	flying  int               // flights
	batch   bool              // one of them is of many
	leaving []flight          // that are about to be sent
	sending bool              // by somebody, who goes on until none is left
	waiting []*entry          // in the order in which they came
	odd     []*entry          // that wait too; those that came while it was small are in waiting
	held    int               // receipts in waiting and odd, with all that they stand for
	latest  map[member]*entry // of waiting, without the odd ones
	large   bool              // receipts are no events there: the furthest of a member is all that is stored
	apart   bool              // the cluster wants them one by one all the same
}

// flight is what leaves together.
type flight struct {
	line    *line
	entries []*entry
	cursors bool // by one command
}

func newPacer(o *Options, m *metrics, c carrier) *pacer {
	return &pacer{options: o, metrics: m, carrier: c, lines: map[place]*line{}}
}

// post sends a receipt now or later.
func (p *pacer) post(e *entry) {
	p.mu.Lock()
	l := p.lines[e.place()]
	if l == nil {
		l = &line{place: e.place(), latest: map[member]*entry{}}
		p.lines[l.place] = l
	}
	if l.flying > 0 && l.held >= p.options.Waiting {
		p.mu.Unlock()
		p.metrics.dropped.WithLabelValues("full").Inc()
		e.finish(nil, &code.Error{Code: code.Unavailable, Message: "Too many receipts of this conversation wait; try again.", RetryAfter: time.Second})
		return
	}
	l.held++
	switch before := l.latest[e.member()]; {
	case l.large && !e.Odd && before != nil && e.covers(before):
		// The one that waits would be overtaken by this one anyway, and is needed only if this one is refused.
		before.Receipt, before.before = e.Receipt, &entry{before.Receipt, before.before}
		p.metrics.merged.Inc()
	case l.large && e.Odd:
		l.odd = append(l.odd, e)
	default:
		l.waiting = append(l.waiting, e)
		if !e.Odd {
			l.latest[e.member()] = e
		}
	}
	p.depart(l)
	p.mu.Unlock()
	p.send(l)
}

// depart lets go what may leave now, and forgets a line that has come to rest. The caller holds the lock.
func (p *pacer) depart(l *line) {
	var flights []flight
	alone := l.flying
	if l.batch {
		alone--
	}
	if l.large && !l.apart && !l.batch {
		if together := l.gather(p.options.AtOnce); len(together) > 0 {
			l.batch = true
			flights = append(flights, flight{line: l, entries: together, cursors: true})
		}
	}
	for ; alone < p.options.InFlight; alone++ {
		e := l.single()
		if e == nil {
			break
		}
		flights = append(flights, flight{line: l, entries: []*entry{e}})
	}
	if l.flying += len(flights); l.flying == 0 {
		delete(p.lines, l.place)
	}
	l.leaving = append(l.leaving, flights...)
}

// gather takes those that wait and are cursors, so many at most, and puts the odd ones that stand between
// them aside. The caller holds the lock.
func (l *line) gather(most int) []*entry {
	var together []*entry
	for len(l.waiting) > 0 && len(together) < most {
		if e := l.first(&l.waiting); e.Odd {
			l.odd = append(l.odd, e)
			l.held += e.count() // it waits on
		} else {
			together = append(together, e)
		}
	}
	return together
}

// single takes the next that travels alone; nil when there is none. The caller holds the lock.
func (l *line) single() *entry {
	switch {
	case len(l.odd) > 0:
		return l.first(&l.odd)
	case len(l.waiting) > 0 && (!l.large || l.apart):
		return l.first(&l.waiting)
	}
	return nil
}

// first takes the first of a list. The caller holds the lock.
func (l *line) first(list *[]*entry) *entry {
	e := (*list)[0]
	(*list)[0] = nil
	if *list = (*list)[1:]; len(*list) == 0 {
		*list = nil
	}
	l.held -= e.count()
	if l.latest[e.member()] == e {
		delete(l.latest, e.member())
	}
	return e
}

// send sends what leaves. A cluster that refuses at once lets the next leave before a call to the carrier has
// returned: that one is sent here too, after it, and not deeper in the stack.
func (p *pacer) send(l *line) {
	for flights := p.leave(l, true); len(flights) > 0; flights = p.leave(l, false) {
		p.start(flights)
	}
}

// leave takes what leaves. Who begins to send is given nothing while somebody else does; who is given
// nothing does not send any more.
func (p *pacer) leave(l *line, begins bool) (flights []flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if begins && l.sending {
		return nil
	}
	flights, l.leaving = l.leaving, nil
	l.sending = len(flights) > 0
	return flights
}

// start hands flights to the carrier.
func (p *pacer) start(flights []flight) {
	for _, f := range flights {
		if f.cursors {
			p.metrics.together.Observe(float64(len(f.entries)))
			p.carrier.many(f.entries, func(reply *nodev1.Reply, err error) { p.landed(f, reply, err) })
			continue
		}
		p.carrier.one(f.entries[0], func(reply *nodev1.Reply, err error) { p.landed(f, reply, err) })
	}
}

// landed answers a flight, and sends the next.
func (p *pacer) landed(f flight, reply *nodev1.Reply, err error) {
	apart := f.cursors && err == nil && reply.GetCursors().GetApart()
	again := f.entries
	if !apart {
		again = f.finish(reply, err)
	}
	l := f.line
	p.mu.Lock()
	l.flying--
	if f.cursors {
		l.batch = false
	}
	switch {
	case apart:
		l.large, l.apart = false, true
	case err == nil && !f.cursors:
		l.large = reply.GetHead().GetJoined() > conversation.ReceiptMembersMax
	}
	for _, e := range again {
		l.held += e.count()
	}
	if len(again) > 0 {
		l.waiting = slices.Concat(again, l.waiting) // the carrier has the flight's own
	}
	p.depart(l)
	p.mu.Unlock()
	p.send(l)
}

// finish tells each receipt what became of it, and gives those that must be sent after all, because
// what stood for them was refused.
func (f *flight) finish(reply *nodev1.Reply, err error) (again []*entry) {
	refused := map[uint32]error{}
	for _, r := range reply.GetCursors().GetRefused() {
		refused[r.GetIndex()] = grain.CodedError(r.GetError())
	}
	for i, e := range f.entries {
		var before *entry
		if no := refused[uint32(i)]; no != nil {
			before = e.finish(nil, no)
		} else {
			before = e.finish(reply, err)
		}
		if before != nil {
			again = append(again, before)
		}
	}
	return again
}

// finish tells a receipt and those that it stands for what became of it. When there is no such event,
// that is not said to those that named an earlier one: it gives the last of them.
func (e *entry) finish(reply *nodev1.Reply, err error) (before *entry) {
	refusal, coded := code.Of(err)
	missing := coded && refusal.Code == code.EventNotFound
	for one := e; one != nil; one = one.before {
		if missing && one.furthest() < e.furthest() {
			return one
		}
		one.Bearer.Done(reply, err)
	}
	return nil
}
