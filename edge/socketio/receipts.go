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
// is on its way at a time. So the write of a person waits for one of them at most.
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
	done     []func(*nodev1.Reply, error) // its own, and those of the receipts that it stands for
}

// line is the receipts of one conversation.
type line struct {
	place   string
	flying  int                 // flights
	waiting []*receipt          // in the order in which they came
	latest  map[string]*receipt // of waiting, by who; only while the conversation is large
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
		session: s, request: r, done: []func(*nodev1.Reply, error){done},
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
	switch {
	case l.large && l.latest[r.who] != nil && l.latest[r.who].sequence <= r.sequence && l.latest[r.who].plain == r.plain:
		// The one that waits would be overtaken by this one anyway.
		before := l.latest[r.who]
		before.sequence, before.request = r.sequence, r.request
		before.done = append(before.done, r.done...)
		q.metrics.merged.Inc()
	case l.flying > 0 && len(l.waiting) >= q.options.ReceiptsWaiting:
		q.mu.Unlock()
		q.metrics.dropped.WithLabelValues("receipts_full").Inc()
		r.finish(nil, &code.Error{Code: code.Unavailable, Message: "Too many receipts of this conversation wait; try again.", RetryAfter: time.Second})
		return
	default:
		l.waiting = append(l.waiting, r)
		l.latest[r.who] = r
	}
	flights := q.depart(l)
	q.mu.Unlock()
	q.start(flights)
}

// depart takes what may leave now, and forgets a line that has come to rest. The caller holds the lock.
func (q *receipts) depart(l *line) []flight {
	var flights []flight
	for len(l.waiting) > 0 {
		f := flight{line: l}
		if l.large && !l.apart {
			if l.flying > 0 {
				break
			}
			f.receipts = l.take(l.plain(q.options.ReceiptsAtOnce))
			f.cursors = f.receipts[0].plain
		} else {
			if l.flying >= q.options.ReceiptsInFlight {
				break
			}
			f.receipts = l.take(1)
		}
		l.flying++
		flights = append(flights, f)
	}
	if l.flying == 0 {
		delete(q.lines, l.place)
	}
	return flights
}

// plain is how many at the head of the line may leave together: at least one. The caller holds the
// lock.
func (l *line) plain(most int) int {
	n := 0
	for n < len(l.waiting) && n < most && l.waiting[n].plain {
		n++
	}
	return max(n, 1)
}

// take takes the first n that wait. The caller holds the lock.
func (l *line) take(n int) []*receipt {
	taken := slices.Clone(l.waiting[:n])
	clear(l.waiting[:n])
	if l.waiting = l.waiting[n:]; len(l.waiting) == 0 {
		l.waiting = nil
	}
	for _, r := range taken {
		if l.latest[r.who] == r {
			delete(l.latest, r.who)
		}
	}
	return taken
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
	if !apart {
		f.finish(reply, err)
	}
	l := f.line
	q.mu.Lock()
	l.flying--
	switch {
	case apart:
		l.large, l.apart = false, true
		l.waiting = append(f.receipts, l.waiting...)
	case err == nil && !f.cursors:
		l.large = reply.GetEvent() == nil
	}
	flights := q.depart(l)
	q.mu.Unlock()
	q.start(flights)
}

// finish tells each receipt what became of it.
func (f *flight) finish(reply *nodev1.Reply, err error) {
	var refused map[uint32]error
	for _, r := range reply.GetCursors().GetRefused() {
		if refused == nil {
			refused = map[uint32]error{}
		}
		refused[r.GetIndex()] = grain.CodedError(r.GetError())
	}
	for i, r := range f.receipts {
		if no := refused[uint32(i)]; no != nil {
			r.finish(nil, no)
			continue
		}
		r.finish(reply, err)
	}
}

func (r *receipt) finish(reply *nodev1.Reply, err error) {
	for _, done := range r.done {
		done(reply, err)
	}
}

// cursor is the receipt as far as a large conversation keeps it.
func (r *receipt) cursor() *nodev1.UserCursor {
	c := &nodev1.AdvanceCursor{From: r.request.sender(), Delivered: r.sequence}
	if r.seen {
		c.Seen = r.sequence
	}
	return &nodev1.UserCursor{UserId: r.session.principal.GetUserId(), Cursor: c}
}
