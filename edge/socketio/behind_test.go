package socketio_test

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"parley/edge/hub"
	"parley/edge/socket"
	nodev1 "parley/proto/node/v1"
)

// narrow resumes a session like a phone on a thin link: its system takes little at a time.
func (n *node) narrow(token, session string) *client {
	n.t.Helper()
	dialer := net.Dialer{}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return c, c.(*net.TCPConn).SetReadBuffer(16 << 10)
	}}
	address := "ws" + strings.TrimPrefix(n.url, "http") + "/v2/rtc/?EIO=4&transport=websocket&token=" + url.QueryEscape(token) + "&session_id=" + session
	conn, _, err := websocket.Dial(n.t.Context(), address, &websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		n.t.Fatal(err)
	}
	conn.SetReadLimit(8 << 20)
	n.t.Cleanup(func() { _ = conn.CloseNow(); transport.CloseIdleConnections() })
	c := n.connect(&webSocket{n.t, conn}, 4)
	c.acks = true
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
			n.cluster.PostAsync(n.t.Context(), n.admin, con, "", &nodev1.PostEvent{Type: "custom:fill", Body: body}, func(_ *nodev1.Reply, err error) {
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
			n.fill(tc.each, list...)
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
			n.fill(1, list...) // it is live now
			read(tc.conversations)
		})
	}
}
