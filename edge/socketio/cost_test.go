package socketio_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"parley/actors/api"
	"parley/edge/socketio"
	nodev1 "parley/proto/node/v1"
)

// counting counts the questions about single conversations.
type counting struct {
	api.Cluster
	asked atomic.Int64
}

func (c *counting) GetConversation(ctx context.Context, p *nodev1.Principal, conversation string, members bool) (*nodev1.Reply, error) {
	c.asked.Add(1)
	return c.Cluster.GetConversation(ctx, p, conversation, members)
}

// TestALoginAsksOnceForAll: what a login needs to know of the user's conversations, and what the
// list of them tells, comes with the memberships. A conversation that the user has left meanwhile is
// not followed, although the list of memberships may be older.
func TestALoginAsksOnceForAll(t *testing.T) {
	var count counting
	n := newNode(t, tune{cluster: func(c api.Cluster) api.Cluster {
		count.Cluster = c
		return &count
	}})
	n.users("ann", "bob")
	for range 20 {
		n.conversation("ann", "bob")
	}
	con := n.conversation("ann", "bob")
	n.post(con, "ann", "one")
	b := n.login("bob", "4.0.2")
	e := b.ask("user:conversations", nil)
	list, _ := e.payload["body"].([]any)
	if len(list) != 21 {
		t.Fatalf("%d conversations: %+v", len(list), e)
	}
	for _, item := range list {
		k := value(item.(map[string]any))
		if want := map[bool]float64{true: 3, false: 2}[k["id"] == con]; k["sequence_number"] != want {
			t.Errorf("%v is at %v, not %v", k["id"], k["sequence_number"], want)
		}
	}
	if asked := count.asked.Load(); asked != 0 {
		t.Errorf("%d conversations were asked for one by one", asked)
	}
	n.post(con, "ann", "two")
	if e := b.next("text"); e.payload.at("body", "text") != "two" {
		t.Errorf("followed from %+v", e)
	}
}

// BenchmarkLogin is a login of a user with many conversations, up to the answer.
func BenchmarkLogin(b *testing.B) {
	for _, conversations := range []int{1, 100} {
		b.Run(fmt.Sprintf("conversations=%d", conversations), func(b *testing.B) {
			n := newNode(b, tune{socket: func(o *socketio.Options) { o.SyncWithin = time.Minute }})
			n.users("ann")
			for range conversations {
				n.conversation("ann")
			}
			token := n.token("ann", time.Hour)
			for b.Loop() {
				c := n.old()
				if e := c.ask("session:login", value{"body": value{"token": token, "SDK_version": "4.0.2"}}); e.name != "session:success" {
					b.Fatalf("%+v", e)
				}
				c.ask("session:logout", nil)
				c.wire.close()
			}
		})
	}
}
