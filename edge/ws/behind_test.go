package ws_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"parley/edge/hub"
	"parley/edge/socket"
	nodev1 "parley/proto/node/v1"
)

// narrow dials like a phone on a thin link: its system takes little at a time.
func (n *node) narrow() *client {
	n.t.Helper()
	dialer := net.Dialer{}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return c, c.(*net.TCPConn).SetReadBuffer(64 << 10)
	}}
	conn, _, err := websocket.Dial(n.t.Context(), n.url, &websocket.DialOptions{
		Subprotocols: []string{"parley.v1.json"}, HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		n.t.Fatal(err)
	}
	conn.SetReadLimit(8 << 20)
	n.t.Cleanup(func() { _ = conn.CloseNow(); transport.CloseIdleConnections() })
	c := &client{t: n.t, conn: conn}
	if w := c.ask(frame{"type": "hello", "id": "hello", "token": n.token("bob", time.Hour)}); w["type"] != "welcome" {
		n.t.Fatalf("hello: %v", w)
	}
	return c
}

// fill posts events in several conversations at once.
func (n *node) fill(each int, conversations ...string) {
	n.t.Helper()
	body := []byte(`{"text":"` + strings.Repeat("x", 1<<10) + `"}`)
	var waiting sync.WaitGroup
	places := make(chan struct{}, 64)
	for range each {
		for _, con := range conversations {
			places <- struct{}{}
			waiting.Add(1)
			n.cluster.PostAsync(n.t.Context(), n.admin, con, "", &nodev1.PostEvent{Type: "custom:fill", Body: body},
				func(_ *nodev1.Reply, err error) {
					if err != nil {
						n.t.Error(err)
					}
					<-places
					waiting.Done()
				})
		}
	}
	waiting.Wait()
}

// TestFarBehindOnAThinLink: a client 5,000 events behind, whose link is slower than the store,
// gets to the head in order and is not closed, though what it missed is many times what may wait
// for it; and so does one that is behind in many conversations at once.
func TestFarBehindOnAThinLink(t *testing.T) {
	for name, tc := range map[string]struct{ conversations, each int }{"one conversation": {1, 5000}, "many": {50, 100}} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, tune{
				sockets: func(o *socket.Options) { o.QueueBytesMax = 256 << 10 },
				hub:     func(o *hub.Options) { o.PageBytes = 64 << 10 },
			})
			bob := n.user("bob")
			var list []string
			for range tc.conversations {
				list = append(list, n.conversation(bob))
			}
			n.fill(tc.each, list...)
			c := n.narrow()
			for _, con := range list {
				c.send(frame{"type": "subscribe", "conversation": con, "after": 0})
			}
			got := map[string]float64{}
			for total := 0; total < tc.conversations*(tc.each+1); {
				f := c.next("events")
				con := f["conversation"].(string)
				for _, e := range f["events"].([]any) {
					if s := e.(map[string]any)["sequence"].(float64); s != got[con]+1 {
						t.Fatalf("%v after %v", s, got[con])
					}
					got[con]++
					total++
				}
			}
			// It is live now.
			n.fill(1, list...)
			for range list {
				f := c.next("events")
				if s := f["events"].([]any)[0].(map[string]any)["sequence"]; s != float64(tc.each+2) {
					t.Errorf("%v after the head %d", s, tc.each+1)
				}
			}
		})
	}
}
