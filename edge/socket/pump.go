package socket

import "sync"

// Task is something with bytes to write: a connection, or a room of them. A Task stands at most
// once in the Pump; it is its own business to remember whether it does.
type Task interface {
	// Flush writes what waits, without blocking. Scratch is the writer's own.
	Flush(scratch *Scratch)
}

// Scratch is a writer's buffer for joining frames. It lives as long as the writer.
type Scratch struct{ bytes []byte }

// Pump is a few goroutines that write for everybody, in the order of the calls of Add.
type Pump struct {
	group sync.WaitGroup

	mu     sync.Mutex
	wake   sync.Cond // on mu: a task was added, or closed
	tasks  []Task    // guarded by mu; from head on
	head   int       // guarded by mu
	closed bool      // guarded by mu
}

// NewPump starts a Pump with n writers.
func NewPump(n int) *Pump {
	p := &Pump{}
	p.wake.L = &p.mu
	for range n {
		p.group.Go(p.run)
	}
	return p
}

// Add has t flushed soon. After Close it does nothing.
func (p *Pump) Add(t Task) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.tasks = append(p.tasks, t)
	p.mu.Unlock()
	p.wake.Signal()
}

// Close stops the writers and waits for them. Tasks that still wait are not flushed.
func (p *Pump) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.wake.Broadcast()
	p.group.Wait()
}

// run is one writer.
func (p *Pump) run() {
	var scratch Scratch
	for {
		t := p.next()
		if t == nil {
			return
		}
		t.Flush(&scratch)
		if cap(scratch.bytes) > joinBytesMax {
			scratch.bytes = nil // grown for one large frame
		}
	}
}

// next waits for a task; nil = closed.
func (p *Pump) next() Task {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.head == len(p.tasks) && !p.closed {
		p.wake.Wait()
	}
	if p.closed {
		return nil
	}
	t := p.tasks[p.head]
	p.tasks[p.head] = nil
	p.head++
	if p.head == len(p.tasks) {
		p.tasks, p.head = p.tasks[:0], 0
	} else if p.head >= 1024 && p.head*2 >= len(p.tasks) {
		n := copy(p.tasks, p.tasks[p.head:])
		clear(p.tasks[n:])
		p.tasks, p.head = p.tasks[:n], 0
	}
	return t
}
