package system

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// Stages of an inbound request; they only rise.
const (
	queued    = iota // nobody has acted on it: it may still be withdrawn
	delivered        // the activation has it: only its answer tells what happened
	answered
)

// inbound is a request on its way through this node, and the way back for its one answer. The
// answer goes to a call made on this node, by id, or to a sender on another one.
type inbound struct {
	s      *System
	req    *nodev1.GrainRequest
	id     callID     // of a local call
	sender *actor.PID // of a remote one, else nil

	stage atomic.Int32

	record atomic.Pointer[record] // the grain that has to answer, once placed

	prev, next *inbound // guarded by waiters.mu of record
}

// admit counts a request in, or answers it with a refusal when the node is full.
func (s *System) admit(in *inbound) bool {
	if s.waiting.Add(1) > int64(s.o.WaitingPerNode) {
		s.metrics.drop(dropNodeFull)
		in.respond(overloaded(s.o.RetryAfter))
		return false
	}
	return true
}

// claim passes from queued to delivered; false means that the request was withdrawn or answered.
func (in *inbound) claim() bool { return in.stage.CompareAndSwap(queued, delivered) }

// withdraw takes the request back if nobody has acted on it: then it surely never will happen.
func (in *inbound) withdraw() bool {
	if !in.stage.CompareAndSwap(queued, answered) {
		return false
	}
	in.leave()
	return true
}

// respond sends the one answer; later ones are ignored.
func (in *inbound) respond(reply *nodev1.GrainReply) {
	if in.stage.Swap(answered) == answered {
		return
	}
	in.leave()
	if in.sender == nil {
		in.s.caller.replied(in.id, reply)
		return
	}
	in.s.reply(in.sender, reply)
}

// abandon answers for an activation that no longer can: a request it never saw surely has not
// happened, one that it had is unknown.
func (in *inbound) abandon() {
	if in.stage.Load() == delivered {
		in.respond(unknown())
		return
	}
	in.respond(notLeader())
}

func (in *inbound) leave() {
	in.s.waiting.Add(-1)
	if r := in.record.Load(); r != nil {
		r.waiters.remove(in)
	}
}

// waiters are the requests that one grain has to answer.
type waiters struct {
	mu   sync.Mutex // guards all below and the links of the members
	head *inbound
	len  int
}

// add gives false when limit wait already.
func (w *waiters) add(in *inbound, limit int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.len >= limit {
		return false
	}
	in.prev, in.next = nil, w.head
	if w.head != nil {
		w.head.prev = in
	}
	w.head = in
	w.len++
	return true
}

func (w *waiters) remove(in *inbound) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if in.prev != nil {
		in.prev.next = in.next
	} else if w.head == in {
		w.head = in.next
	} else {
		return // removed before
	}
	if in.next != nil {
		in.next.prev = in.prev
	}
	in.prev, in.next = nil, nil
	w.len--
}

func (w *waiters) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.len
}

// list gives the waiting requests, oldest first.
func (w *waiters) list() []*inbound {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]*inbound, w.len)
	i := w.len
	for in := w.head; in != nil; in = in.next {
		i--
		all[i] = in
	}
	return all
}

func notLeader() *nodev1.GrainReply { return &nodev1.GrainReply{NotLeader: true} }

func refusal(c code.Code, message string) *nodev1.GrainReply {
	return &nodev1.GrainReply{Error: &nodev1.Error{Code: string(c), Message: message}}
}

func unknown() *nodev1.GrainReply {
	return refusal(code.Unknown, "The outcome is not known. Send the request again with the same client id.")
}

func overloaded(after time.Duration) *nodev1.GrainReply {
	reply := refusal(code.Unavailable, "Too many requests are waiting. Try again later.")
	reply.Error.RetryAfterMs = after.Milliseconds()
	return reply
}
