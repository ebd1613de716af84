package socket

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"
)

// joinBytesMax bounds what is joined for one write; more leaves in the next.
const joinBytesMax = 256 << 10

// writing is where a connection's write side stands.
//
//	idle ──bytes queued──▶ scheduled ──pump──▶ idle
//	idle, scheduled ──window full──▶ draining ──queue empty──▶ idle
//	any ──shut──▶ shut
//
// Only the pump writes in scheduled, only the drain goroutine in draining. A room's pass may
// write in idle, because nothing waits then that it could overtake.
type writing uint8

const (
	idle writing = iota
	scheduled
	draining
	shut
)

// Conn is one connection. Send, SendNow, Close and SetDeadline may be called from any goroutine
// and never block.
type Conn struct {
	// Fixed at Accept.
	server  *Server
	net     net.Conn
	raw     syscall.RawConn // nil: not a plain socket, every write is a drain's
	ws      *websocket.Conn
	handler Handler

	// Written by the reader: when the peer was last heard, in nanoseconds since the wheel began.
	heard atomic.Int64

	spoke spoke // guarded by the wheel

	mu           sync.Mutex
	queue        [][]byte      // guarded by mu; frames or parts of them, in order
	queued       int           // guarded by mu; bytes in queue and in the drain's hands
	whole        int           // guarded by mu; how many of them SendWhole brought
	state        writing       // guarded by mu
	closing      CloseCode     // guarded by mu; 0 = open. Set: the close frame is queued, nothing follows it
	closeBy      time.Time     // guarded by mu; when closing ends the hard way
	pinged       bool          // guarded by mu; a ping since the peer was last heard
	deadline     time.Time     // guarded by mu
	deadlineCode CloseCode     // guarded by mu
	flushed      chan struct{} // guarded by mu; closed when nothing is queued any more, nil = nobody waits
	slow         *slow         // guarded by mu; nil until the peer is slow for the first time
}

// Subprotocol is the one agreed in the handshake, empty when there is none in common.
func (c *Conn) Subprotocol() string { return c.ws.Subprotocol() }

// SetDeadline closes the connection with code within a second after t, unless it is moved
// before. The zero time removes it. It replaces the deadline of the hello.
func (c *Conn) SetDeadline(t time.Time, code CloseCode) {
	c.mu.Lock()
	c.deadline, c.deadlineCode = t, code
	c.mu.Unlock()
	if !t.IsZero() {
		c.server.wheel.hasten(c, t)
	}
}

// Send queues complete frames. Frames leave in the order of the calls; all that wait leave
// together. frame may be shared and must not be changed afterwards.
func (c *Conn) Send(frame []byte) {
	c.mu.Lock()
	wake := c.enqueue(frame)
	c.mu.Unlock()
	if wake {
		c.server.pump.Add(c)
	}
}

// SendNow is Send for a caller that may spend a system call: when nothing waits, frame is
// written at once, uncopied.
func (c *Conn) SendNow(frame []byte) {
	c.mu.Lock()
	if c.state != idle || c.raw == nil || c.closing != 0 {
		wake := c.enqueue(frame)
		c.mu.Unlock()
		if wake {
			c.server.pump.Add(c)
		}
		return
	}
	// The write does not block, so holding mu over it costs its own time and keeps the order.
	n, err := c.tryWrite(frame)
	if err == nil && n < len(frame) {
		c.queue = append(c.queue, frame[n:])
		c.queued += len(frame) - n
		c.drainSoon()
	}
	c.mu.Unlock()
	if err != nil {
		c.shut()
	}
}

// Close starts the close handshake after what is queued. The first code wins.
func (c *Conn) Close(code CloseCode) {
	c.mu.Lock()
	wake := c.startClose(code)
	by := c.closeBy
	c.mu.Unlock()
	c.server.wheel.hasten(c, by)
	if wake {
		c.server.pump.Add(c)
	}
}

