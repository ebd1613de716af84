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

// errCrowded says that as many streams are open as may be.
var errCrowded = errors.New("too many streams are open")

// acceptLoop takes connections until the listener is closed.
func (t *TCP) acceptLoop() error {
	for {
		conn, err := t.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			t.o.Logger.Warn("accept failed", "err", err)
			t.pause(t.ctx, 0) // out of descriptors, most likely
			continue
		}
		if !t.enter() {
			t.refused(conn.RemoteAddr(), errCrowded)
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
	if errors.Is(err, io.EOF) {
		return // a probe
	}
	if err != nil {
		t.refused(conn.RemoteAddr(), err)
		return
	}
	if h.purpose == purposeSnapshot {
		err = t.serveSnapshot(conn, h.Node)
	} else {
		err = t.serveBatches(conn, h.Node)
	}
	t.o.Logger.Debug("stream ended", "node", h.Node, "err", err)
}

// refused counts a stream that was refused, and tells of it, but not each time that the same machine comes.
func (t *TCP) refused(from net.Addr, err error) {
	t.refusals.Inc()
	host, _, cut := net.SplitHostPort(from.String())
	if cut != nil {
		host = from.String()
	}
	held, say := t.strangers.Says(host, time.Now())
	if !say {
		return
	}
	attributes := []any{"from", from, "err", err}
	if held > 0 {
		attributes = append(attributes, "held_back", held)
	}
	t.o.Logger.Warn("stream refused", attributes...)
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
	refused := t.judge(conn, h)
	if err := writeFrame(conn, answerTo(refused)); err != nil {
		return hello{}, fmt.Errorf("answer hello: %w", err)
	}
	if refused != nil {
		return hello{}, fmt.Errorf("node %q: %w", h.Node, refused)
	}
	return h, conn.SetDeadline(time.Time{})
}

// judge says why a stream is refused, or nil.
func (t *TCP) judge(conn net.Conn, h hello) error {
	if reason := t.o.Identity.refuses(h); reason != "" {
		return errors.New(reason)
	}
	if encrypted, ok := conn.(*tls.Conn); ok {
		state := encrypted.ConnectionState()
		if len(state.VerifiedChains) == 0 {
			return errors.New("no certificate of this cluster's authority")
		}
		if state.PeerCertificates[0].VerifyHostname(h.Node) != nil {
			return errors.New("certificate of another node")
		}
	}
	if t.o.Admit != nil {
		if err := t.o.Admit(h.Identity); err != nil {
			return err
		}
	}
	if !t.supersedes(h.Identity) {
		return errors.New("a later life of this node has been seen")
	}
	return nil
}

// readBatches hands on what comes until the node has said nothing for SilentAfter: a batch may take longer to come.
func (t *TCP) readBatches(conn net.Conn, node string) error {
	r := bufio.NewReaderSize(&pacedConn{conn, t.o.SilentAfter}, 64<<10)
	for {
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
