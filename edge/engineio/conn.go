package engineio

import (
	"context"
	"crypto/rand"
	"sync"
	"sync/atomic"
	"time"

	"parley/edge/socket"
)

// Conn is one connection, whatever carries it. All methods may be called from any goroutine;
// only SendWhole waits.
type Conn struct {
	// Fixed at opening.
	server  *Server
	sid     string
	version int
	handler Handler
	over    chan struct{} // closed with the end of a connection that began by polling

	// appointment is guarded by the agenda.
	appointment appointment

	reading  sync.Mutex // one Message at a time, and Closed after the last
	finished bool       // guarded by reading; Closed was called

	// socket carries the connection; nil = polling. It is set once, under mu.
	socket atomic.Pointer[socket.Conn]

	mu        sync.Mutex
	queue     [][]byte      // guarded by mu; packets for the next poll
	queued    int           // guarded by mu; bytes in queue that count against the limit
	ready     func()        // guarded by mu; told when little waits, nil = nobody
	whole     chan struct{} // guarded by mu; a whole answer is queued, closed when it is fetched
	news      chan struct{} // guarded by mu; the poll that waits, closed to release it; nil = none
	upgrading int           // guarded by mu; probes that were answered: polls are not held meanwhile
	closing   bool          // guarded by mu; nothing more is queued
	closeBy   time.Time     // guarded by mu
	heard     time.Time     // guarded by mu; the poller's last request
	pingAt    time.Time     // guarded by mu; version 4's next ping
	ended     bool          // guarded by mu
}

func (s *Server) newConn(version int, now time.Time) *Conn {
	c := &Conn{server: s, sid: rand.Text(), version: version, over: make(chan struct{}), heard: now}
	c.appointment.index = -1
	if version >= 4 {
		c.pingAt = now.Add(s.options.PingInterval)
	}
	return c
}

// Version is the Engine.IO protocol version, 3 or 4.
func (c *Conn) Version() int { return c.version }

// Send queues messages, in the form of AppendMessage, any number of them. frames may be shared
// and must not be changed afterwards.
func (c *Conn) Send(frames []byte) {
	if len(frames) == 0 {
		return
	}
	if ws := c.socket.Load(); ws != nil {
		ws.Send(frames)
		return
	}
	c.sendPolling(frames)
}

// SendNow is Send for a caller that may spend a system call.
func (c *Conn) SendNow(frames []byte) {
	if len(frames) == 0 {
		return
	}
	if ws := c.socket.Load(); ws != nil {
		ws.SendNow(frames)
		return
	}
	c.sendPolling(frames)
}