// enqueue says whether the pump must be told. Guarded by mu.
func (c *Conn) enqueue(frame []byte) (wake bool) {
	if c.closing != 0 || c.state == shut {
		return false
	}
	if c.counted()+len(frame) > c.server.options.QueueBytesMax {
		return c.overflow()
	}
	return c.push(frame)
}

// push appends whatever the limit. Guarded by mu.
func (c *Conn) push(frame []byte) (wake bool) {
	c.queue = append(c.queue, frame)
	c.queued += len(frame)
	if c.state != idle {
		return false
	}
	c.state = scheduled
	return true
}

// overflow gives up a peer that reads too slowly: waiting here would let one slow phone hold
// back a whole conversation. What it has not got it finds again when it resumes. Guarded by mu.
func (c *Conn) overflow() (wake bool) {
	waiting := 0
	for _, frame := range c.queue {
		waiting += len(frame)
	}
	// In idle and scheduled the queue is whole frames; in draining the begun frame is in the
	// drain's hands. So the close frame never lands inside another frame.
	c.server.metrics.dropped.WithLabelValues(SlowConsumer.String()).Add(float64(waiting))
	c.queue = nil
	c.queued -= waiting
	wake = c.startClose(SlowConsumer)
	c.server.wheel.hasten(c, c.closeBy)
	return wake
}

// startClose queues the close frame. Guarded by mu.
func (c *Conn) startClose(code CloseCode) (wake bool) {
	if c.closing != 0 || c.state == shut {
		return false
	}
	wake = c.push(closeFrame(code))
	c.closing = code
	c.closeBy = time.Now().Add(c.server.options.CloseWithin)
	c.server.metrics.closed.WithLabelValues(code.String()).Inc()
	return wake
}

// Flush implements Task: the pump's turn.
func (c *Conn) Flush(scratch *Scratch) {
	c.mu.Lock()
	if c.state != scheduled {
		c.mu.Unlock()
		return
	}
	if c.raw == nil {
		c.drainSoon()
		c.mu.Unlock()
		return
	}
	var err error
	for err == nil && len(c.queue) > 0 && c.state == scheduled {
		err = c.flushOnce(scratch)
	}
	if c.state == scheduled {
		c.rest(idle)
	}
	c.tell()
	c.mu.Unlock()
	if err != nil {
		c.shut()
	}
}

// flushOnce writes the front of the queue in one system call. Guarded by mu.
func (c *Conn) flushOnce(scratch *Scratch) error {
	batch := c.queue[0]
	taken := 1
	if len(c.queue) > 1 {
		scratch.bytes = scratch.bytes[:0]
		for taken = 0; taken < len(c.queue) && (taken == 0 || len(scratch.bytes)+len(c.queue[taken]) <= joinBytesMax); taken++ {
			scratch.bytes = append(scratch.bytes, c.queue[taken]...)
		}
		batch = scratch.bytes
	}
	n, err := c.tryWrite(batch)
	if err != nil {
		return err
	}
	c.queued -= n
	c.consume(n)
	if n < len(batch) {
		c.drainSoon()
	}
	return nil
}

// consume removes n written bytes from the front of the queue. Guarded by mu.
func (c *Conn) consume(n int) {
	for len(c.queue) > 0 && n >= len(c.queue[0]) {
		n -= len(c.queue[0])
		c.queue[0] = nil
		c.queue = c.queue[1:]
	}
	if n > 0 {
		c.queue[0] = c.queue[0][n:]
	}
}

// tryWrite makes one write(2) and takes a full window as zero bytes. Guarded by mu.
func (c *Conn) tryWrite(b []byte) (n int, err error) {
	outer := c.raw.Write(func(fd uintptr) bool {
		n, err = unix.Write(int(fd), b)
		return true
	})
	if outer != nil {
		return 0, outer
	}
	if n < 0 {
		n = 0
	}
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		err = nil
	}
	return n, err
}

