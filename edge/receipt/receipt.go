// Package receipt paces the receipts of clients. Many send one for every text that they are told, so a
// text in a conversation of thousands brings thousands at once. Only so many of each conversation are on
// their way to the cluster; the others wait here, where they crowd out nothing that people write.
//
// The heart is pacer, which only decides what leaves when. The calls and goroutines are the Queue's.
package receipt

import (
	"context"
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"parley/actors/conversation"
	nodev1 "parley/proto/node/v1"
)

// Receipt is how far a member has received and read the events of a conversation.
type Receipt struct {
	Principal    *nodev1.Principal // whose it is: a user
	Conversation string
	From         string // the member; empty = the user's own
	Delivered    uint64 // it has received every event up to this one
	Seen         uint64 // and read every event up to this one; 0 = it does not say
	Odd          bool   // it is more than a cursor, so that it may be refused for what it says besides: it travels alone
	Bearer       Bearer
}

// Bearer is whom a receipt comes from.
type Bearer interface {
	// Alone brings the receipt to the cluster by itself. It must not block; done is called once, from any
	// goroutine.
	Alone(done func(*nodev1.Reply, error))
	// Done tells what became of the receipt, once. It must not block, but may spend a system call.
	Done(reply *nodev1.Reply, err error)
}

// Cluster moves the cursors of many users; api.Cluster is one.
type Cluster interface {
	AdvanceCursors(ctx context.Context, application, conversation string, cursors []*nodev1.UserCursor, done func(*nodev1.Reply, error))
}

// Options are the limits of a Queue. Start from DefaultOptions.
type Options struct {
	InFlight   int                   // receipts of one conversation that travel alone and are on their way at once
	AtOnce     int                   // receipts of one large conversation that leave together
	Waiting    int                   // receipts of one conversation that wait for those, each that a later one stands for included; more are refused
	Registerer prometheus.Registerer // nil = metrics are kept but not published
}

// DefaultOptions are the production limits.
func DefaultOptions() Options { return Options{InFlight: 64, AtOnce: 256, Waiting: 128 << 10} }

// Validate says what is wrong with o.
func (o Options) Validate() error {
	if o.InFlight < 1 || o.AtOnce < 1 || o.AtOnce > conversation.AdvanceCursorsMax || o.Waiting < 1 {
		return errors.New("receipt: counts must be positive, and no more leave together than one command takes")
	}
	return nil
}

// Queue brings the receipts of all clients of a node to the cluster. It is safe for use from any goroutine.
type Queue struct {
	pacer   *pacer
	cluster Cluster

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	group  sync.WaitGroup // of those who answer

	mu     sync.Mutex
	closed bool // guarded by mu
}

// New makes a Queue. ctx bounds the life of its commands.
func New(ctx context.Context, cluster Cluster, o Options) (*Queue, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	q := &Queue{cluster: cluster}
	q.pacer = newPacer(&o, m, q)
	q.ctx, q.cancel = context.WithCancel(ctx)
	return q, nil
}

// Close ends the commands on their way and waits for those who answer. Close those who post before.
func (q *Queue) Close() error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.cancel()
	q.group.Wait()
	return nil
}

// Post brings a receipt to the cluster, now or later. It does not block; the bearer hears of it once.
func (q *Queue) Post(r Receipt) { q.pacer.post(&entry{Receipt: r}) }

// one implements carrier.
func (q *Queue) one(e *entry, done func(*nodev1.Reply, error)) { e.Bearer.Alone(q.apart(done)) }

// many implements carrier.
func (q *Queue) many(es []*entry, done func(*nodev1.Reply, error)) {
	cursors := make([]*nodev1.UserCursor, len(es))
	for i, e := range es {
		cursors[i] = &nodev1.UserCursor{UserId: e.Principal.GetUserId(),
			Cursor: &nodev1.AdvanceCursor{From: e.From, Delivered: e.Delivered, Seen: e.Seen}}
	}
	to := es[0].place()
	q.cluster.AdvanceCursors(q.ctx, to.application, to.conversation, cursors, q.apart(done))
}

// apart has done run on a goroutine of its own: the cluster calls back from where the conversation is
// decided, which has better things to do than to answer hundreds of clients.
func (q *Queue) apart(done func(*nodev1.Reply, error)) func(*nodev1.Reply, error) {
	return func(reply *nodev1.Reply, err error) {
		q.mu.Lock()
		defer q.mu.Unlock()
		if !q.closed { // else nobody hears it
			q.group.Go(func() { done(reply, err) })
		}
	}
}
