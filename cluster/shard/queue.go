package shard

import "sync"

// queue passes items from many goroutines to one, which takes all that wait at once. Bounding
// it is its users' affair: each counts what it puts in.
type queue[T any] struct {
	mu     sync.Mutex // guards items and closed
	items  []T
	closed bool

	wake chan struct{} // capacity 1: any number of puts before a take cost one wake
}

// newQueue makes a queue that wakes its taker through wake, which several queues may share.
func newQueue[T any](wake chan struct{}) *queue[T] { return &queue[T]{wake: wake} }

// put adds items; false means that the queue is closed and took nothing.
func (q *queue[T]) put(items ...T) bool {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false
	}
	q.items = append(q.items, items...)
	q.mu.Unlock()
	q.nudge()
	return true
}

// take gives all that wait and takes spare as the room for what comes next. spare must hold
// nothing that is still in use.
func (q *queue[T]) take(spare []T) (items []T, open bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	items, q.items = q.items, spare[:0]
	return items, !q.closed
}

// close lets no more in. What waits can still be taken.
func (q *queue[T]) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.nudge()
}

func (q *queue[T]) nudge() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}
