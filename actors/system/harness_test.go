package system

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"parley/cluster/directory"
	"parley/cluster/shard"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const shards = 8

// patience is more than anything needs that comes at all, also on a machine that does other things too.
const patience = 5 * time.Minute

// node is one System with its directory, in this process, on its own port.
type node struct {
	*System
	name  string
	dir   *directory.Table
	stage *stage
}

// stage records what the activations of all nodes do, and lets a test act inside them.
type stage struct {
	mu      sync.Mutex
	events  []string
	living  map[string]int // "node/id" -> live activations
	crowded bool           // two of one identity lived on one node at once
	heard   chan string    // every event, for tests that wait for one

	// receive is called by every activation for every request; nil = answer at once.
	receive func(a *actorOn, req *nodev1.GrainRequest, respond func(*nodev1.GrainReply))
	// fragile activations panic when they are given up.
	fragile bool
}

func newStage() *stage { return &stage{living: map[string]int{}, heard: make(chan string, 1<<16)} }

func (s *stage) note(format string, args ...any) {
	e := fmt.Sprintf(format, args...)
	s.mu.Lock()
	s.events = append(s.events, e)
	s.mu.Unlock()
	s.heard <- e
}

func (s *stage) live(key string, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.living[key] += by; s.living[key] > 1 {
		s.crowded = true
	}
}

func (s *stage) count(event string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, e := range s.events {
		if e == event {
			n++
		}
	}
	return n
}

// await returns when event has happened since the last await.
func (s *stage) await(t *testing.T, event string) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-s.heard:
			if e == event {
				return
			}
		case <-timeout:
			t.Fatalf("%q has not happened; events: %q", event, s.events)
		}
	}
}

// actorOn is an Activation on a node.
type actorOn struct {
	stage *stage
	node  string
	id    Identity
	post  func(any)
	held  []func(*nodev1.GrainReply)
	woken []any
	busy  bool
}

func (a *actorOn) Receive(req *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
	if a.stage.receive != nil {
		a.stage.receive(a, req, respond)
		return
	}
	respond(a.reply())
}

func (a *actorOn) reply() *nodev1.GrainReply {
	return &nodev1.GrainReply{Epoch: uint64(a.id.Epoch), Reply: &nodev1.Reply{Next: []byte(a.node)}}
}

func (a *actorOn) Wake(msg any) { a.woken = append(a.woken, msg); a.stage.note("woken %v", msg) }
func (a *actorOn) Idle() bool   { return len(a.held) == 0 && !a.busy }

func (a *actorOn) Abandon() {
	a.stage.note("%s abandons %s", a.node, a.id.ID)
	if a.stage.fragile {
		panic("nothing is right any more")
	}
}

func (a *actorOn) Stop() {
	for _, respond := range a.held {
		respond(&nodev1.GrainReply{NotLeader: true})
	}
	a.stage.live(a.node+"/"+a.id.ID, -1)
	a.stage.note("%s stops %s@%d", a.node, a.id.ID, a.id.Epoch)
}

type setting func(*Options)

func openNode(t *testing.T, name string, st *stage, settings ...setting) *node {
	t.Helper()
	dir := directory.New(name, shards)
	o := DefaultOptions()
	o.NodeName, o.ListenAddr, o.Directory = name, "127.0.0.1:0", dir
	o.CallTimeout, o.LeaderlessMax, o.StopTimeout = patience, patience, patience
	o.Logger, o.Metrics = slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	o.Kinds = []Kind{{Kind: nodev1.Kind_KIND_CONVERSATION, Name: "conversation", Activate: func(id Identity, post func(any)) Activation {
		st.live(name+"/"+id.ID, 1)
		st.note("%s activates %s@%d", name, id.ID, id.Epoch)
		return &actorOn{stage: st, node: name, id: id, post: post}
	}}}
	o.Querier = func(req *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
		respond(&nodev1.GrainReply{Reply: &nodev1.Reply{Next: []byte(name + " reads")}})
	}
	for _, set := range settings {
		set(&o)
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Listen(greeting, func(_ proto.Message, respond func(proto.Message)) { respond(&nodev1.InterestReply{}) }); err != nil {
		t.Fatal(err)
	}
	return &node{System: s, name: name, dir: dir, stage: st}
}

// openNodes makes n1..n3, which know each other's addresses and are connected.
func openNodes(t *testing.T, st *stage, settings ...setting) []*node {
	t.Helper()
	var nodes []*node
	for _, name := range []string{"n1", "n2", "n3"} {
		nodes = append(nodes, openNode(t, name, st, settings...))
	}
	for _, a := range nodes {
		for _, b := range nodes {
			a.dir.SetAddress(b.name, b.Addr())
		}
	}
	for i, a := range nodes {
		for _, b := range nodes[i+1:] {
			meet(t, a, b)
		}
	}
	return nodes
}

// greeting is the name of a receiver that every node has.
const greeting = "greeting"

// meet returns when there is a connection each way between two nodes, of which the first knows the other's address. To
// make one may fail on a busy machine: what was to go over it is lost, or asked again out of its order.
func meet(t *testing.T, a, b *node) {
	t.Helper()
	again, late := time.NewTicker(10*time.Millisecond), time.NewTimer(patience)
	defer again.Stop()
	defer late.Stop()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := a.Request(ctx, b.name, greeting, &nodev1.Interest{})
		cancel()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-late.C:
			t.Fatalf("%s does not reach %s: %v", a.name, b.name, err)
		}
	}
}

// lead makes node the leader of all shards in epoch, in every directory.
func lead(nodes []*node, leader int, epoch shard.Epoch) {
	for n := range keys.Shard(shards + 1) {
		leadShard(nodes, leader, n, epoch)
	}
}

func leadShard(nodes []*node, leader int, n keys.Shard, epoch shard.Epoch) {
	for i, node := range nodes {
		if i == leader {
			node.dir.Set(shard.Lead{Shard: n, Node: node.name, Epoch: epoch, Local: true, Ready: true})
		} else {
			node.dir.Announce(n, nodes[leader].name, epoch)
		}
	}
}

func post(id, clientID string) *nodev1.GrainRequest {
	return &nodev1.GrainRequest{Kind: nodev1.Kind_KIND_CONVERSATION, ApplicationId: "app", Id: id,
		Command: &nodev1.Command{ClientId: clientID, Body: &nodev1.Command_PostEvent{PostEvent: &nodev1.PostEvent{Type: "text"}}}}
}

func get(id string) *nodev1.GrainRequest {
	return &nodev1.GrainRequest{Kind: nodev1.Kind_KIND_CONVERSATION, ApplicationId: "app", Id: id,
		Query: &nodev1.Query{Body: &nodev1.Query_GetConversation{GetConversation: &nodev1.GetConversation{}}}}
}

func ask(t *testing.T, n *node, req *nodev1.GrainRequest, timeout time.Duration) (*nodev1.GrainReply, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return n.Caller().Ask(ctx, req)
}

// answeredBy asks and gives "node@epoch".
func answeredBy(t *testing.T, n *node, req *nodev1.GrainRequest) string {
	t.Helper()
	reply, err := ask(t, n, req, patience)
	if err != nil {
		t.Fatalf("ask %s from %s: %v", req.Id, n.name, err)
	}
	return fmt.Sprintf("%s@%d", reply.Reply.Next, reply.Epoch)
}

// refuse has no message to addr leave, as a failed dial does, for longer than a test.
func refuse(p *peers, addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of(addr).refused = time.Now().Add(time.Hour)
}

func dropped(n *node, reason string) int {
	return int(testutil.ToFloat64(n.metrics.dropped.WithLabelValues(reason)))
}
