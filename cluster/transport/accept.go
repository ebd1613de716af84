package transport

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// acceptLoop takes connections until the listener is closed.
func (t *TCP) acceptLoop() error {
	for {
		conn, err := t.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			t.o.Logger.Warn("accept failed", "err", err)
			(&peer{transport: t}).pause(t.ctx, 0) // out of descriptors, most likely
			continue
		}
		if !t.enter() {
			_ = conn.Close()
			continue
		}
		if !t.start(func() error { t.serve(conn); return nil }) {
			_ = conn.Close()
		}
	}
}

// enter counts a stream in, unless there are too many.
func (t *TCP) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.streams >= t.o.StreamsMax {
		return false
	}
	t.streams++
	return true
}

// serve reads one stream to its end.
func (t *TCP) serve(conn net.Conn) {
	defer func() {
		t.mu.Lock()
		t.streams--
		t.mu.Unlock()
	}()
	if t.o.TLS != nil {
		conn = tls.Server(conn, t.o.TLS)
	}
	release := context.AfterFunc(t.ctx, func() { _ = conn.Close() })
	defer release()
	defer conn.Close()
	h, err := t.greet(conn)
	if err != nil {
		t.o.Logger.Warn("stream refused", "from", conn.RemoteAddr(), "err", err)
		return
	}
	if h.purpose == purposeSnapshot {
		err = t.serveSnapshot(conn, h.Node)
	} else {
		err = t.serveBatches(conn, h.Node)
	}
	t.o.Logger.Debug("stream ended", "node", h.Node, "err", err)
}

// greet reads the hello and answers it.
func (t *TCP) greet(conn net.Conn) (hello, error) {
	if err := conn.SetDeadline(time.Now().Add(t.o.DialTimeout)); err != nil {
		return hello{}, err
	}
	b, err := readFrame(conn, helloSizeMax)
	if err != nil {
		return hello{}, fmt.Errorf("read hello: %w", err)
	}
	h, err := decodeHello(b)
	if err != nil {
		return hello{}, err
	}
	reason := t.o.Identity.refuses(h)
	if err := writeFrame(conn, []byte(reason)); err != nil {
		return hello{}, fmt.Errorf("answer hello: %w", err)
	}
	if reason != "" {
		return hello{}, errors.New(reason)
	}
	return h, conn.SetDeadline(time.Time{})
}

// serveBatches hands on batches, and says when the node falls silent.
func (t *TCP) serveBatches(conn net.Conn, node string) error {
	t.mu.Lock()
	t.heard[node] = conn
	t.mu.Unlock()
	t.handler.PeerUp(node)
	err := t.readBatches(conn, node)
	t.mu.Lock()
	last := t.heard[node] == conn
	if last {
		delete(t.heard, node)
	}
	t.mu.Unlock()
	if last && t.ctx.Err() == nil {
		t.handler.PeerDown(node)
	}
	return err
}

func (t *TCP) readBatches(conn net.Conn, node string) error {
	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(t.o.SilentAfter)); err != nil {
			return err
		}
		batch, err := readFrame(r, t.o.BatchBytesMax)
		if err != nil {
			return err
		}
		if len(batch) > 0 {
			t.handler.Receive(node, batch)
		}
	}
}

// serveSnapshot takes one snapshot and says whether it arrived.
func (t *TCP) serveSnapshot(conn net.Conn, node string) error {
	paced := &pacedConn{conn, t.o.StallAfter}
	header, err := readFrame(paced, t.o.BatchBytesMax)
	if err != nil {
		return fmt.Errorf("read snapshot header: %w", err)
	}
	body := &chunkReader{r: bufio.NewReaderSize(paced, 64<<10)}
	err = t.handler.ReceiveSnapshot(t.ctx, node, header, body)
	if err == nil {
		_, err = io.Copy(io.Discard, body) // the end must have been sent, too
	}
	verdict := "ok"
	if err != nil {
		verdict = "failed"
	}
	return errors.Join(err, writeFrame(paced, []byte(verdict)))
}
