package socket

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// more than any socket buffer here takes.
const flood = 40 << 20

// await waits for what comes by itself.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	poll, patience := time.NewTicker(time.Millisecond), time.NewTimer(time.Minute)
	defer poll.Stop()
	defer patience.Stop()
	for !holds() {
		select {
		case <-poll.C:
		case <-patience.C:
			t.Fatalf("not in a minute: %s", what)
		}
	}
}

// TestOffersComeAtThePeersPace sends much more than may wait, and nothing is dropped: what does
// not need to be sent now waits for the peer.
func TestOffersComeAtThePeersPace(t *testing.T) {
	for name, tls := range map[string]bool{"plain": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			const most, page = 256 << 10, 64 << 10
			s := serve(t, tls, func(o *Options) { o.QueueBytesMax = most })
			c, e := s.dial(t)
			frame := AppendFrame(nil, Binary, make([]byte, page))
			ready, stalled, done := make(chan struct{}, 1), make(chan struct{}), make(chan int)
			s.group.Go(func() {
				refused := 0
				for sent := 0; sent < flood; {
					if e.conn.Offer(frame, func() { ready <- struct{}{} }) {
						sent += page
						e.conn.mu.Lock()
						if e.conn.queued > most {
							t.Errorf("%d bytes wait", e.conn.queued)
						}
						e.conn.mu.Unlock()
						continue
					}
					if refused++; refused == 1 {
						close(stalled)
					}
					select {
					case <-ready:
					case <-t.Context().Done():
						return
					}
				}
				done <- refused
			})
			<-stalled
			for range flood / page {
				if _, got, err := read(t, c); err != nil || len(got) != page {
					t.Fatalf("%d bytes, %v", len(got), err)
				}
			}
			t.Logf("waited %d times", <-done)
			for !e.conn.Offer(nil, func() { ready <- struct{}{} }) { // the last write may not have returned yet
				select {
				case <-ready:
				case <-time.After(30 * time.Second):
					t.Fatal("a question is refused at rest")
				}
			}
		})
	}
}

// TestOneQuestionWaits: of those whose offers were not taken only the latest is told, and kept, so that many who
// come and go leave nothing behind.
func TestOneQuestionWaits(t *testing.T) {
	s := serve(t, false, func(o *Options) { o.QueueBytesMax = 2 * flood })
	c, e := s.dial(t)
	e.conn.Send(AppendFrame(nil, Binary, make([]byte, flood)))
	for range 100 {
		if e.conn.Offer(nil, func() { t.Error("an earlier question is told") }) {
			t.Fatal("taken while much waits")
		}
	}
	told := make(chan struct{})
	if e.conn.Offer(nil, func() { close(told) }) {
		t.Fatal("taken while much waits")
	}
	if _, got, err := read(t, c); err != nil || len(got) != flood {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	select {
	case <-told:
	case <-time.After(time.Minute):
		t.Error("nobody is told")
	}
}

// TestWhoSetsTheClock makes nobody silent: when a peer was heard is known by what has elapsed.
func TestWhoSetsTheClock(t *testing.T) {
	s := serve(t, false, nil)
	_, e := s.dial(t)
	e.conn.hear(time.Now())
	if heard := e.conn.lastHeard(); !strings.Contains(heard.String(), " m=") {
		t.Errorf("%v is a time of the clock alone", heard)
	}
}

// TestAPeerThatTakesNothing: it talks and does not listen; for as long as one may be silent it is
// waited for, then it is closed. One that takes something, however little, is not.
func TestAPeerThatTakesNothing(t *testing.T) {
	s := serve(t, false, func(o *Options) { o.QueueBytesMax = 2 * flood })
	c, e := s.dial(t)
	e.conn.SetDeadline(time.Time{}, 0)
	e.conn.Send(AppendFrame(nil, Binary, make([]byte, flood)))
	await(t, "the pump meets the full window", func() bool {
		e.conn.mu.Lock()
		defer e.conn.mu.Unlock()
		return e.conn.state == draining
	})
	begin := time.Now()
	wait := s.options.PingInterval + s.options.PongWithin
	look := func(after time.Duration) CloseCode {
		e.conn.hear(begin.Add(after)) // it talks all the time
		e.conn.check(begin.Add(after))
		e.conn.mu.Lock()
		defer e.conn.mu.Unlock()
		return e.conn.closing
	}
	await(t, "the window is full", func() bool {
		acked, waits := outgoing(e.conn.net)
		return waits || acked == 0 // not every system tells
	})
	look(time.Second)
	if code := look(wait); code != 0 {
		t.Fatalf("closed with %v too early", code)
	}
	_, r, err := c.Reader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, r, flood/2); err != nil {
		t.Fatal(err)
	}
	if code := look(2 * wait); code != 0 {
		t.Fatalf("closed with %v though it had taken something", code)
	}
	// What its system still has room for may move meanwhile; after that nothing does.
	if code := inTheEnd(t, 3*wait, wait, look); code != SlowConsumer {
		t.Fatalf("closing with %v", code)
	}
	e.conn.check(time.Now().Add(2 * s.options.CloseWithin))
	if _, _, err := c.Read(t.Context()); errors.Is(err, nil) || websocket.CloseStatus(err) > 0 {
		t.Errorf("read %v", err)
	}
	<-e.closed
}

