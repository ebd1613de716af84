package socketio_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"parley/actors/api"
	actor "parley/actors/conversation"
	"parley/edge/receipt"
	nodev1 "parley/proto/node/v1"
)

// sluice keeps the first receipt on its way until the test lets it pass, and notes how the others travel.
type sluice struct {
	api.Cluster
	apart bool        // as a cluster in which a node is older
	first chan func() // lets the first receipt pass

	mu     sync.Mutex
	alone  int   // guarded by mu; receipts that were posted
	groups []int // guarded by mu; sizes of what left together
}

// PostAsync holds the first receipt.
func (s *sluice) PostAsync(ctx context.Context, p *nodev1.Principal, conv, id string, e *nodev1.PostEvent, done func(*nodev1.Reply, error)) {
	if !strings.HasSuffix(e.Type, ":delivered") && !strings.HasSuffix(e.Type, ":seen") {
		s.Cluster.PostAsync(ctx, p, conv, id, e, done)
		return
	}
	s.mu.Lock()
	s.alone++
	first := s.alone == 1
	s.mu.Unlock()
	s.Cluster.PostAsync(ctx, p, conv, id, e, func(r *nodev1.Reply, err error) {
		if !first {
			done(r, err)
			return
		}
		s.first <- func() { done(r, err) }
	})
}

// AdvanceCursors implements api.Events.
func (s *sluice) AdvanceCursors(ctx context.Context, app, conv string, cursors []*nodev1.UserCursor, done func(*nodev1.Reply, error)) {
	s.mu.Lock()
	s.groups = append(s.groups, len(cursors))
	s.mu.Unlock()
	if s.apart {
		done(&nodev1.Reply{Cursors: &nodev1.AdvancedCursors{Apart: true}}, nil)
		return
	}
	s.Cluster.AdvanceCursors(ctx, app, conv, cursors, done)
}

// TestReceiptsOfALargeConversation: while one receipt is on its way those of others gather and then
// leave together. Each session gets the answer to its own, and a refusal is that of the one alone. In
// a cluster with an older node, and in the end, the outcome is the same.
func TestReceiptsOfALargeConversation(t *testing.T) {
	for name, older := range map[string]bool{"all nodes know it": false, "a node is older": true} {
		t.Run(name, func(t *testing.T) {
			gate := &sluice{apart: older, first: make(chan func(), 1)}
			n := newNode(t, tune{
				cluster: func(c api.Cluster) api.Cluster { gate.Cluster = c; return gate },
				receipt: func(o *receipt.Options) { o.InFlight = 1 },
			})
			n.users("zed")
			room := n.conversation()
			for i := range actor.ReceiptMembersMax + 1 {
				n.users(fmt.Sprintf("u%d", i))
				n.join(room, fmt.Sprintf("u%d", i))
			}
			text := n.post(room, "u0", "hello")
			var clients []*client
			for _, who := range []string{"u1", "u2", "u3", "u4", "u5", "zed"} {
				clients = append(clients, n.login(who, "4.0.2"))
			}
			receipt := func(c *client, kind string, event uint64) any {
				rid := c.send("text:"+kind, value{"cid": room, "body": value{"event_id": event}})
				c.ask("user:get", nil) // a connection's requests are taken in their order
				return rid
			}
			rids := []any{
				receipt(clients[0], "delivered", text), receipt(clients[1], "delivered", text), receipt(clients[2], "seen", text),
				receipt(clients[3], "delivered", text+99), receipt(clients[4], "seen", text), receipt(clients[5], "delivered", text),
			}
			(<-gate.first)()
			var names []string
			for i, c := range clients {
				names = append(names, c.answerTo(rids[i]).name)
			}
			want := []string{"text:delivered:success", "text:delivered:success", "text:seen:success", "event:error:not-found",
				"text:seen:success", "conversation:error:not-found"}
			if !slices.Equal(names, want) {
				t.Errorf("answered %v", names)
			}
			groups, alone := []int{5}, 1
			if older {
				alone = 6
			}
			gate.mu.Lock()
			if !slices.Equal(gate.groups, groups) || gate.alone != alone {
				t.Errorf("%v left together, %d alone", gate.groups, gate.alone)
			}
			gate.mu.Unlock()
			for who, wanted := range map[string][2]uint64{"u1": {text, 0}, "u2": {text, 0}, "u3": {text, text}, "u4": {0, 0}, "u5": {text, text}} {
				if got := n.cursor(room, who); got != wanted {
					t.Errorf("%s is at %v, not %v", who, got, wanted)
				}
			}
		})
	}
}

// answerTo reads up to the answer to a request.
func (c *client) answerTo(rid any) event {
	c.t.Helper()
	for i, e := range c.pending {
		if e.payload["rid"] == rid {
			c.pending = slices.Delete(c.pending, i, i+1)
			return e
		}
	}
	for {
		e, err := c.read()
		if err != nil {
			c.t.Fatalf("waiting for an answer: %v", err)
		}
		if e.payload["rid"] == rid {
			return e
		}
		c.pending = append(c.pending, e)
	}
}

// cursor is how far a member has received and read.
func (n *node) cursor(room, who string) [2]uint64 {
	n.t.Helper()
	u := must(n.cluster.GetUser(n.t.Context(), n.admin, refOf(who)))(n.t)
	p := &nodev1.Principal{ApplicationId: n.app, UserId: u.Id, UserName: who}
	told := make(chan [2]uint64, 1)
	n.cluster.AdvanceCursor(n.t.Context(), p, room, &nodev1.AdvanceCursor{}, func(r *nodev1.Reply, err error) { // moves nothing
		if err != nil {
			n.t.Error(err)
		}
		told <- [2]uint64{r.GetCursor().GetDelivered(), r.GetCursor().GetSeen()}
	})
	return <-told
}