// Offer queues messages if little waits for the peer, and says whether it did. If not, ready is
// called once when that is so, or never if the connection ends or another offer comes that is not
// taken. No frames only ask. ready must not block, nor call the connection.
func (c *Conn) Offer(frames []byte, ready func()) bool {
	if ws := c.socket.Load(); ws != nil {
		return ws.Offer(frames, ready)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if ws := c.socket.Load(); ws != nil {
		return ws.Offer(frames, ready)
	}
	switch {
	case c.closing:
		return false
	case c.queued > c.server.options.QueueBytesMax/socket.LowPart:
		c.ready = ready
		return false
	case len(frames) > 0:
		c.push(frames, len(frames))
	}
	return true
}

// SendWhole sends one answer that may be larger than what may wait for the peer otherwise. It
// first waits until an earlier such answer has left, or until ctx ends, which is its error: so a
// connection never holds more than one. The caller bounds the size.
func (c *Conn) SendWhole(ctx context.Context, frames []byte) error {
	for {
		if ws := c.socket.Load(); ws != nil {
			return ws.SendWhole(ctx, frames)
		}
		c.mu.Lock()
		before := c.whole
		if before == nil && c.socket.Load() == nil {
			if !c.closing {
				c.whole = make(chan struct{})
				c.push(frames, 0)
			}
			c.mu.Unlock()
			return nil
		}
		c.mu.Unlock()
		if before == nil {
			continue // upgraded meanwhile
		}
		select {
		case <-before:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close ends the connection after what is queued.
func (c *Conn) Close(code socket.CloseCode) {
	if ws := c.socket.Load(); ws != nil {
		ws.Close(code)
		return
	}
	c.mu.Lock()
	if ws := c.socket.Load(); ws != nil {
		c.mu.Unlock()
		ws.Close(code)
		return
	}
	c.startClose(code)
	by := c.closeBy
	c.mu.Unlock()
	c.server.agenda.hasten(c, by)
}

// Wake has the handler's Due called no later than at.
func (c *Conn) Wake(at time.Time) { c.server.agenda.hasten(c, at) }

// sendPolling queues for the next poll, or for the socket if that came meanwhile.
func (c *Conn) sendPolling(frames []byte) {
	c.mu.Lock()
	if ws := c.socket.Load(); ws != nil {
		c.mu.Unlock()
		ws.Send(frames)
		return
	}
	var by time.Time
	switch {
	case c.closing:
	case c.queued+len(frames) > c.server.options.QueueBytesMax:
		// A poller that does not fetch: what it has not got it finds again when it comes back.
		c.server.metrics.dropped.Add(float64(c.queued))
		c.drop()
		c.startClose(socket.SlowConsumer)
		by = c.closeBy
	default:
		c.push(frames, len(frames))
	}
	c.mu.Unlock()
	c.server.agenda.hasten(c, by)
}

// push queues the packets of frames and releases the poll that waits. Guarded by mu.
func (c *Conn) push(frames []byte, counted int) {
	if err := unframe(frames, func(packet []byte) { c.queue = append(c.queue, packet) }); err != nil {
		c.server.options.Logger.Error("a message was not sent", "error", err)
		return
	}
	c.queued += counted
	c.release()
}

// release lets the poll that waits go. Guarded by mu.
func (c *Conn) release() {
	if c.news != nil {
		close(c.news)
		c.news = nil
	}
}

// take empties the queue. Guarded by mu.
func (c *Conn) take() [][]byte {
	packets := c.queue
	c.drop()
	return packets
}

// drop forgets the queue. Guarded by mu.
func (c *Conn) drop() {
	c.queue, c.queued = nil, 0
	if c.whole != nil {
		close(c.whole)
		c.whole = nil
	}
	if ready := c.ready; ready != nil {
		c.ready = nil
		ready()
	}
}

// startClose queues the close packet. Guarded by mu.
func (c *Conn) startClose(code socket.CloseCode) {
	if c.closing || c.ended {
		return
	}
	c.closing = true
	c.closeBy = time.Now().Add(c.server.options.CloseWithin)
	c.queue = append(c.queue, []byte{typeClose})
	c.release()
	c.server.metrics.closed.WithLabelValues(code.String()).Inc()
}

// end is the end of a polling connection. why labels it, unless it was being closed.
func (c *Conn) end(why string) {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.ended = true
	if !c.closing {
		c.closing = true
		c.server.metrics.closed.WithLabelValues(why).Inc()
	}
	c.drop()
	c.release()
	c.mu.Unlock()
	c.server.agenda.remove(c)
	c.server.leave(c)
	// A Message may be at work, so the last call waits for it apart.
	c.server.spawn(func() {
		c.finish()
		close(c.over)
	})
}

// finish makes the handler's last call.
func (c *Conn) finish() {
	c.reading.Lock()
	defer c.reading.Unlock()
	c.finished = true
	c.handler.Closed()
}

// message makes one of its calls, unless the last one was made: a POST may still be read then.
func (c *Conn) message(content []byte) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if !c.finished {
		c.handler.Message(content)
	}
}

// visit is the clock's: it pings, ends a poller that is silent, and asks the handler.
func (c *Conn) visit(now time.Time) time.Time {
	o := &c.server.options
	c.mu.Lock()
	polling := c.socket.Load() == nil
	silent := polling && now.Sub(c.heard) >= o.PingInterval+o.PingTimeout
	late := polling && c.closing && !now.Before(c.closeBy)
	ping := c.version >= 4 && !c.closing && !now.Before(c.pingAt)
	if ping {
		c.pingAt = now.Add(o.PingInterval)
	}
	var next time.Time
	if c.version >= 4 {
		next = c.pingAt
	}
	if polling {
		next = Earlier(next, c.heard.Add(o.PingInterval+o.PingTimeout))
	}
	if c.closing {
		next = Earlier(next, c.closeBy)
	}
	c.mu.Unlock()
	if silent || late {
		c.end("silent")
		return time.Time{}
	}
	if ping {
		c.Send(pingFrame)
	}
	return Earlier(next, c.handler.Due(now))
}

var pingFrame = frame(string(typePing))

// Earlier is the earlier of two times, of which the zero time means never, as in Handler.Due.
func Earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// packet handles one packet of the peer. false = it is not one of the protocol.
func (c *Conn) packet(p []byte) bool {
	if len(p) == 0 {
		return false
	}
	switch p[0] {
	case typeMessage:
		c.message(p[1:])
	case typePing:
		const echoMax = 64
		if len(p) <= echoMax {
			c.Send(frame(string(typePong) + string(p[1:])))
		}
	case typeClose:
		c.Close(socket.Bye)
	case typePong, typeUpgrade, typeNoop:
	default:
		return false
	}
	return true
}
