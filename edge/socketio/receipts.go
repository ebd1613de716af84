package socketio

import (
	"slices"
	"strings"
	"sync"
	"time"

	"parley/actors/grain"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// receipts paces the receipts of the SDKs. Each of their clients sends one for every text that it
// is told, so a text in a conversation of thousands brings thousands at once. Only so many of each
// conversation are on their way to the cluster; the others wait here, where they crowd out nothing
// that people write.
//
// In a small conversation each receipt is an event and travels alone. In a large one it is a
// member's cursor: those that have gathered leave together, as one command, and one such command
// is on its way at a time. So the write of a person waits for one of them at most. Those that are more
// than a cursor travel alone there too, beside that command.
type receipts struct {
	options *Options
	metrics *metrics
	carrier carrier

	mu    sync.Mutex
	lines map[string]*line // guarded by mu; by application and conversation, while one is on its way
}

// carrier brings receipts to the cluster. Its methods do not block; done is called once, from any
// goroutine.
type carrier interface {
	// one posts a receipt as an event.
	one(r *receipt, done func(*nodev1.Reply, error))
	// many moves the cursors of the receipts of one conversation, all of which are plain.
	many(rs []*receipt, done func(*nodev1.Reply, error))
}

// receipt is that a member has received or seen an event.
type receipt struct {
	place    string // application and conversation
	who      string // whose it is, and of which kind
	seen     bool   // not only delivered
	plain    bool   // no more than a cursor: nothing about it could be refused but for the event and the member
	sequence uint64
	session  *session
	request  *request
	done     func(*nodev1.Reply, error)
	before   *receipt // of the same member and no further: it stands for that one, and for those before it
}

// line is the receipts of one conversation.
type line struct {
	place   string
	flying  int                 // flights
	batch   bool                // one of them is of many
	waiting []*receipt          // in the order in which they came
	odd     []*receipt          // that wait too, and are not plain; those that came while it was small are in waiting
	latest  map[string]*receipt // of waiting, by who: the plain ones
	large   bool                // receipts are no events there: the furthest of a member is all that is stored
	apart   bool                // the cluster wants them one by one all the same
}

// flight is what leaves together.
type flight struct {
	line     *line
	receipts []*receipt
	cursors  bool // by one command
}

func newReceipts(o *Options, m *metrics, c carrier) *receipts {
	return &receipts{options: o, metrics: m, carrier: c, lines: map[string]*line{}}
}

// isReceipt says whether an event of a client is a receipt.
func isReceipt(kind string) bool {
	family, rest, _ := strings.Cut(kind, ":")
	return family != "custom" && (rest == "delivered" || rest == "seen")
}

func newReceipt(s *session, r *request, done func(*nodev1.Reply, error)) *receipt {
	family, what, _ := strings.Cut(r.kind, ":")
	sequence := r.number("event_id")
	known := family == "text" || family == "image" || family == "message" || family == "event"
	const usual = 1 << 10
	return &receipt{
		place: s.place(r.cid), who: s.principal.GetUserId() + r.from + what, sequence: sequence, seen: what == "seen",
		plain:   known && sequence > 0 && r.to == "" && len(r.body) <= usual,
		session: s, request: r, done: done,
	}
}

// post sends a receipt now or later. It does not block; the receipt's done is called once.
func (q *receipts) post(r *receipt) {
	q.mu.Lock()
	l := q.lines[r.place]
	if l == nil {
		l = &line{place: r.place, latest: map[string]*receipt{}}
		q.lines[r.place] = l
	}
	switch before := l.latest[r.who]; {
	case l.large && r.plain && before != nil && before.sequence <= r.sequence:
		// The one that waits would be overtaken by this one anyway, and is needed only if this one is refused.
		earlier := *before
		*before = *r
		before.before = &earlier
		q.metrics.merged.Inc()
	case l.flying > 0 && len(l.waiting)+len(l.odd) >= q.options.ReceiptsWaiting:
		q.mu.Unlock()
		q.metrics.dropped.WithLabelValues("receipts_full").Inc()
		r.finish(nil, &code.Error{Code: code.Unavailable, Message: "Too many receipts of this conversation wait; try again.", RetryAfter: time.Second})
		return
	case l.large && !r.plain:
		l.odd = append(l.odd, r)
	default:
		l.waiting = append(l.waiting, r)
		if r.plain {
			l.latest[r.who] = r
		}
	}
	flights := q.depart(l)
	q.mu.Unlock()
	q.start(flights)
}

// depart takes what may leave now, and forgets a line that has come to rest. The caller holds the lock.
func (q *receipts) depart(l *line) []flight {
	var flights []flight
	alone := l.flying
	if l.batch {
		alone--
	}
	if l.large && !l.apart && !l.batch {
		if together := l.gather(q.options.ReceiptsAtOnce); len(together) > 0 {
			l.batch = true
			flights = append(flights, flight{line: l, receipts: together, cursors: true})
		}
	}
	for ; alone < q.options.ReceiptsInFlight; alone++ {
		r := l.single()
		if r == nil {
			break
		}
		flights = append(flights, flight{line: l, receipts: []*receipt{r}})
	}
	if l.flying += len(flights); l.flying == 0 {
		delete(q.lines, l.place)
	}
	return flights
}

// gather takes the plain ones that wait, so many at most, and puts those that stand between them aside.
// The caller holds the lock.
func (l *line) gather(most int) []*receipt {
	var together []*receipt
	for len(l.waiting) > 0 && len(together) < most {
		if r := l.first(&l.waiting); r.plain {
			together = append(together, r)
		} else {
			l.odd = append(l.odd, r)
		}
	}
	return together
}

// single takes the next that travels alone; nil when there is none. The caller holds the lock.
func (l *line) single() *receipt {
	switch {
	case len(l.odd) > 0:
		return l.first(&l.odd)
	case len(l.waiting) > 0 && (!l.large || l.apart):
		return l.first(&l.waiting)
	}
	return nil
}

// first takes the first of a list. The caller holds the lock.
func (l *line) first(list *[]*receipt) *receipt {
	r := (*list)[0]
	(*list)[0] = nil
	if *list = (*list)[1:]; len(*list) == 0 {
		*list = nil
	}
	if l.latest[r.who] == r {
		delete(l.latest, r.who)
	}
	return r
}

// start sends what departs.
func (q *receipts) start(flights []flight) {
	for _, f := range flights {
		if f.cursors {
			q.metrics.together.Observe(float64(len(f.receipts)))
			q.carrier.many(f.receipts, func(reply *nodev1.Reply, err error) { q.landed(f, reply, err) })
			continue
		}
		q.carrier.one(f.receipts[0], func(reply *nodev1.Reply, err error) { q.landed(f, reply, err) })
	}
}

// landed answers a flight, and sends the next.
func (q *receipts) landed(f flight, reply *nodev1.Reply, err error) {
	apart := f.cursors && err == nil && reply.GetCursors().GetApart()
	again := f.receipts
	if !apart {
		again = f.finish(reply, err)
	}
	l := f.line
	q.mu.Lock()
	l.flying--
	if f.cursors {
		l.batch = false
	}
	switch {
	case apart:
		l.large, l.apart = false, true
	case err == nil && !f.cursors:
		l.large = reply.GetEvent() == nil
	}
	if len(again) > 0 {
		l.waiting = slices.Concat(again, l.waiting) // the carrier has the flight's own
	}
	flights := q.depart(l)
	q.mu.Unlock()
	q.start(flights)
}

// finish tells each receipt what became of it, and gives those that must be sent after all, because
// what stood for them was refused.
func (f *flight) finish(reply *nodev1.Reply, err error) (again []*receipt) {
	refused := map[uint32]error{}
	for _, r := range reply.GetCursors().GetRefused() {
		refused[r.GetIndex()] = grain.CodedError(r.GetError())
	}
	for i, r := range f.receipts {
		var before *receipt
		if no := refused[uint32(i)]; no != nil {
			before = r.finish(nil, no)
		} else {
			before = r.finish(reply, err)
		}
		if before != nil {
			again = append(again, before)
		}
	}
	return again
}

// finish tells a receipt and those that it stands for what became of it. When there is no such event,
// that is not said to those that named an earlier one: it gives the last of them.
func (r *receipt) finish(reply *nodev1.Reply, err error) (before *receipt) {
	refusal, coded := code.Of(err)
	missing := coded && refusal.Code == code.EventNotFound
	for one := r; one != nil; one = one.before {
		if missing && one.sequence < r.sequence {
			return one
		}
		one.done(reply, err)
	}
	return nil
}

// cursor is the receipt as far as a large conversation keeps it.
func (r *receipt) cursor() *nodev1.UserCursor {
	c := &nodev1.AdvanceCursor{From: r.request.sender(), Delivered: r.sequence}
	if r.seen {
		c.Seen = r.sequence
	}
	return &nodev1.UserCursor{UserId: r.session.principal.GetUserId(), Cursor: c}
}
