package ws_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sync/errgroup"

	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// herd is many clients of one edge, each in one conversation that goes on all the time.
type herd struct {
	b       *testing.B
	all     []*place
	users   []*eventv1.User
	tokens  []string
	cons    []string
	perUser int
}

// herdSize is the clients of BenchmarkEdgeLost: users, clients of each, and users in a conversation.
const (
	herdUsers   = 1000
	herdPerUser = 3
	herdRoom    = 5
)

// BenchmarkEdgeLost loses the edge that 3,000 clients are connected to, while events come in all
// their conversations. It reports how long it took until the last client
// was at the head again through the other two nodes, and what sending cost others meanwhile. Clients
// come back as docs/protocol.md asks: after a random time of at most a second, then backing off.
func BenchmarkEdgeLost(b *testing.B) {
	for b.Loop() {
		h := newHerd(b)
		clients := h.connect(h.all[0], nil)
		ctx, stop := context.WithCancel(b.Context())
		var talk errgroup.Group
		var spent []time.Duration
		var lost atomic.Bool
		talk.Go(func() error { spent = h.talk(ctx, &lost); return nil })
		if err := h.all[0].runtime.Drain(ctx); err != nil { // it is the edge that is lost here
			b.Fatal(err)
		}
		lost.Store(true)
		began := time.Now()
		talk.Go(func() error { h.all[0].lose(); return nil })
		h.connect(nil, clients)
		took := time.Since(began)
		stop()
		_ = talk.Wait() // it fails nothing: its times are the result
		slices.Sort(spent)
		b.ReportMetric(took.Seconds(), "s-to-head")
		if len(spent) > 0 {
			b.ReportMetric(float64(spent[len(spent)*99/100].Milliseconds()), "ms-send-p99")
			b.ReportMetric(float64(spent[len(spent)/2].Milliseconds()), "ms-send-p50")
			b.ReportMetric(float64(len(spent)), "sends")
		}
		for _, p := range h.all {
			p.lose()
		}
	}
}

func newHerd(b *testing.B) *herd {
	h := &herd{b: b, all: newCluster(b), perUser: herdPerUser}
	h.users, h.tokens, h.cons = make([]*eventv1.User, herdUsers), make([]string, herdUsers), make([]string, herdUsers/herdRoom)
	var g errgroup.Group
	g.SetLimit(64)
	for i := range h.users {
		g.Go(func() error {
			h.users[i] = h.all[0].user(fmt.Sprint("u", i))
			h.tokens[i] = h.all[0].token(h.users[i].Name, time.Hour)
			return nil
		})
	}
	_ = g.Wait() // the helpers fail the benchmark themselves
	for i := range h.cons {
		g.Go(func() error {
			h.cons[i] = h.all[0].conversation(h.users[i*herdRoom : (i+1)*herdRoom]...)
			return nil
		})
	}
	_ = g.Wait()
	return h
}

// stray is one client of a herd.
type stray struct {
	user  int
	stand float64
	conn  *websocket.Conn // nil = none yet
}

// connect brings clients to a node, or back to any of those that are left, and waits until all are at
// the head. Without clients it makes them.
func (h *herd) connect(to *place, clients []*stray) []*stray {
	if clients == nil {
		for i := range herdUsers * h.perUser {
			clients = append(clients, &stray{user: i % herdUsers})
		}
	}
	var g errgroup.Group
	for _, c := range clients {
		g.Go(func() error {
			wait := time.Duration(rand.Int64N(int64(time.Second)))
			for {
				<-time.NewTimer(wait).C
				p := to
				if p == nil {
					p = h.all[1+rand.IntN(2)]
				}
				if h.join(p, c) {
					return nil
				}
				wait = min(2*wait, 30*time.Second)
			}
		})
	}
	_ = g.Wait() // nobody gives up
	return clients
}

// join says hello and subscribes, and reads until the head that the subscription told.
func (h *herd) join(p *place, c *stray) bool {
	if c.conn != nil {
		_ = c.conn.CloseNow() // lost
	}
	conn, err := p.open("parley.v1.json")
	if err != nil {
		return false
	}
	c.conn = conn
	l := &client{t: h.b, conn: conn}
	if l.try(frame{"type": "hello", "id": "h", "token": h.tokens[c.user]})["type"] != "welcome" {
		return false
	}
	ack := l.try(frame{"type": "subscribe", "id": "s", "conversation": h.cons[c.user/herdRoom], "after": c.stand})
	if ack["type"] != "ack" {
		return false
	}
	head, _ := ack["head"].(float64)
	for c.stand < head {
		f, err := l.read()
		if err != nil {
			return false
		}
		if f["type"] != "events" {
			continue
		}
		for _, e := range f["events"].([]any) {
			s := e.(map[string]any)["sequence"].(float64)
			if s != c.stand+1 {
				h.b.Errorf("event %v after %v", s, c.stand)
				return true
			}
			c.stand = s
		}
	}
	return true
}

// talk sends 100 events a second through the second node until ctx ends, and gives how long each
// took that was sent after the loss.
func (h *herd) talk(ctx context.Context, lost *atomic.Bool) []time.Duration {
	var mu sync.Mutex
	var spent []time.Duration
	var waiting sync.WaitGroup
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			waiting.Wait()
			return spent
		case <-ticker.C:
		}
		began, after := time.Now(), lost.Load()
		waiting.Add(1)
		h.all[1].cluster.PostAsync(h.b.Context(), h.all[1].admin, h.cons[n%len(h.cons)], fmt.Sprint("k", n),
			&nodev1.PostEvent{Type: "custom:talk", Body: []byte(`{"text":"hi"}`)}, func(_ *nodev1.Reply, err error) {
				defer waiting.Done()
				mu.Lock()
				defer mu.Unlock()
				if after {
					spent = append(spent, time.Since(began))
				}
			})
	}
}
