package socket

import (
	"sync"
	"time"
)

// wheelTick is the resolution of every deadline here: closing at most this much late.
const wheelTick = time.Second

// wheelSlots is how far ahead the wheel sees; what is due later is looked at early and put back.
const wheelSlots = 64

// wheel holds every open connection in the slot of the second in which it needs attention: one
// goroutine and no timer for all of them. It is also the list of all connections.
type wheel struct {
	began time.Time // fixed by start: what elapsed since then is its clock, which nobody sets

	mu    sync.Mutex
	now   int64             // guarded by mu; seconds since began, every slot up to it has been visited
	slots [wheelSlots]*Conn // guarded by mu; heads of doubly linked lists
	size  int               // guarded by mu
}

// spoke is a connection's place in the wheel, guarded by wheel.mu.
type spoke struct {
	prev, next *Conn
	due        int64 // seconds since the wheel began; 0 = not in the wheel
}

// start sets the clock.
func (w *wheel) start(now time.Time) { w.began = now }

// seconds is when t is by the wheel's clock.
func (w *wheel) seconds(t time.Time) int64 { return int64(t.Sub(w.began) / time.Second) }

// add enters a connection.
func (w *wheel) add(c *Conn, due time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.size++
	w.insert(c, w.seconds(due)+1)
}

// hasten has c looked at no later than due; not if it has left the wheel.
func (w *wheel) hasten(c *Conn, due time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if at := w.seconds(due) + 1; c.spoke.due != 0 && at < c.spoke.due {
		w.unlink(c)
		w.insert(c, at)
	}
}

// again puts c back after a visit; not if it has left the wheel.
func (w *wheel) again(c *Conn, due time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.spoke.due != 0 {
		w.unlink(c)
		w.insert(c, w.seconds(due)+1)
	}
}

// remove takes c out.
func (w *wheel) remove(c *Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.spoke.due != 0 {
		w.unlink(c)
		c.spoke = spoke{}
		w.size--
	}
}

// len is the number of connections.
func (w *wheel) len() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.size
}

// all gives every connection.
func (w *wheel) all() []*Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := make([]*Conn, 0, w.size)
	for _, c := range w.slots {
		for ; c != nil; c = c.spoke.next {
			list = append(list, c)
		}
	}
	return list
}

// advance gives the connections in the slots that time has passed. They stay in the wheel, one
// turn ahead, until again puts them where they belong.
func (w *wheel) advance(now time.Time) []*Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	var due []*Conn
	for passed := 0; w.now < w.seconds(now) && passed < wheelSlots; passed++ {
		w.now++
		for c := w.slots[w.now%wheelSlots]; c != nil; c = c.spoke.next {
			due = append(due, c)
		}
	}
	w.now = max(w.now, w.seconds(now))
	return due
}

// insert links c into the slot of due, clamped to what the wheel sees. Guarded by mu.
func (w *wheel) insert(c *Conn, due int64) {
	due = min(max(due, w.now+1), w.now+wheelSlots-1)
	head := &w.slots[due%wheelSlots]
	c.spoke = spoke{next: *head, due: due}
	if *head != nil {
		(*head).spoke.prev = c
	}
	*head = c
}

// unlink takes c out of its slot. Guarded by mu.
func (w *wheel) unlink(c *Conn) {
	if c.spoke.prev != nil {
		c.spoke.prev.spoke.next = c.spoke.next
	} else {
		w.slots[c.spoke.due%wheelSlots] = c.spoke.next
	}
	if c.spoke.next != nil {
		c.spoke.next.spoke.prev = c.spoke.prev
	}
}
