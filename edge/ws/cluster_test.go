package ws_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"parley/actors/driver"
	"parley/actors/runtime"
	"parley/edge/ws"
	"parley/test/solo"
	"parley/test/solo/edge"
)

// place is one node of a cluster in this process, with a native edge. It can be lost.
type place struct {
	*node
	runtime *runtime.Runtime
	lose    func()
}

// newCluster makes three nodes that replicate everything, with an application.
func newCluster(t testing.TB) []*place {
	t.Helper()
	if racing {
		t.Skip("several nodes in one process need make race-nodes")
	}
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { // a closed node's last probe of a lost one waits for its answer
		for looks := 0; goleak.Find(before) != nil && looks < 30; looks++ { // each takes a second
		}
	})
	all := []*place{newPlace(t, "a")}
	seed := all[0].runtime.Addresses().Gossip
	all = append(all, newPlace(t, "b", seed), newPlace(t, "c", seed))
	all[0].replicated(t)
	tenant := solo.NewTenant(t, all[0].cluster, "")
	for _, p := range all {
		p.belong(tenant.At(p.cluster))
	}
	return all
}

// newPlace opens a node with its edge and waits until it serves.
func newPlace(t testing.TB, name string, join ...string) *place {
	t.Helper()
	o, wo := edge.DefaultOptions(t), ws.DefaultOptions()
	log := slog.New(slog.DiscardHandler) // nodes are lost here: their last words come when the test is over
	o.Node.Logger, o.Sockets.Logger, o.Hub.Logger = log, log, log
	o.Node.NodeName, o.Node.Shards, o.Node.Join = name, 8, join
	wo.Node, wo.CommandWithin = name, solo.Patience
	e := edge.Open(t, o)
	n, handler, stop := serve(t, e, wo)
	p := &place{node: n, runtime: e.Node, lose: sync.OnceFunc(func() {
		e.Lose(handler)
		stop()
	})}
	t.Cleanup(p.lose)
	return p
}

// replicated waits until every shard has three voters and nothing moves.
func (p *place) replicated(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		picture, err := p.runtime.Picture(ctx)
		if err == nil && settled(picture) {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("the cluster does not settle: %v", err)
		}
	}
}

func settled(p *driver.Picture) bool {
	if len(p.Members()) != 3 || p.View.UnderReplicated() > 0 {
		return false
	}
	for i := range p.View.Shards {
		if p.Busy(&p.View.Shards[i]) {
			return false
		}
	}
	return true
}

// TestResumeThroughAnotherNode: the node of a client is lost, with shards that it led, while others
// go on sending. The client says hello to another one and resumes: it gets every event once and in
// order, its session goes on, and a send that it repeats, because it may have lost the answer, is
// answered with what the first one led to.
func TestResumeThroughAnotherNode(t *testing.T) {
	all := newCluster(t)
	a, b := all[0], all[1]
	ann, bob := a.user("ann"), a.user("bob")
	const rooms, early, late = 6, 5, 5 // over several leaders
	var cons []string
	for range rooms {
		cons = append(cons, a.conversation(ann, bob))
	}
	first := a.dial("parley.v1.json")
	welcome := first.ask(frame{"type": "hello", "id": "h", "token": a.token("ann", time.Hour)})
	other := b.login("bob")
	say := func(c *client, con, key string) frame {
		for try := 0; ; try++ { // a leader that is lost leaves the outcome open: the key finds it out
			f := c.ask(frame{"type": "post", "id": fmt.Sprint(key, try), "conversation": con, "client_id": key,
				"event_type": "text", "body": frame{"text": key}})
			if f["type"] == "ack" {
				return f
			}
			if f["recovery"] != "retry" || try == 100 {
				t.Fatalf("post: %v", f)
			}
		}
	}
	stand := map[string]float64{}
	var answers []frame
	for _, con := range cons {
		first.ask(frame{"type": "subscribe", "id": "s", "conversation": con, "after": 0})
		for n := range early {
			say(other, con, fmt.Sprint("b", n))
		}
		answers = append(answers, say(first, con, "mine"))
		for stand[con] < 2+early+1 {
			take(t, first, stand)
		}
	}
	a.lose()
	for _, con := range cons {
		for n := range late {
			say(other, con, fmt.Sprint("late", n))
		}
	}
	second := all[2].dial("parley.v1.json")
	again := second.ask(frame{"type": "hello", "id": "h", "token": b.token("ann", time.Hour), "session_id": welcome["session_id"]})
	if again["session_id"] != welcome["session_id"] {
		t.Errorf("session %v goes on as %v", welcome["session_id"], again["session_id"])
	}
	for i, con := range cons {
		if ack := second.ask(frame{"type": "subscribe", "id": "s", "conversation": con, "after": stand[con]}); ack["type"] != "ack" {
			t.Fatal(ack)
		}
		if ack := say(second, con, "mine"); ack["duplicate"] != true || ack["sequence"] != answers[i]["sequence"] || ack["timestamp_ms"] != answers[i]["timestamp_ms"] {
			t.Errorf("a repeated send is answered with %v, the first was with %v", ack, answers[i])
		}
		say(second, con, "new")
		for stand[con] < 2+early+1+late+1 {
			take(t, second, stand)
		}
	}
	_ = second.conn.Close(websocket.StatusNormalClosure, "")
}

// take reads one events frame and moves what a client has.
func take(t *testing.T, c *client, stand map[string]float64) {
	t.Helper()
	f := c.next("events")
	con := f["conversation"].(string)
	for _, e := range f["events"].([]any) {
		s := e.(map[string]any)["sequence"].(float64)
		if s != stand[con]+1 {
			t.Fatalf("event %v after %v", s, stand[con])
		}
		stand[con] = s
	}
}
