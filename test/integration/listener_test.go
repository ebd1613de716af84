//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// listener is a member of a conversation on the native protocol, who resumes at the next node whenever its
// connection ends, as docs/protocol.md tells clients to.
type listener struct {
	crowd *crowd
	token string
	con   string
	at    int // which node is next

	mu    sync.Mutex // guards what follows
	last  uint64     // the last sequence that it has
	ends  []string   // how its connections ended
	wrong []string   // what no client should see
}

// listen keeps one member of each conversation on each node listening until ctx ends.
func (w *crowd) listen(ctx context.Context, t *testing.T) (all []*listener, wait func()) {
	t.Helper()
	var group sync.WaitGroup
	for i, s := range w.users[:len(w.convs)*len(w.nodes)] {
		l := &listener{crowd: w, token: s.token, con: s.conversation, at: i / len(w.convs)}
		all = append(all, l)
		group.Go(func() { l.run(ctx) })
	}
	return all, group.Wait
}

func (l *listener) run(ctx context.Context) {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for ctx.Err() == nil {
		err := l.connection(ctx)
		l.mu.Lock()
		var closed websocket.CloseError
		if errors.As(err, &closed) {
			l.ends = append(l.ends, fmt.Sprint(int(closed.Code)))
			if closed.Code >= 4100 && closed.Code < 5000 {
				l.wrong = append(l.wrong, err.Error())
			}
		}
		l.mu.Unlock()
		l.at++
		select {
		case <-again.C:
		case <-ctx.Done():
		}
	}
}

// connection subscribes behind what the listener has, and reads until the connection ends.
func (l *listener) connection(ctx context.Context) error {
	url := "ws" + strings.TrimPrefix(l.crowd.url(l.at), "http") + "/v1/realtime"
	c, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: []string{"parley.v1.json"}})
	if err != nil {
		return err
	}
	defer c.CloseNow()
	c.SetReadLimit(1 << 20)
	for _, frame := range []map[string]any{
		{"type": "hello", "id": "1", "token": l.token},
		{"type": "subscribe", "id": "2", "conversation": l.con, "after": l.have()},
	} {
		text, err := json.Marshal(frame)
		if err != nil {
			return err
		}
		if err := c.Write(ctx, websocket.MessageText, text); err != nil {
			return err
		}
	}
	for {
		_, text, err := c.Read(ctx)
		if err != nil {
			return err
		}
		l.take(text)
	}
}

func (l *listener) have() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// take reads one frame: sequences follow each other without a hole, and nothing is an error.
func (l *listener) take(text []byte) {
	var frame struct {
		Type, Code, Recovery string
		Events               []struct{ Sequence uint64 }
	}
	err := json.Unmarshal(text, &frame)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil, frame.Type == "reset", frame.Type == "unsubscribed",
		frame.Type == "error" && frame.Recovery != "resume" && frame.Recovery != "retry":
		l.wrong = append(l.wrong, string(text))
	case frame.Type == "error":
		l.ends = append(l.ends, frame.Code)
	}
	for _, e := range frame.Events {
		if e.Sequence != l.last+1 {
			l.wrong = append(l.wrong, fmt.Sprintf("%d after %d", e.Sequence, l.last))
		}
		l.last = e.Sequence
	}
}
