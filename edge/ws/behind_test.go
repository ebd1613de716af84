package ws_test

import (
	"testing"
	"time"

	"github.com/coder/websocket"

	"parley/edge/hub"
	"parley/edge/socket"
	"parley/test/solo/edge"
)

// narrow dials like a phone on a thin link: its system takes little at a time.
func (n *node) narrow() *client {
	n.t.Helper()
	conn, _, err := websocket.Dial(n.t.Context(), n.url, &websocket.DialOptions{
		Subprotocols: []string{"parley.v1.json"}, HTTPClient: edge.ThinLink(n.t, 64<<10)})
	if err != nil {
		n.t.Fatal(err)
	}
	conn.SetReadLimit(8 << 20)
	n.t.Cleanup(func() { _ = conn.CloseNow() })
	c := &client{t: n.t, conn: conn}
	if w := c.ask(frame{"type": "hello", "id": "hello", "token": n.token("bob", time.Hour)}); w["type"] != "welcome" {
		n.t.Fatalf("hello: %v", w)
	}
	return c
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
			n.tenant.Fill(tc.each, list...)
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
			n.tenant.Fill(1, list...)
			for range list {
				f := c.next("events")
				if s := f["events"].([]any)[0].(map[string]any)["sequence"]; s != float64(tc.each+2) {
					t.Errorf("%v after the head %d", s, tc.each+1)
				}
			}
		})
	}
}