// TestAPingBehindMuchIsWaitedFor: the peer says nothing, because what it reads slowly stands before
// the ping, in this system's buffer if not in the queue. When it reads no more it is silent.
func TestAPingBehindMuchIsWaitedFor(t *testing.T) {
	s := serve(t, false, func(o *Options) { o.QueueBytesMax = 2 * flood })
	c, e := s.dial(t)
	e.conn.SetDeadline(time.Time{}, 0)
	const much = 512 << 10 // more than the peer's window, and less than this system holds
	e.conn.Send(AppendFrame(nil, Binary, make([]byte, much)))
	await(t, "the window is full", func() bool {
		_, waits := outgoing(e.conn.net)
		return waits
	})
	begin := e.conn.lastHeard()
	wait := s.options.PingInterval + s.options.PongWithin
	look := func(after time.Duration) CloseCode {
		e.conn.check(begin.Add(after))
		e.conn.mu.Lock()
		defer e.conn.mu.Unlock()
		return e.conn.closing
	}
	look(s.options.PingInterval)
	_, r, err := c.Reader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, r, much/2); err != nil {
		t.Fatal(err)
	}
	if code := look(wait); code != 0 {
		t.Fatalf("closed with %v while it reads", code)
	}
	if code := inTheEnd(t, 2*wait, wait, look); code != Silent { // perhaps its system takes something meanwhile
		t.Errorf("closing with %v", code)
	}
}

// inTheEnd looks again and again, a step later each time, and gives what a connection is closed with.
func inTheEnd(t *testing.T, after, step time.Duration, look func(time.Duration) CloseCode) (code CloseCode) {
	t.Helper()
	await(t, "the connection is closed", func() bool {
		code = look(after)
		after += step
		return code != 0
	})
	return code
}

// TestWhoHasTakenAllIsPinged: when a peer was to be pinged something waited for it, and it has taken that since. It is
// asked for another sign of life before it is given up.
func TestWhoHasTakenAllIsPinged(t *testing.T) {
	s := serve(t, false, func(o *Options) { o.QueueBytesMax = 2 * flood })
	c, e := s.dial(t)
	e.conn.SetDeadline(time.Time{}, 0)
	const much = 512 << 10 // more than the peer's window, and less than this system holds
	e.conn.Send(AppendFrame(nil, Binary, make([]byte, much)))
	waits := func() bool {
		_, waits := outgoing(e.conn.net)
		return waits
	}
	await(t, "the window is full", waits)
	begin, o := e.conn.lastHeard(), s.options
	e.conn.check(begin.Add(o.PingInterval))
	if _, got, err := read(t, c); err != nil || len(got) != much {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	await(t, "all has left", func() bool {
		e.conn.mu.Lock()
		defer e.conn.mu.Unlock()
		return e.conn.state == idle && !waits()
	})
	e.conn.mu.Lock()
	taken := e.conn.slow.moved
	e.conn.mu.Unlock()
	e.conn.check(taken.Add(o.PingInterval))
	e.conn.mu.Lock()
	defer e.conn.mu.Unlock()
	if e.conn.closing != 0 || !e.conn.pinged {
		t.Errorf("closing with %v, pinged %v", e.conn.closing, e.conn.pinged)
	}
}
