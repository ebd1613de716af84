package engineio

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// agenda knows when each connection next needs attention: one goroutine and one timer for all.
// A connection that waits for nothing is not in it.
type agenda struct {
	wake chan struct{} // capacity 1: any number of changes before the clock looks cost one look

	mu  sync.Mutex
	due dueHeap // guarded by mu
}

// appointment is a connection's place in the agenda, guarded by agenda.mu.
type appointment struct {
	at    time.Time
	index int  // in the heap, -1 = not there
	ready bool // the connection has its handler: it may be visited
	gone  bool // for ever
}

func newAgenda() agenda { return agenda{wake: make(chan struct{}, 1)} }

// hasten has c visited no later than at; the zero time changes nothing.
func (a *agenda) hasten(c *Conn, at time.Time) {
	if at.IsZero() {
		return
	}
	a.mu.Lock()
	p := &c.appointment
	switch {
	case p.gone:
	case !p.ready:
		p.at = Earlier(p.at, at)
	case p.index < 0:
		p.at = at
		heap.Push(&a.due, c)
	case at.Before(p.at):
		p.at = at
		heap.Fix(&a.due, p.index)
	}
	first := p.index == 0
	a.mu.Unlock()
	if first {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// begin lets c be visited, no later than at and than it was asked for before.
func (a *agenda) begin(c *Conn, at time.Time) {
	a.mu.Lock()
	c.appointment.ready = true
	at = Earlier(c.appointment.at, at)
	a.mu.Unlock()
	a.hasten(c, at)
}

// remove takes c out for ever.
func (a *agenda) remove(c *Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c.appointment.gone = true
	if c.appointment.index >= 0 {
		heap.Remove(&a.due, c.appointment.index)
	}
}

// run visits the connections whose time has come, until ctx ends.
func (a *agenda) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(a.visit(time.Now()))
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		case <-timer.C:
		}
	}
}

// visit visits who is due, and says how long nobody else will be.
func (a *agenda) visit(now time.Time) time.Duration {
	for {
		c, wait := a.next(now)
		if c == nil {
			return wait
		}
		a.hasten(c, c.visit(now))
	}
}

// next takes out the first that is due.
func (a *agenda) next(now time.Time) (*Conn, time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.due) == 0 {
		return nil, time.Hour
	}
	if wait := a.due[0].appointment.at.Sub(now); wait > 0 {
		return nil, wait
	}
	return heap.Pop(&a.due).(*Conn), 0
}

// dueHeap implements heap.Interface: the earliest first.
type dueHeap []*Conn

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].appointment.at.Before(h[j].appointment.at) }

func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].appointment.index, h[j].appointment.index = i, j
}

// Push implements heap.Interface.
func (h *dueHeap) Push(c any) {
	c.(*Conn).appointment.index = len(*h)
	*h = append(*h, c.(*Conn))
}

// Pop implements heap.Interface.
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	c.appointment.index = -1
	return c
}
