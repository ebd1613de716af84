package cluster

import (
	"container/heap"
	"time"
)

// clock is virtual time: what happens, happens in the order of its time, and then of its planning.
type clock struct {
	now     time.Duration
	planned uint64
	events  eventHeap
}

type event struct {
	at    time.Duration
	order uint64
	do    func()
}

type eventHeap []event

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(event)) }
func (h *eventHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = event{}
	*h = old[:len(old)-1]
	return last
}

// after plans do for later.
func (c *clock) after(d time.Duration, do func()) {
	c.planned++
	heap.Push(&c.events, event{c.now + max(d, 0), c.planned, do})
}

// until lets everything happen up to a time.
func (c *clock) until(t time.Duration) {
	for len(c.events) > 0 && c.events[0].at <= t {
		e := heap.Pop(&c.events).(event)
		c.now = e.at
		e.do()
	}
	c.now = t
}
