package socketio_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"parley/edge/hub"
	"parley/edge/socket"
	"parley/test/solo/edge"
)

// narrow resumes a session like a phone on a thin link: its system takes little at a time.
func (n *node) narrow(token, session string) *client {
	n.t.Helper()
	address := "ws" + strings.TrimPrefix(n.url, "http") + "/v2/rtc/?EIO=4&transport=websocket&token=" + url.QueryEscape(token) + "&session_id=" + session
	conn, _, err := websocket.Dial(n.t.Context(), address, &websocket.DialOptions{HTTPClient: edge.ThinLink(n.t, 16<<10)})
	if err != nil {
		n.t.Fatal(err)
	}
	conn.SetReadLimit(8 << 20)
	n.t.Cleanup(func() { _ = conn.CloseNow() })
	c := n.connect(&webSocket{n.t, conn}, 4)
	c.acks = true
	return c
}

// TestFarBehindOnAThinLink: a session that missed many times what may wait for it resumes once, gets
// all of it in order, and is not closed for being slow.
func TestFarBehindOnAThinLink(t *testing.T) {
	for name, tc := range map[string]struct{ conversations, each int }{"one conversation": {1, 3000}, "many": {30, 100}} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, tune{
				sockets: func(o *socket.Options) { o.QueueBytesMax = 256 << 10 },
				hub:     func(o *hub.Options) { o.PageBytes = 64 << 10 },
			})
			n.users("bob")
			var list []string
			for range tc.conversations {
				list = append(list, n.conversation("bob"))
			}
			before := n.newer(n.token("bob", time.Hour), "")
			session := before.next("session:success").payload.at("body", "id").(string)
			before.do("user:get", nil)
			before.wire.close()
			n.tenant.Fill(tc.each, list...)
			c := n.narrow(n.token("bob", time.Hour), session)
			if got := c.next("session:success").payload.at("body", "id"); got != session {
				t.Fatalf("resumed as %v", got)
			}
			last := map[string]float64{}
			read := func(count int) {
				for range count {
					e := c.next("custom:fill")
					con, id := e.payload["cid"].(string), e.payload["id"].(float64)
					if id != max(last[con], 1)+1 { // the joining is the first
						t.Fatalf("%v after %v", id, last[con])
					}
					last[con] = id
				}
			}
			read(tc.conversations * tc.each)
			n.tenant.Fill(1, list...) // it is live now
			read(tc.conversations)
		})
	}
}
