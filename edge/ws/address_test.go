package ws_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"

	"parley/edge/limit"
)

// TestOneClientOfALoadBalancerIsNotAll: bad tokens are counted for who speaks through a load balancer, as the request
// has it by then, and not for the load balancer.
func TestOneClientOfALoadBalancerIsNotAll(t *testing.T) {
	n := newNode(t, tune{limits: func(o *limit.Options) { o.Rates[limit.Guess] = limit.Rate{PerSecond: 0.001, Burst: 2} }})
	n.user("ann")
	from := func(address string) *client {
		conn, _, err := websocket.Dial(t.Context(), n.url, &websocket.DialOptions{Subprotocols: []string{"parley.v1.json"},
			HTTPHeader: http.Header{"X-Forwarded-For": {address}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.CloseNow() })
		return &client{t: t, conn: conn}
	}
	hello := func(life time.Duration) frame {
		return frame{"type": "hello", "id": "1", "token": n.token("ann", life)}
	}
	for i, want := range []websocket.StatusCode{4201, 4201, 4002} {
		c := from("192.0.2.1")
		c.send(hello(-time.Minute))
		if code, errors := c.closed(); code != want {
			t.Errorf("guess %d: close %d, %v", i, code, errors)
		}
	}
	if answer := from("192.0.2.2").ask(hello(time.Hour)); answer["type"] != "welcome" {
		t.Errorf("another client of the load balancer: %v", answer)
	}
}
