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

// Pump is a few goroutines that write for everybody.
//
// There are two lines, each in the order of the calls. A connection is a system call; a pass over a
// room of thousands takes as long as all of theirs. A commit asks for both: first for the pass, then
// for the answer to whoever wrote. So connections go first, as far as passes are not held up for ever,
// and one writer is kept for them.
type Pump struct {
	group sync.WaitGroup

	mu          sync.Mutex
	wake        sync.Cond // on mu: a task was added, or closed
	connections line      // guarded by mu
	passes      line      // guarded by mu
	preferred   int       // guarded by mu; connections that went before the first pass that waits
	passing     int       // guarded by mu; writers in a pass
	passingMax  int
	closed      bool // guarded by mu
}

// preferredMax is how many connections go before a pass that waits: at ten microseconds for a write, less than a
// millisecond.
const preferredMax = 64

// NewPump starts a Pump with n writers.
func NewPump(n int) *Pump {
	p := &Pump{passingMax: max(n-1, 1)}
	p.wake.L = &p.mu
	for range n {
		p.group.Go(p.run)
	}
	return p
}

// Add has t, a connection or something else that is brief, flushed soon. After Close it does nothing.
func (p *Pump) Add(t Task) { p.add(&p.connections, t) }

// AddPass has t, which writes to many connections, flushed soon. After Close it does nothing.
func (p *Pump) AddPass(t Task) { p.add(&p.passes, t) }

func (p *Pump) add(l *line, t Task) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	l.push(t)
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
	pass := false
	for {
		var t Task
		if t, pass = p.next(pass); t == nil {
			return
		}
		t.Flush(&scratch)
		if cap(scratch.bytes) > joinBytesMax {
			scratch.bytes = nil // grown for one large frame
		}
	}
}

// next waits for a task, and says whether it is a pass; nil = closed. passed: the caller's last one was.
func (p *Pump) next(passed bool) (t Task, pass bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if passed {
		p.passing--
	}
	for !p.closed {
		mayPass := p.passes.len() > 0 && p.passing < p.passingMax
		switch {
		case p.connections.len() > 0 && !(mayPass && p.preferred >= preferredMax):
			if mayPass {
				p.preferred++
			}
			return p.connections.pop(), false
		case mayPass:
			p.preferred = 0
			p.passing++
			return p.passes.pop(), true
		}
		p.wake.Wait()
	}
	return nil, false
}

// line is tasks in the order in which they were added.
type line struct {
	tasks []Task // from head on
	head  int
}

func (l *line) len() int { return len(l.tasks) - l.head }

func (l *line) push(t Task) { l.tasks = append(l.tasks, t) }

// pop takes the first task of a line that has one.
func (l *line) pop() Task {
	t := l.tasks[l.head]
	l.tasks[l.head] = nil
	l.head++
	if l.head == len(l.tasks) {
		l.tasks, l.head = l.tasks[:0], 0
	} else if l.head >= 1024 && l.head*2 >= len(l.tasks) {
		n := copy(l.tasks, l.tasks[l.head:])
		clear(l.tasks[n:])
		l.tasks, l.head = l.tasks[:n], 0
	}
	return t
}
