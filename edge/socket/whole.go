package socket

import (
	"context"
	"net"
)

// counted is what stands against the limit: all that waits but a whole answer. Guarded by mu.
func (c *Conn) counted() int { return max(0, c.queued-c.whole) }

// Inherit sends what another carrier of the connection had still to send: complete frames, perhaps
// with a whole answer among them. Like that they stand against no limit; the other carrier had one.
func (c *Conn) Inherit(frames []byte) {
	c.mu.Lock()
	wake := false
	if len(frames) > 0 && c.closing == 0 && c.state != shut {
		c.whole += len(frames)
		wake = c.push(frames)
	}
	c.mu.Unlock()
	if wake {
		c.server.pump.Add(c)
	}
}

// SendWhole sends one complete frame that may be larger than what may wait for the peer
// otherwise: an answer that the peer asked for. It first waits until nothing is queued, or until
// ctx ends, which is its error; so a connection never holds more than one such frame. What is
// sent while it leaves is counted without it. The caller bounds its size. Only one goroutine may
// call it at a time.
func (c *Conn) SendWhole(ctx context.Context, frame []byte) error {
	for {
		c.mu.Lock()
		switch {
		case c.closing != 0 || c.state == shut:
			c.mu.Unlock()
			return net.ErrClosed
		case c.counted()+len(frame) <= c.server.options.QueueBytesMax, c.state == idle:
			if c.state == idle {
				c.whole = len(frame)
			}
			wake := c.push(frame)
			c.mu.Unlock()
			if wake {
				c.server.pump.Add(c)
			}
			return nil
		}
		if c.flushed == nil {
			c.flushed = make(chan struct{})
		}
		flushed := c.flushed
		c.mu.Unlock()
		select {
		case <-flushed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
