//go:build !race || nodes

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"parley/actors/api"
	"parley/actors/driver"
	eventv1 "parley/proto/event/v1"
	"parley/test/solo"
)

// TestADrainedNodeSendsItsClientsElsewhere: an operator drains one of three nodes while somebody at another
// one writes without a pause. Every text is acknowledged; the drained node's client is told to go elsewhere,
// goes on in its session there and gets all of them, once and in order; the drained node leads nothing any
// more, and a client that comes to it all the same is sent away too.
func TestADrainedNodeSendsItsClientsElsewhere(t *testing.T) {
	nodes := trio(t)
	tenant := solo.NewTenant(t, nodes[0].runtime.API(), "")
	con := tenant.Conversation(&eventv1.Conversation{})
	for _, name := range []string{"ann", "bob"} {
		tenant.Join(con, api.UserRef{ID: tenant.User(&eventv1.User{Name: name}).Id})
	}
	ann, bob := arrive(t, nodes[0], tenant.Token("ann", time.Hour, nil), ""), arrive(t, nodes[1], tenant.Token("bob", time.Hour, nil), "")
	ann.subscribe(con)

	var talk sync.WaitGroup
	enough := make(chan struct{})
	stop := sync.OnceFunc(func() { close(enough); talk.Wait() })
	defer stop()
	head := 0.0
	talk.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-enough:
				return
			default:
			}
			if head = bob.post(con, fmt.Sprint("b", i)); head == 0 {
				return
			}
		}
	})
	ann.reads(func() bool { return ann.last >= 10 })
	until(t, nodes[1], "a node that is to be drained", func(*driver.Picture) bool { // the meta shard may be changing its leader
		return nodes[1].runtime.SetMember(t.Context(), nodes[0].name, eventv1.StoreState_STORE_STATE_DRAINING, false) == nil
	})
	if code := ann.reads(nil); code != 4000 {
		t.Fatalf("the drained node closes with %d", code)
	}
	again := arrive(t, nodes[2], tenant.Token("ann", time.Hour, nil), ann.session)
	if again.session != ann.session {
		t.Errorf("session %s goes on as %s", ann.session, again.session)
	}
	again.last = ann.last
	again.subscribe(con)
	until(t, nodes[1], "a node that leads nothing", func(p *driver.Picture) bool { return !leads(p, nodes[0].name) })
	moved := again.last
	again.reads(func() bool { return again.last >= moved+10 })
	late := dial(t, nodes[0])
	_, err := late.ask(words{"type": "hello", "id": "hello", "token": tenant.Token("ann", time.Hour, nil)})
	for err == nil {
		_, err = late.read()
	}
	if code := websocket.CloseStatus(err); code != 4000 {
		t.Errorf("who comes later is closed with %d: %v", code, err)
	}
	stop()
	again.reads(func() bool { return again.last >= head })
	if head == 0 || again.last != head {
		t.Errorf("the last is %v, the head %v", again.last, head)
	}
}

// trio opens three nodes that replicate everything and run until the test is over.
func trio(t *testing.T) (nodes []*Node) {
	t.Helper()
	for range 3 {
		o := options(t, t.TempDir())
		o.Settings.Shards, o.Settings.ShutdownGrace = 2, 4*time.Second
		if len(nodes) > 0 {
			o.Settings.Join = []string{nodes[0].Addresses().Gossip}
		}
		n := open(t, o)
		nodes = append(nodes, n)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			// The last to stop are without a majority; what they cut because their time was over is not looked at here.
			if err := n.Run(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
		t.Cleanup(func() {
			stop()
			running.Wait()
		})
	}
	until(t, nodes[0], "three whole nodes", func(p *driver.Picture) bool {
		busy := false
		for i := range p.View.Shards {
			busy = busy || p.Busy(&p.View.Shards[i])
		}
		return len(p.Members()) == len(nodes) && p.View.UnderReplicated() == 0 && !busy
	})
	return nodes
}

// until waits for a picture of the cluster.
func until(t *testing.T, n *Node, what string, holds func(*driver.Picture) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		p, err := n.runtime.Picture(ctx)
		if err == nil && holds(p) {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("not in two minutes: %s (%v)", what, err)
		}
	}
}

// leads says whether a node leads a shard.
func leads(p *driver.Picture, node string) bool {
	for _, s := range p.View.Shards {
		for _, m := range s.Members {
			if m.ID == s.Leader && m.Node == node {
				return true
			}
		}
	}
	return false
}

// person is a client of the native protocol.
type person struct {
	t       *testing.T
	conn    *websocket.Conn
	session string
	last    float64 // event that it has
}

// words is a frame.
type words map[string]any

// dial connects.
func dial(t *testing.T, n *Node) *person {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), "ws://"+n.Addresses().HTTP+"/v1/realtime", &websocket.DialOptions{Subprotocols: []string{"parley.v1.json"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &person{t: t, conn: conn}
}

// arrive connects and says hello.
func arrive(t *testing.T, n *Node, token, session string) *person {
	t.Helper()
	p := dial(t, n)
	welcome, err := p.ask(words{"type": "hello", "id": "hello", "token": token, "session_id": session})
	if err != nil || welcome["type"] != "welcome" {
		t.Fatalf("hello: %v, %v", welcome, err)
	}
	p.session, _ = welcome["session_id"].(string)
	return p
}

// ask sends a frame and gives its answer. Events that come before it are taken.
func (p *person) ask(f words) (words, error) {
	text, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	if err := p.conn.Write(p.t.Context(), websocket.MessageText, text); err != nil {
		return nil, err
	}
	for {
		if got, err := p.read(); err != nil || got["id"] == f["id"] {
			return got, err
		}
	}
}

func (p *person) read() (words, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	_, text, err := p.conn.Read(ctx)
	if err != nil {
		return nil, err
	}
	var f words
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, err
	}
	events, _ := f["events"].([]any)
	for _, e := range events {
		s, _ := e.(map[string]any)["sequence"].(float64)
		if s != p.last+1 {
			p.t.Errorf("event %v after %v", s, p.last)
		}
		p.last = s
	}
	return f, nil
}

// subscribe goes on after the last event that p has.
func (p *person) subscribe(con string) {
	p.t.Helper()
	if ack, err := p.ask(words{"type": "subscribe", "id": "s", "conversation": con, "after": p.last}); err != nil || ack["type"] != "ack" {
		p.t.Fatalf("subscribe: %v, %v", ack, err)
	}
}

// post sends a text until it is acknowledged, as a client does, and gives its sequence; 0 = it never was.
func (p *person) post(con, key string) float64 {
	for try := range 100 {
		got, err := p.ask(words{"type": "post", "id": fmt.Sprint(key, "/", try), "conversation": con, "client_id": key,
			"event_type": "text", "body": words{"text": key}})
		switch sequence, _ := got["sequence"].(float64); {
		case err == nil && got["type"] == "ack":
			return sequence
		case err != nil || got["recovery"] != "retry":
			p.t.Errorf("a text at another node is answered %v, %v", got, err)
			return 0
		}
	}
	p.t.Error("a text is never acknowledged")
	return 0
}

// reads reads until something holds, or to the end of the connection: then it gives its code.
func (p *person) reads(until func() bool) websocket.StatusCode {
	p.t.Helper()
	for until == nil || !until() {
		if _, err := p.read(); err != nil {
			if until != nil || websocket.CloseStatus(err) < 0 {
				p.t.Fatal(err)
			}
			return websocket.CloseStatus(err)
		}
	}
	return 0
}
