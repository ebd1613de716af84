package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"
)

// crowd is the sessions of one conversation. The first one writes.
type crowd struct {
	room        string
	acknowledge atomic.Bool
	answered    atomic.Int64 // receipts
	refused     atomic.Int64 // whatever was asked

	sockets []*websocket.Conn
	readers sync.WaitGroup
	acks    chan time.Time // when a text was answered; the writer's reader fills it
}

// loginsAtOnce is how many sessions log in at the same time.
const loginsAtOnce = 16

func gather(ctx context.Context, n *node, sessions int) (*crowd, error) {
	c := &crowd{sockets: make([]*websocket.Conn, sessions+1), acks: make(chan time.Time, 1)}
	_, c.room = n.target.Member(0)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(loginsAtOnce)
	for i := range c.sockets {
		g.Go(func() (err error) {
			token, _ := n.target.Member(i)
			c.sockets[i], err = login(gctx, n.target.URL, token)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	for i, s := range c.sockets {
		c.readers.Go(func() { c.read(ctx, s, i == 0) })
	}
	return c, nil
}

// login connects as nexmo-client 4 does.
func login(ctx context.Context, url, token string) (*websocket.Conn, error) {
	s, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(url, "http")+"/rtc/?EIO=3&transport=websocket", nil)
	if err != nil {
		return nil, err
	}
	s.SetReadLimit(1 << 20)
	request := fmt.Sprintf(`42["session:login",{"tid":"login","body":{"token":%q,"SDK_version":"4.0.2"}}]`, token)
	if err := s.Write(ctx, websocket.MessageText, []byte(request)); err != nil {
		return nil, err
	}
	for {
		_, packet, err := s.Read(ctx)
		switch {
		case err != nil:
			return nil, err
		case bytes.HasPrefix(packet, []byte(`42["session:success"`)):
			return s, nil
		case bytes.HasPrefix(packet, []byte(`42["s`)):
			return nil, fmt.Errorf("refused: %s", packet)
		}
	}
}

// read takes what a session is told until its socket ends, and acknowledges texts as the SDK does.
func (c *crowd) read(ctx context.Context, s *websocket.Conn, writer bool) {
	for {
		_, packet, err := s.Read(ctx)
		if err != nil {
			return
		}
		switch {
		case bytes.HasPrefix(packet, []byte(`42["text",`)):
			if writer || !c.acknowledge.Load() {
				continue
			}
			receipt := fmt.Sprintf(`42["text:delivered",{"tid":"d","cid":%q,"body":{"event_id":%s}}]`, c.room, sequenceOf(packet))
			if s.Write(ctx, websocket.MessageText, []byte(receipt)) != nil {
				return
			}
		case bytes.HasPrefix(packet, []byte(`42["text:success"`)):
			c.acks <- time.Now()
		case bytes.HasPrefix(packet, []byte(`42["text:delivered:success"`)):
			c.answered.Add(1)
		case bytes.Contains(packet, []byte(`"code":`)):
			c.refused.Add(1)
			if writer {
				c.acks <- time.Now() // it is answered, if not as one would wish
			}
		}
	}
}

// sequenceOf is the id of a text that was told.
func sequenceOf(packet []byte) []byte {
	_, rest, _ := bytes.Cut(packet, []byte(`"id":`))
	end := bytes.IndexAny(rest, ",}")
	return rest[:max(end, 0)]
}

// talk sends texts at a rate and measures, from the time at which each was due, until it was
// answered: a send that waits for the one before it has waited.
func (c *crowd) talk(ctx context.Context, rate float64, lasts time.Duration) (*hdrhistogram.Histogram, error) {
	h := hdrhistogram.New(1, time.Minute.Microseconds(), 3)
	gap := time.Duration(float64(time.Second) / rate)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for due, end := time.Now(), time.Now().Add(lasts); due.Before(end); due = due.Add(gap) {
		timer.Reset(time.Until(due))
		<-timer.C
		text := fmt.Sprintf(`42["text",{"tid":"t%d","cid":%q,"body":{"text":"a text as people write them"}}]`, due.UnixNano(), c.room)
		if err := c.sockets[0].Write(ctx, websocket.MessageText, []byte(text)); err != nil {
			return nil, err
		}
		answered := <-c.acks
		if err := h.RecordValue(max(answered.Sub(due).Microseconds(), 1)); err != nil {
			return nil, err
		}
	}
	return h, nil
}

func (c *crowd) close() {
	for _, s := range c.sockets {
		_ = s.CloseNow() // the process ends
	}
	c.readers.Wait()
}
