package transport

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// A snapshot's body travels in chunks, each with its length before it; a chunk of length 0 ends
// it. A stream that breaks off can so be told from one that ended.
const chunkBytes = 64 << 10

// SendSnapshot implements Transport.
func (t *TCP) SendSnapshot(ctx context.Context, node string, header []byte, body func(io.Writer) error) error {
	if t.ctx.Err() != nil {
		return ErrClosed
	}
	conn, err := t.dial(ctx, node, purposeSnapshot)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, c := range []context.Context{ctx, t.ctx} {
		release := context.AfterFunc(c, func() { _ = conn.Close() })
		defer release()
	}
	paced := &pacedConn{conn, t.o.StallAfter}
	if err := writeFrame(paced, header); err != nil {
		return fmt.Errorf("send snapshot to %s: %w", node, err)
	}
	w := bufio.NewWriterSize(chunkWriter{paced}, chunkBytes)
	if err := errors.Join(body(w), w.Flush()); err != nil {
		return fmt.Errorf("send snapshot to %s: %w", node, err)
	}
	if err := writeFrame(paced, nil); err != nil {
		return fmt.Errorf("send snapshot to %s: %w", node, err)
	}
	verdict, err := readFrame(paced, helloSizeMax)
	if err != nil {
		return fmt.Errorf("send snapshot to %s: %w", node, err)
	}
	if string(verdict) != "ok" {
		return fmt.Errorf("node %s did not take the snapshot", node)
	}
	return nil
}

// pacedConn bounds every read and write in time.
type pacedConn struct {
	net.Conn
	limit time.Duration
}

// Read implements io.Reader.
func (c *pacedConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// Write implements io.Writer.
func (c *pacedConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// chunkWriter makes a chunk of every write.
type chunkWriter struct{ w io.Writer }

// Write implements io.Writer.
func (c chunkWriter) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := writeFrame(c.w, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// chunkReader reads a body back; io.EOF only after the chunk that ends it.
type chunkReader struct {
	r    io.Reader
	left uint32
	done bool
}

// Read implements io.Reader.
func (c *chunkReader) Read(b []byte) (int, error) {
	for c.left == 0 {
		if c.done {
			return 0, io.EOF
		}
		var header [4]byte
		if _, err := io.ReadFull(c.r, header[:]); err != nil {
			return 0, fmt.Errorf("snapshot broke off: %w", errors.Join(io.ErrUnexpectedEOF, err))
		}
		c.left = binary.BigEndian.Uint32(header[:])
		c.done = c.left == 0
	}
	n, err := c.r.Read(b[:min(len(b), int(c.left))])
	c.left -= uint32(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
