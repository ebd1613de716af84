// Package load drives a server with real WebSocket clients in open loop: what is sent is decided
// by the clock, never by the server's answers, and every latency counts from the instant at which
// the message was due. It is the engine of `parley bench` and of the figures in docs/benchmarks.md.
package load

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// Conn is the cheapest honest WebSocket client: it masks with the zero key, reads many frames
// with one system call and looks at no byte it does not need. It shares the machine with the
// server it measures.
type Conn struct {
	net.Conn
	early []byte // read with the handshake's answer

	mu    sync.Mutex
	frame []byte // guarded by mu; scratch
}

// Dial opens a WebSocket at a ws:// address, within ctx's deadline.
func Dial(ctx context.Context, address, subprotocol string) (*Conn, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	r := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"MDEyMzQ1Njc4OWFiY2RlZg=="},
	}}
	if subprotocol != "" {
		r.Header.Set("Sec-WebSocket-Protocol", subprotocol)
	}
	if by, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(by); err != nil {
			return nil, errors.Join(fmt.Errorf("handshake: %w", err), c.Close())
		}
	}
	if err := r.Write(c); err != nil {
		return nil, errors.Join(fmt.Errorf("handshake: %w", err), c.Close())
	}
	buffered := bufio.NewReaderSize(c, 1024)
	answer, err := http.ReadResponse(buffered, r)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("handshake: %w", err), c.Close())
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return nil, errors.Join(fmt.Errorf("handshake: %s", answer.Status), c.Close())
	}
	early, err := buffered.Peek(buffered.Buffered())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("handshake: %w", err), c.Close())
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(fmt.Errorf("handshake: %w", err), c.Close())
	}
	return &Conn{Conn: c, early: append([]byte(nil), early...)}, nil
}

// The opcodes of RFC 6455 that matter here.
const (
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xA
)

// ClosedError is a server's close frame.
type ClosedError struct {
	Code   int
	Reason string
}

func (e *ClosedError) Error() string {
	return fmt.Sprintf("closed by the server: %d %s", e.Code, e.Reason)
}

// Send writes one message.
func (c *Conn) Send(opcode byte, payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	const fin, masked = 0x80, 0x80
	f := append(c.frame[:0], fin|opcode)
	if n := len(payload); n < 126 {
		f = append(f, masked|byte(n))
	} else {
		f = binary.BigEndian.AppendUint16(append(f, masked|126), uint16(n))
	}
	f = append(f, 0, 0, 0, 0)
	c.frame = append(f, payload...)
	_, err := c.Write(c.frame)
	return err
}

// Frames reads until the connection ends or handle says stop. handle gets every data frame's
// payload, valid during the call.
func (c *Conn) Frames(handle func(payload []byte) (stop bool)) error {
	buffer := make([]byte, 4096)
	have := copy(buffer, c.early)
	c.early = nil
	for {
		used, stop, err := c.scan(buffer[:have], handle)
		if err != nil {
			return err
		}
		have = copy(buffer, buffer[used:have])
		if stop {
			c.early = append([]byte(nil), buffer[:have]...)
			return nil
		}
		if have == len(buffer) {
			buffer = append(buffer, make([]byte, len(buffer))...)
		}
		n, err := c.Read(buffer[have:])
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if n == len(buffer)-have && len(buffer) < 256<<10 {
			buffer = append(buffer, make([]byte, len(buffer))...) // a busy connection reads more at once
		}
		have += n
	}
}

// scan handles the complete frames in b.
func (c *Conn) scan(b []byte, handle func([]byte) bool) (used int, stop bool, err error) {
	for !stop {
		opcode, payload, size := split(b[used:])
		if size == 0 {
			return used, false, nil
		}
		used += size
		switch opcode {
		case opText, opBinary:
			stop = handle(payload)
		case opPing:
			err = c.Send(opPong, payload)
		case opClose:
			if len(payload) >= 2 {
				return used, true, &ClosedError{int(binary.BigEndian.Uint16(payload)), string(payload[2:])}
			}
			return used, true, io.EOF
		}
		if err != nil {
			return used, true, err
		}
	}
	return used, stop, nil
}

// split takes the first frame of b apart; size 0 = not complete.
func split(b []byte) (opcode byte, payload []byte, size int) {
	if len(b) < 2 {
		return 0, nil, 0
	}
	head, n := 2, int(b[1]&0x7f)
	switch n {
	case 126:
		head = 4
		if len(b) < head {
			return 0, nil, 0
		}
		n = int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		head = 10
		if len(b) < head {
			return 0, nil, 0
		}
		n = int(binary.BigEndian.Uint64(b[2:]))
	}
	if len(b) < head+n {
		return 0, nil, 0
	}
	return b[0] & 0xf, b[head : head+n], head + n
}
