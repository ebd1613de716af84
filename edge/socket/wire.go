package socket

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

// readBufferBytes is the read buffer of a connection. Frame headers and short commands fit;
// longer payloads are read past it, straight into the message's buffer.
const readBufferBytes = 512

// writeBufferBytes holds one control frame, all that coder/websocket ever writes here.
const writeBufferBytes = 136

// hijacker hands coder/websocket our connection in place of the HTTP server's, and small
// buffers in place of the server's 8 KiB.
type hijacker struct {
	http.ResponseWriter
	conn *Conn
}

// Hijack implements http.Hijacker.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	under, buffered, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("hijack: %w", err)
	}
	h.conn.net = under
	reader, err := h.conn.adopt(buffered.Reader)
	if err != nil {
		_ = under.Close()
		return nil, nil, fmt.Errorf("hijack: %w", err)
	}
	w := (*wire)(h.conn)
	return w, bufio.NewReadWriter(reader, bufio.NewWriterSize(w, writeBufferBytes)), nil
}

// adopt takes the connection over from the HTTP server, and gives what reads it from now on: first what
// the server has read already.
func (c *Conn) adopt(server *bufio.Reader) (_ *bufio.Reader, err error) {
	if tcp, ok := c.net.(*net.TCPConn); ok {
		if c.raw, err = tcp.SyscallConn(); err != nil {
			return nil, err
		}
	}
	early, err := io.ReadAll(io.LimitReader(server, int64(server.Buffered())))
	if err != nil {
		return nil, err
	}
	w := (*wire)(c)
	reader := bufio.NewReaderSize(w, max(readBufferBytes, len(early)))
	if len(early) > 0 {
		reader.Reset(&prefixed{early: early, rest: w})
		if _, err := reader.Peek(len(early)); err != nil {
			return nil, err
		}
	}
	return reader, nil
}

// prefixed reads what the HTTP server had read too much, then the connection.
type prefixed struct {
	early []byte
	rest  io.Reader
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.early) == 0 {
		return p.rest.Read(b)
	}
	n := copy(b, p.early)
	p.early = p.early[n:]
	return n, nil
}

// wire is a Conn as coder/websocket sees it: reads are timed, and its control frames go through
// the queue, so that they never land inside a data frame.
type wire Conn

// Read implements net.Conn.
func (w *wire) Read(b []byte) (int, error) {
	n, err := w.net.Read(b)
	if n > 0 {
		(*Conn)(w).hear(time.Now())
	}
	return n, err
}

// Write implements net.Conn for control frames.
func (w *wire) Write(b []byte) (int, error) {
	c := (*Conn)(w)
	c.mu.Lock()
	gone := c.state == shut
	c.mu.Unlock()
	if gone {
		return 0, net.ErrClosed
	}
	c.SendNow(append([]byte(nil), b...))
	return len(b), nil
}

// Close implements net.Conn. It only ends reading: what was queued, a close frame perhaps, is
// still written, and the reader closes the socket after that.
func (w *wire) Close() error { return w.net.SetReadDeadline(time.Unix(1, 0)) }

// LocalAddr implements net.Conn.
func (w *wire) LocalAddr() net.Addr { return w.net.LocalAddr() }

// RemoteAddr implements net.Conn.
func (w *wire) RemoteAddr() net.Addr { return w.net.RemoteAddr() }

// SetDeadline implements net.Conn.
func (w *wire) SetDeadline(t time.Time) error { return w.net.SetDeadline(t) }

// SetReadDeadline implements net.Conn.
func (w *wire) SetReadDeadline(t time.Time) error { return w.net.SetReadDeadline(t) }

// SetWriteDeadline implements net.Conn.
func (w *wire) SetWriteDeadline(t time.Time) error { return w.net.SetWriteDeadline(t) }

// read is the connection's reader goroutine, from the handshake to the end.
func (c *Conn) read() {
	defer c.finish()
	// A context that can end would cost a watch per read; shut ends reading by closing the socket.
	ctx := context.WithoutCancel(c.server.ctx)
	for {
		kind, r, err := c.ws.Reader(ctx)
		if err != nil {
			c.linger(err)
			return
		}
		b := buffers.Get().(*buffer)
		if err := b.fill(r); err != nil {
			b.free()
			c.linger(err)
			return
		}
		c.server.metrics.messages.Inc()
		if c.isOpen() {
			c.handler.Message(kind == websocket.MessageBinary, b.bytes)
		}
		b.free()
	}
}

// isOpen is false once either side has begun to close; messages are then read and discarded.
func (c *Conn) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing == 0
}

// linger lets a close frame reach a peer that is still sending: closing a socket with unread
// bytes would reset it and destroy the frame on its way.
func (c *Conn) linger(cause error) {
	if errors.Is(cause, io.EOF) || errors.Is(cause, net.ErrClosed) || errors.Is(cause, syscall.ECONNRESET) {
		return
	}
	c.mu.Lock()
	if c.closing == 0 {
		c.closing = 1002 // coder/websocket has answered: the peer's own code, or 1002, or 1009
		c.closeBy = time.Now().Add(c.server.options.CloseWithin)
		c.server.metrics.closed.WithLabelValues(ending(cause)).Inc()
	}
	c.mu.Unlock()
	c.awaitFlush()
	half, ok := c.net.(*net.TCPConn)
	if !ok || half.CloseWrite() != nil {
		return
	}
	deadline := time.Now().Add(time.Second)
	if half.SetReadDeadline(deadline) != nil {
		return
	}
	const rest = 256 << 10 // more than that from a peer in error is not waited for
	_, _ = io.Copy(io.Discard, io.LimitReader(half, rest))
}

// ending labels the end of a connection that the server did not close.
func ending(cause error) string {
	if websocket.CloseStatus(cause) >= 0 {
		return "peer"
	}
	return "refused_frame"
}

// awaitFlush waits until what is queued is written, but no longer than CloseWithin.
func (c *Conn) awaitFlush() {
	c.mu.Lock()
	if c.state == idle || c.state == shut {
		c.mu.Unlock()
		return
	}
	if c.flushed == nil {
		c.flushed = make(chan struct{})
	}
	flushed := c.flushed
	c.mu.Unlock()
	if c.net.SetWriteDeadline(time.Now().Add(c.server.options.CloseWithin)) == nil {
		<-flushed
	}
}

// finish leaves the wheel and tells the handler.
func (c *Conn) finish() {
	c.shut()
	_ = c.ws.CloseNow() // frees what coder/websocket holds; the socket is closed
	c.server.wheel.remove(c)
	c.server.metrics.open.Dec()
	c.handler.Closed()
}
