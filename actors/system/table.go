package system

import (
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/asynkron/protoactor-go/actor"
)

const stripes = 16

// callID names one attempt of a call on this node: the stripe, and a number within it. A stripe's
// number repeats after 2^32 attempts, and the names of the stripes differ between incarnations of
// a node, so a late reply finds nobody.
type callID struct {
	stripe uint32
	number uint32
}

// waiter is a call in the table. Whoever takes it out owns it: it alone decides what happens next.
type waiter interface {
	// replied is called by the owner with what came back.
	replied(msg any)
	// due is called under the table's lock and must be quick: whether the sweeper should take it.
	due(r *review) bool
	// act is called by the sweeper, as the owner.
	act(r *review)
	// rank orders waiters that are due at once.
	rank() uint64
	// end is called by the owner when the system closes.
	end()
}

// table holds every call in flight, each under the id of its current attempt.
type table struct {
	stripes [stripes]stripe
	next    atomic.Uint32
	size    atomic.Int64
}

type stripe struct {
	name    string     // of the process that takes replies
	mu      sync.Mutex // guards what follows
	counter uint32
	waiters map[uint32]waiter
	closed  bool
}

// put registers w under a new id, and gives false when the table is closed.
func (t *table) put(w waiter) (callID, bool) {
	n := t.next.Add(1) % stripes
	s := &t.stripes[n]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return callID{}, false
	}
	s.counter++
	for s.counter == 0 || s.waiters[s.counter] != nil { // 0 means "no request" to the remote
		s.counter++
	}
	s.waiters[s.counter] = w
	t.size.Add(1)
	return callID{n, s.counter}, true
}

// take removes and gives the waiter of id; nil when there is none any more.
func (t *table) take(id callID) waiter {
	s := &t.stripes[id.stripe]
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waiters[id.number]
	if w != nil {
		delete(s.waiters, id.number)
		t.size.Add(-1)
	}
	return w
}

// takeDue removes and gives all that the review finds due.
func (t *table) takeDue(r *review) []waiter {
	var all []waiter
	for i := range t.stripes {
		s := &t.stripes[i]
		s.mu.Lock()
		for number, w := range s.waiters {
			if w.due(r) {
				delete(s.waiters, number)
				all = append(all, w)
			}
		}
		s.mu.Unlock()
	}
	t.size.Add(-int64(len(all)))
	return all
}

// close empties the table for good.
func (t *table) close() []waiter {
	var all []waiter
	for i := range t.stripes {
		s := &t.stripes[i]
		s.mu.Lock()
		s.closed = true
		for _, w := range s.waiters {
			all = append(all, w)
		}
		s.waiters = nil
		s.mu.Unlock()
	}
	t.size.Add(-int64(len(all)))
	return all
}

func (t *table) len() int { return int(t.size.Load()) }

// mailbox is the process that takes the replies of one stripe. It is no actor: a reply is handed
// over on the goroutine that brought it.
type mailbox struct {
	s      *System
	stripe uint32
}

// SendUserMessage implements actor.Process.
func (m *mailbox) SendUserMessage(pid *actor.PID, message any) {
	m.s.caller.replied(callID{m.stripe, pid.RequestId}, actor.UnwrapEnvelopeMessage(message))
}

// SendSystemMessage implements actor.Process; nothing watches or stops a mailbox.
func (m *mailbox) SendSystemMessage(*actor.PID, any) {}

// Stop implements actor.Process.
func (m *mailbox) Stop(*actor.PID) {}

// open names the stripes, with a prefix that is unique to this incarnation.
func (t *table) open(s *System) {
	incarnation := s.actors.ProcessRegistry.NextId()
	for i := range t.stripes {
		t.stripes[i].waiters = map[uint32]waiter{}
		t.stripes[i].name = replyPrefix + incarnation + "-" + strconv.Itoa(i)
		s.actors.ProcessRegistry.Add(&mailbox{s, uint32(i)}, t.stripes[i].name)
	}
}
