package socketio

import (
	"strings"
	"sync"
	"time"

	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// receipts paces the receipts of the SDKs. Each of their clients sends one for every text that it
// is told, so a text in a conversation of thousands brings thousands at once. A few of each
// conversation are on their way to the cluster; the others wait here, where they crowd out nothing
// that people write.
type receipts struct {
	flyingMax  int
	waitingMax int
	send       func(r *receipt, done func(*nodev1.Reply, error))
	metrics    *metrics

	mu    sync.Mutex
	lines map[string]*line // guarded by mu; by application and conversation, while one is on its way
}

// receipt is that a member has received or seen an event.
type receipt struct {
	place    string // application and conversation
	who      string // whose it is, and of which kind
	sequence uint64
	session  *session
	request  *request
	done     []func(*nodev1.Reply, error) // its own, and those of the receipts that it stands for
}

// line is the receipts of one conversation.
type line struct {
	flying  int
	waiting []*receipt          // in the order in which they came
	latest  map[string]*receipt // of waiting, by who; only while the conversation is large
	large   bool                // receipts are no events there: the furthest of a member is all that is stored
}

func newReceipts(o *Options, m *metrics, send func(*receipt, func(*nodev1.Reply, error))) *receipts {
	return &receipts{flyingMax: o.ReceiptsInFlight, waitingMax: o.ReceiptsWaiting, send: send, metrics: m, lines: map[string]*line{}}
}

// isReceipt says whether an event of a client is a receipt.
func isReceipt(kind string) bool {
	family, rest, _ := strings.Cut(kind, ":")
	return family != "custom" && (rest == "delivered" || rest == "seen")
}

func newReceipt(s *session, r *request, done func(*nodev1.Reply, error)) *receipt {
	_, what, _ := strings.Cut(r.kind, ":")
	return &receipt{
		place: s.place(r.cid), who: s.principal.GetUserId() + r.from + what, sequence: r.number("event_id"),
		session: s, request: r, done: []func(*nodev1.Reply, error){done},
	}
}

// post sends a receipt now or later. It does not block; done is called once.
func (q *receipts) post(r *receipt) {
	q.mu.Lock()
	l := q.lines[r.place]
	if l == nil {
		l = &line{latest: map[string]*receipt{}}
		q.lines[r.place] = l
	}
	switch {
	case l.flying < q.flyingMax:
		l.flying++
		q.mu.Unlock()
		q.start(l, r)
		return
	case l.large && l.latest[r.who] != nil && l.latest[r.who].sequence <= r.sequence:
		// The one that waits would be overtaken by this one anyway.
		before := l.latest[r.who]
		before.sequence, before.request = r.sequence, r.request
		before.done = append(before.done, r.done...)
		q.metrics.merged.Inc()
	case len(l.waiting) >= q.waitingMax:
		q.mu.Unlock()
		q.metrics.dropped.WithLabelValues("receipts_full").Inc()
		r.finish(nil, &code.Error{Code: code.Unavailable, Message: "Too many receipts of this conversation wait; try again.", RetryAfter: time.Second})
		return
	default:
		l.waiting = append(l.waiting, r)
		l.latest[r.who] = r
	}
	q.mu.Unlock()
}

// start sends r, which has a place among those on their way, and then whatever waits.
func (q *receipts) start(l *line, r *receipt) {
	q.send(r, func(reply *nodev1.Reply, err error) {
		r.finish(reply, err)
		q.mu.Lock()
		if err == nil {
			l.large = reply.GetEvent() == nil
		}
		next := l.next()
		if next == nil {
			if l.flying--; l.flying == 0 {
				delete(q.lines, r.place)
			}
		}
		q.mu.Unlock()
		if next != nil {
			q.start(l, next)
		}
	})
}

// next takes the first that waits; nil = none does. The caller holds the lock.
func (l *line) next() *receipt {
	if len(l.waiting) == 0 {
		return nil
	}
	r := l.waiting[0]
	l.waiting[0] = nil
	if l.waiting = l.waiting[1:]; len(l.waiting) == 0 {
		l.waiting = nil
	}
	if l.latest[r.who] == r {
		delete(l.latest, r.who)
	}
	return r
}

func (r *receipt) finish(reply *nodev1.Reply, err error) {
	for _, done := range r.done {
		done(reply, err)
	}
}
