package hub

import (
	"strings"
	"sync"
	"time"

	"parley/edge/dialect"
	"parley/persistence/keys"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// world is what a room asks for. None of it blocks, and no answer comes before the call that
// asked has returned.
type world interface {
	// register asks for r's interest and the head; the answer goes to registered.
	register(r *room)
	// fetch asks for a page of events from a sequence on; the answer goes to fetched.
	fetch(r *room, from uint64)
	// schedule has r.Flush called soon.
	schedule(r *room)
	// resume has the room's resume called soon, with s.
	resume(s *Subscription)
	// wake has tick called after a while, or earlier for another reason.
	wake(r *room, after time.Duration)
	// now is the time.
	now() time.Time
	// withdraw forgets r and its interest.
	withdraw(r *room)
}

// retryMin and retryMax bound the back-off of questions that were not answered.
const (
	retryMin = 50 * time.Millisecond
	retryMax = 2 * time.Second
)

// room is one conversation's, or one user's, subscribers on this edge.
//
// The position of the room is last: every live subscriber has been sent, or has standing in a
// batch, every event up to it, and none above. A subscriber that is behind gets pages of its own,
// at its peer's pace (pace.go), until it stands at last; only then it is live.
//
// What was deleted before a subscription's check must not be shown on it. So nobody is served
// before the room stands at the head that the check saw: then the deletions up to it have been
// taken out of memory, and what comes live is younger. A page read before the check is read again.
type room struct {
	// Fixed.
	address address
	user    bool // a user's feed: no sequence, nothing to catch up
	options *Options
	metrics *metrics
	world   world

	mu sync.Mutex // guards everything below

	gone        bool // withdrawn; a new room has taken or will take its place
	registering bool
	known       bool          // last is valid
	last        uint64        // sequence of the newest event in order
	want        uint64        // highest sequence heard of
	backoff     time.Duration // of the question asked last; 0 = it was answered
	doubtful    bool          // interest could not be confirmed: ask again
	stale       bool          // interest may have been lost since it was asked for
	lined       bool          // waits in the hub's line to be registered again
	shard       keys.Shard    // whose leader confirmed; 0 = unknown
	emptySince  time.Time     // when the last subscriber left; zero = there are some
	asked       time.Time     // when interest was last registered, confirmed or not
	confirmed   time.Time     // the asked of the last confirmation
	missed      bool          // of a user: followers are told at the next confirmation

	held    map[uint64]*nodev1.EventView // above a gap, at most HeldMax
	recent  []*nodev1.EventView          // the newest events up to last, at most RecentMax
	fetches map[uint64]*page             // asked for, by first sequence
	ahead   []*Subscription              // stand above last, or wait for known
	paused  []*Subscription              // behind, and wait for their connection
	size    int                          // subscribers, in whatever state
	tide    tide

	writer writer
}

// page is a question for events, and who waits for the answer besides the room.
type page struct {
	waiting []*Subscription
	failed  bool // ask again at the next tick
}

func newRoom(a address, o *Options, m *metrics, w world) *room {
	return &room{address: a, user: strings.HasPrefix(a.id, "USR-"), options: o, metrics: m, world: w}
}

// subscribe adds s.
func (r *room) subscribe(s *Subscription) {
	r.size++
	r.emptySince = time.Time{}
	r.metrics.subscriptions.Inc()
	if r.stale {
		r.ask() // nobody was there for whom it mattered
	}
	if r.known {
		r.admit(s)
		return
	}
	r.ahead = append(r.ahead, s)
	r.ask()
}

// ask registers interest unless that is on its way.
func (r *room) ask() {
	if !r.registering {
		r.registering, r.stale = true, false
		r.asked = r.world.now()
		r.world.register(r)
	}
}

// end ends s from the server's side, after what it was sent. A user's feed ends without a frame:
// clients know of conversations only.
func (r *room) end(s *Subscription, why dialect.Reason) {
	r.remove(s)
	s.why = why
	var frame []byte
	if !r.user {
		frame = s.dialect.Unsubscribed(nil, r.address.id, why)
	}
	r.writer.say(r, remark{to: s, frame: frame, then: func() { s.to.Ended(s) }})
}

// remove takes s out of every list.
func (r *room) remove(s *Subscription) {
	if s.out {
		return
	}
	s.out = true
	r.size--
	r.metrics.subscriptions.Dec()
	if s.at >= 0 {
		r.writer.leave(s)
	}
	r.unpause(s)
	r.leaveLine(s)
	r.ahead = without(r.ahead, s)
	for _, p := range r.fetches {
		p.waiting = without(p.waiting, s)
	}
	if r.size == 0 {
		r.emptySince = r.world.now()
		r.world.wake(r, r.options.Grace)
	}
}

// admit puts s where it belongs: live, waiting for the room, or behind.
func (r *room) admit(s *Subscription) {
	switch {
	case s.out:
	case r.user:
		r.writer.join(s)
		s.missed()
	case !r.reached(s):
		// The check of the subscription saw a newer head than reached us: we have missed something.
		r.ahead = append(r.ahead, s)
		r.hear(max(s.floor, s.next-1))
	case s.next == r.last+1:
		r.leaveLine(s)
		r.writer.join(s)
	case !r.mayCatchUp(s):
		r.pause(s)
	case len(r.recent) > 0 && s.next >= r.recent[0].GetEvent().GetSequence():
		r.metrics.catchUps.WithLabelValues("memory").Inc()
		r.page(s, r.firstPage(r.recent[s.next-r.recent[0].GetEvent().GetSequence():]))
	default:
		r.metrics.catchUps.WithLabelValues("read").Inc()
		r.fetch(s.next, s)
	}
}

// reached says whether the room stands where s may be served.
func (r *room) reached(s *Subscription) bool {
	return r.user || r.last >= s.floor && r.last+1 >= s.next
}

// page sends s events that it missed, which start at s.next, and admits it again. Pages are the
// subscriber's own and go past the room's batches: a subscriber that is not live is in none.
func (r *room) page(s *Subscription, events []*nodev1.EventView) {
	at := leaving(events, s)
	if at >= 0 {
		events = events[:at+1]
	}
	if !s.sendPage(s.dialect.Events(nil, r.address.id, events)) {
		r.pause(s) // other things have come for its connection since it was asked
		return
	}
	r.leaveLine(s)
	s.next += uint64(len(events))
	if at >= 0 {
		r.end(s, dialect.Left)
		return
	}
	r.admit(s)
}

// fetch asks for the page at from, once, on behalf of s; nil = the room itself.
func (r *room) fetch(from uint64, s *Subscription) {
	p := r.fetches[from]
	if p == nil {
		p = &page{}
		if r.fetches == nil {
			r.fetches = map[uint64]*page{}
		}
		r.fetches[from] = p
		r.world.fetch(r, from)
	}
	if s != nil {
		p.waiting = append(p.waiting, s)
	}
}

// hear notes that a sequence exists, and fetches if it is missing.
func (r *room) hear(sequence uint64) {
	r.want = max(r.want, sequence)
	// A full writer waits for its pass, whose end hears again.
	if !r.known || r.user || r.want <= r.last || r.writer.full(r.options.RoomBytesMax) {
		return
	}
	if r.fetches[r.last+1] == nil {
		r.metrics.gaps.Inc()
	}
	r.fetch(r.last+1, nil)
}

// standing is the answer to a registration: where the conversation or user stands.
type standing struct {
	head  uint64
	shard keys.Shard // whose leader answered; 0 = not told
	gone  bool       // there is no such conversation or user any more
}

// registered takes the answer to register.
func (r *room) registered(now standing, err error) {
	r.registering = false
	if r.gone {
		return
	}
	if err != nil {
		r.doubtful = true
		r.retry()
		return
	}
	r.backoff, r.doubtful, r.confirmed, r.shard = 0, false, r.asked, now.shard
	if now.gone {
		r.deleted() // what said so was lost
		return
	}
	r.confirm()
	if !r.known {
		r.known, r.last = true, now.head
		waiting := r.ahead
		r.ahead = nil
		for _, s := range waiting {
			r.admit(s)
		}
		r.drainHeld()
	}
	r.hear(now.head)
}

// confirm tells followers what they may not have heard, unless the interest was lost again
// meanwhile: then it is asked for once more.
func (r *room) confirm() {
	if r.stale {
		if r.size > 0 {
			r.ask()
		}
		return
	}
	if r.user && r.known && r.missed {
		for _, s := range r.everyone() {
			s.missed()
		}
	}
	r.missed = false
}

// doubt notes that the interest may have been lost.
func (r *room) doubt() { r.stale, r.missed = true, true }

// retry has tick called after the next back-off.
func (r *room) retry() {
	r.backoff = min(max(2*r.backoff, retryMin), retryMax)
	r.world.wake(r, r.backoff)
}

// tick is called when the time asked for by wake has come, or earlier.
func (r *room) tick() {
	if r.gone {
		return
	}
	if r.size == 0 && !r.emptySince.IsZero() {
		rest := r.options.Grace - r.world.now().Sub(r.emptySince)
		if rest <= 0 {
			r.gone = true
			r.world.withdraw(r)
			return
		}
		r.world.wake(r, rest)
	}
	r.tellCursors()
	if !r.known || r.doubtful {
		r.ask()
	}
	for _, from := range sortedKeys(r.fetches) {
		if p := r.fetches[from]; p.failed {
			p.failed = false
			r.world.fetch(r, from)
		}
	}
	r.hear(r.want)
}

// fetched takes the answer to fetch: events from a sequence on without holes, perhaps none, read
// when head or more was the conversation's last sequence.
func (r *room) fetched(from uint64, events []*nodev1.EventView, head uint64, err error) {
	p := r.fetches[from]
	if r.gone || p == nil {
		return
	}
	if code.Has(err, code.ConversationNotFound) {
		r.deleted()
		delete(r.fetches, from)
		return
	}
	if err != nil {
		p.failed = true
		for _, s := range p.waiting {
			r.leaveLine(s) // it may take long: others of its connection go on
		}
		r.retry()
		return
	}
	delete(r.fetches, from)
	// The room goes first: then a subscriber that got the same events stands exactly at last.
	for _, v := range events {
		if v.GetEvent().GetSequence() == r.last+1 && !r.writer.full(r.options.RoomBytesMax) {
			r.apply(v)
		}
	}
	for _, s := range p.waiting {
		r.answer(s, events, head)
	}
	r.drainHeld()
	if len(events) == 0 && r.want > r.last {
		r.retry() // heard of, but not to be read yet
		return
	}
	r.backoff = 0
	r.hear(r.want)
}

// answer brings a page to one that waited for it.
func (r *room) answer(s *Subscription, events []*nodev1.EventView, head uint64) {
	switch {
	case s.out:
	case len(events) > 0 && head < s.floor:
		r.fetch(s.next, s) // asked for before s was checked
	case len(events) > 0:
		r.page(s, events)
	case s.next <= r.last:
		r.end(s, dialect.Unavailable) // the store knows less than it told before
	default:
		r.admit(s)
	}
}
