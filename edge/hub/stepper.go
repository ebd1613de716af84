package hub

import (
	"cmp"
	"slices"
	"time"

	nodev1 "parley/proto/node/v1"
)

// Stepper is a Hub without goroutines: its owner asks its questions, runs its passes and moves
// its clock, each when it likes. What Deliver, Subscribe and the other methods of the Hub do is
// the same code as in a running edge. It is for simulations and not safe for concurrent use.
type Stepper struct {
	Hub *Hub // for subscriptions and deliveries; not to be started or closed

	now       func() time.Time
	questions []*Question
	queued    []*room
	turns     []*Subscription
	running   *room // between the halves of its pass
	batches   []batch
}

// Question is something that the hub wants from the cluster. Either Interest or Read is set.
type Question struct {
	Interest     *nodev1.Interest   // to be registered or withdrawn
	Read         *nodev1.ListEvents // of Conversation, asked by Principal
	Principal    *nodev1.Principal
	Conversation string

	room *room
}

// OpenStepper makes a Stepper with its own clock.
func OpenStepper(o Options, now func() time.Time) (*Stepper, error) {
	h, err := New(nil, o)
	if err != nil {
		return nil, err
	}
	s := &Stepper{Hub: h, now: now}
	h.world = stepped{s}
	return s, nil
}

// Ask takes the i-th of the questions that wait, of which Questions gives the number.
func (s *Stepper) Ask(i int) *Question {
	q := s.questions[i]
	s.questions = slices.Delete(s.questions, i, i+1)
	return q
}

// Questions is how many questions wait.
func (s *Stepper) Questions() int { return len(s.questions) }

// Registered answers a question for interest, in whatever order, at most once.
func (s *Stepper) Registered(q *Question, reply *nodev1.InterestReply, err error) {
	if !q.Interest.Withdraw {
		now, err := standingOf(q.room.address, reply, err)
		q.room.registered(now, err)
	}
}

// Fetched answers a question for events, in whatever order, at most once.
func (s *Stepper) Fetched(q *Question, reply *nodev1.Reply, err error) {
	from := q.Read.Start
	events, head, err := pageOf(q.room.address, from, reply, err)
	q.room.fetched(from, events, head, err)
}

// Pass runs half a pass of a room: it takes what waits, or it writes what was taken; or it goes
// on with a subscription that waited for its connection. False when there is nothing of all that.
func (s *Stepper) Pass() bool {
	switch {
	case s.running != nil:
		r, batches := s.running, s.batches
		s.running, s.batches = nil, nil
		for _, b := range batches {
			b.pass(r.metrics)
		}
		r.finish()
	case len(s.turns) > 0:
		next := s.turns[0]
		s.turns = s.turns[1:]
		next.room.resume(next)
	case len(s.queued) > 0:
		s.running = s.queued[0]
		s.queued = s.queued[1:]
		s.batches = s.running.begin()
	default:
		return false
	}
	return true
}

// Tick does what the time has come for.
func (s *Stepper) Tick() {
	for _, r := range inOrder(s.Hub.due(s.now())) {
		r.tick()
	}
	all := inOrder(s.Hub.everyRoom())
	s.Hub.refresh(s.now(), all)
	if lost := s.Hub.takeLost(); lost != nil {
		s.Hub.doubt(lost, all)
	}
	s.Hub.claim(claimsMax)
}

// inOrder makes a list of rooms independent of maps.
func inOrder(rooms []*room) []*room {
	slices.SortFunc(rooms, func(a, b *room) int {
		return cmp.Or(cmp.Compare(a.address.application, b.address.application), cmp.Compare(a.address.id, b.address.id))
	})
	return rooms
}

// stepped is the world of a Stepper's rooms.
type stepped struct{ *Stepper }

func (s stepped) register(r *room) {
	s.questions = append(s.questions, &Question{Interest: s.Hub.interest(r.address, s.Hub.version.Add(1), false), room: r})
}

func (s stepped) fetch(r *room, from uint64) {
	s.questions = append(s.questions, &Question{
		Read: s.Hub.page(from), Principal: reader(r.address), Conversation: r.address.id, room: r})
}

func (s stepped) schedule(r *room) { s.queued = append(s.queued, r) }

func (s stepped) resume(next *Subscription) { s.turns = append(s.turns, next) }

func (s stepped) wake(r *room, after time.Duration) { s.Hub.wakeAt(r, s.Stepper.now().Add(after)) }

func (s stepped) now() time.Time { return s.Stepper.now() }

func (s stepped) withdraw(r *room) {
	s.Hub.drop(r)
	s.questions = append(s.questions, &Question{Interest: s.Hub.interest(r.address, s.Hub.version.Add(1), true), room: r})
}
