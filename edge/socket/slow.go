package socket

import "time"

// LowPart divides QueueBytesMax into as many parts; Offer takes more while no more than one of them waits.
const LowPart = 4

// slow is what a connection remembers while its peer takes less than it is sent.
type slow struct {
	moved time.Time // when the peer last took something, or began to be waited for
	acked uint64    // what its system had confirmed at the last visit, if this one tells
	ready func()    // told when little waits, nil = nobody
}

// slowly makes c.slow if it is not there. Guarded by mu.
func (c *Conn) slowly() *slow {
	if c.slow == nil {
		c.slow = &slow{}
	}
	return c.slow
}

// little says whether so little waits that an offer is taken. Guarded by mu.
func (c *Conn) little() bool { return c.counted() <= c.server.options.QueueBytesMax/LowPart }

// Offer queues complete frames if no more than a quarter of QueueBytesMax waits for the peer, and
// says whether it did. If not, ready is called once when that is so, or never if the connection
// ends or another offer comes that is not taken. No frames only ask. So what need not be sent now
// is sent as fast as the peer takes it.
//
// The caller bounds the size of frames; together with what waits they should stay below
// QueueBytesMax. ready must not block, nor call the connection, which is locked.
func (c *Conn) Offer(frames []byte, ready func()) bool {
	c.mu.Lock()
	wake, taken := false, false
	switch {
	case c.closing != 0 || c.state == shut:
	case !c.little():
		c.slowly().ready = ready
	case len(frames) == 0:
		taken = true
	default:
		wake, taken = c.push(frames), true
	}
	c.mu.Unlock()
	if wake {
		c.server.pump.Add(c)
	}
	return taken
}

// tell lets who made an offer know that little waits. Guarded by mu.
func (c *Conn) tell() {
	if c.slow == nil || c.slow.ready == nil || !c.little() {
		return
	}
	ready := c.slow.ready
	c.slow.ready = nil
	ready()
}

// alive is when the peer last gave a sign of life: it said something, or took something of what
// waits for it. Pings wait too, so one on a thin link may be long in answering. Guarded by mu.
func (c *Conn) alive(heard, now time.Time) time.Time {
	if c.state != draining && now.Sub(heard) < c.server.options.PingInterval {
		return heard
	}
	if acked, waits := outgoing(c.net); c.state == draining || waits {
		if s := c.slowly(); acked != s.acked {
			s.acked, s.moved = acked, now
		}
	}
	if c.slow != nil && c.slow.moved.After(heard) { // also if it has taken all since
		return c.slow.moved
	}
	return heard
}

// stuck says whether the peer has taken nothing for as long as one may be silent: it talks and
// does not listen. Guarded by mu.
func (c *Conn) stuck(now time.Time) bool {
	o := &c.server.options
	return c.closing == 0 && c.state == draining && now.Sub(c.slow.moved) >= o.PingInterval+o.PongWithin
}