// drainSoon starts the goroutine that waits for the peer's window. The begun frame passes into
// its hands. Guarded by mu.
func (c *Conn) drainSoon() {
	c.state = draining
	c.slowly().moved = time.Now()
	c.server.metrics.blocked.Inc()
	begun := c.take()
	c.server.group.Go(func() { c.drain(begun) })
}

// take joins the front of the queue for a blocking write. Guarded by mu.
func (c *Conn) take() []byte {
	if len(c.queue) == 0 {
		return nil
	}
	batch := c.queue[0]
	taken := 1
	if len(c.queue) > 1 {
		batch = append([]byte(nil), batch...)
		for ; taken < len(c.queue) && len(batch)+len(c.queue[taken]) <= joinBytesMax; taken++ {
			batch = append(batch, c.queue[taken]...)
		}
	}
	clear(c.queue[:taken])
	c.queue = c.queue[taken:]
	return batch
}

// drain writes, waiting for the peer, until nothing is queued.
func (c *Conn) drain(batch []byte) {
	for len(batch) > 0 {
		_, err := c.net.Write(batch)
		if err != nil {
			c.shut()
			return
		}
		c.mu.Lock()
		c.queued -= len(batch)
		batch = c.take()
		if c.state == draining {
			c.slow.moved = time.Now()
			if len(batch) == 0 {
				c.rest(idle)
			}
		}
		c.tell()
		c.mu.Unlock()
	}
}

// rest takes the write side to a state in which nothing waits. Guarded by mu.
func (c *Conn) rest(s writing) {
	c.state = s
	c.queue = nil
	c.whole = 0
	if s == shut {
		c.slow = nil
	}
	if c.flushed != nil {
		close(c.flushed)
		c.flushed = nil
	}
}

// shut ends the connection without further words.
func (c *Conn) shut() {
	c.mu.Lock()
	again := c.state == shut
	c.rest(shut)
	c.queued = 0
	if !again && c.closing == 0 {
		c.closing = 1006 // abnormal: never on the wire
		c.server.metrics.closed.WithLabelValues("lost").Inc()
	}
	c.mu.Unlock()
	if !again {
		_ = c.net.Close() // nothing can be done about a socket that will not close
	}
}

// hear notes that the peer was heard. Only what elapses counts: who sets the clock makes nobody silent.
func (c *Conn) hear(now time.Time) { c.heard.Store(int64(now.Sub(c.server.wheel.began))) }

// lastHeard is when the peer was last heard.
func (c *Conn) lastHeard() time.Time { return c.server.wheel.began.Add(time.Duration(c.heard.Load())) }

// check is the wheel's visit: it closes, pings or lets be, and says when to come again.
func (c *Conn) check(now time.Time) {
	o := &c.server.options
	c.mu.Lock()
	heard := c.alive(c.lastHeard(), now)
	silence := now.Sub(heard)
	if silence < o.PingInterval+o.PongWithin && c.stuck(now) {
		c.overflow() // while it drains nobody has to be woken
	}
	closing, closeBy := c.closing, c.closeBy
	deadline, code := c.deadline, c.deadlineCode
	if silence < o.PingInterval {
		c.pinged = false
	}
	ping := closing == 0 && silence >= o.PingInterval && !c.pinged
	c.pinged = c.pinged || ping
	c.mu.Unlock()

	next := heard.Add(o.PingInterval)
	switch {
	case closing != 0 && !now.Before(closeBy):
		c.shut()
		return
	case closing != 0:
		next = closeBy
	case !deadline.IsZero() && !now.Before(deadline):
		c.Close(code)
		next = now.Add(o.CloseWithin)
	case silence >= o.PingInterval+o.PongWithin:
		c.Close(Silent)
		next = now.Add(o.CloseWithin)
	case silence >= o.PingInterval:
		next = heard.Add(o.PingInterval + o.PongWithin)
	}
	if ping {
		c.Send(pingFrame)
	}
	if closing == 0 && !deadline.IsZero() && deadline.After(now) && deadline.Before(next) {
		next = deadline
	}
	c.server.wheel.again(c, next)
}
