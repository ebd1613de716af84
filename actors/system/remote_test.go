package system

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	grains "parley/actors/grain"
	"parley/cluster/membership"
	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

func TestRequestsOfOneGoroutineArriveInOrder(t *testing.T) {
	st := newStage()
	var mu sync.Mutex
	got := map[string][]string{}
	st.receive = func(a *actorOn, req *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
		mu.Lock()
		got[req.Id] = append(got[req.Id], req.Command.ClientId)
		mu.Unlock()
		respond(a.reply())
	}
	nodes := openNodes(t, st, func(o *Options) { o.AttemptTimeout = time.Hour }) // nothing is sent twice
	lead(nodes, 1, 1)
	var group sync.WaitGroup
	const calls = 2000
	for _, from := range nodes { // each to its own identity, cold at the first request
		group.Add(calls)
		for i := range calls {
			from.Caller().AskAsync(context.Background(), post("CON-"+from.name, fmt.Sprint(i)), func(_ *nodev1.GrainReply, err error) {
				if err != nil {
					t.Error(err)
				}
				group.Done()
			})
		}
	}
	group.Wait()
	for id, list := range got {
		for i, clientID := range list {
			if clientID != fmt.Sprint(i) {
				t.Fatalf("%s: request %s at place %d", id, clientID, i)
			}
		}
		if len(list) != calls {
			t.Errorf("%s: %d requests", id, len(list))
		}
	}
}

func TestLargeBatchesArrive(t *testing.T) {
	nodes := openNodes(t, newStage())
	const count, size = 20_000, 8 << 10
	done := make(chan uint64, 1)
	var next uint64
	err := nodes[1].Listen("edge", func(msg proto.Message, _ func(proto.Message)) {
		next++
		b, ok := msg.(*nodev1.FanoutBatch)
		if !ok || b.Feed != next || len(b.Items[0].Id) != size {
			t.Errorf("message %d: feed %d", next, b.GetFeed())
		}
		if b.GetFeed() == count {
			done <- next
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	body := string(make([]byte, size))
	for i := range uint64(count) {
		if err := nodes[0].Send("n2", "edge", &nodev1.FanoutBatch{Feed: i + 1, Items: []*nodev1.Fanout{{Id: body}}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-done; got != count {
		t.Errorf("%d arrived", got)
	}
}

// TestFullBatchOfLargestMessages: what waits while the peer reads leaves as one batch, which must
// stay below what a peer accepts.
func TestFullBatchOfLargestMessages(t *testing.T) {
	if batchMax*(MessageSizeMax+envelopeOverhead) >= receiveMax {
		t.Fatalf("a batch of %d messages does not fit", batchMax)
	}
	nodes := openNodes(t, newStage())
	const count = batchMax + 8
	done := make(chan struct{})
	got := 0
	if err := nodes[1].Listen("edge", func(proto.Message, func(proto.Message)) {
		if got++; got == count {
			close(done)
		}
	}); err != nil {
		t.Fatal(err)
	}
	body := string(make([]byte, MessageSizeMax-64))
	for range count {
		if err := nodes[0].Send("n2", "edge", &nodev1.FanoutBatch{Items: []*nodev1.Fanout{{Id: body}}}); err != nil {
			t.Fatal(err)
		}
	}
	<-done
	if err := nodes[0].Send("n2", "edge", &nodev1.FanoutBatch{Items: []*nodev1.Fanout{{Id: body + body}}}); err == nil {
		t.Error("a message over the limit was taken")
	}
}

func TestTooLargeIsAnswered(t *testing.T) {
	st := newStage()
	st.receive = func(_ *actorOn, _ *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
		respond(&nodev1.GrainReply{Reply: &nodev1.Reply{Next: make([]byte, MessageSizeMax)}})
	}
	nodes := openNodes(t, st)
	lead(nodes, 1, 1)
	if _, err := ask(t, nodes[0], post("CON-1", ""), patience); !code.Has(err, code.TooLarge) {
		t.Errorf("answer: %v", err)
	}
	req := post("CON-1", "")
	req.Command.GetPostEvent().Body = make([]byte, MessageSizeMax)
	if _, err := ask(t, nodes[0], req, patience); !code.Has(err, code.TooLarge) {
		t.Errorf("request: %v", err)
	}
}

func TestDeadAddressFailsFast(t *testing.T) {
	n := openNode(t, "n1", newStage())
	nodes := []*node{n, openNode(t, "n2", newStage())}
	n.dir.SetAddress("n2", closedAddr(t))
	lead(nodes, 1, 1)
	for end := time.Now().Add(patience); dropped(n, dropUnavailable) == 0; { // the first attempt finds out, a later one is not even sent
		_, err := ask(t, n, get("CON-1"), 400*time.Millisecond)
		if e, _ := code.Of(err); !code.Has(err, code.Unavailable) || e.RetryAfter == 0 {
			t.Errorf("query: %v", err)
		}
		if time.Now().After(end) {
			t.Fatal("every attempt was sent")
		}
	}
	another := closedAddr(t)
	refuse(n.peers, another)
	n.dir.SetAddress("n2", another)
	lead(nodes, 1, 2)
	if _, err := ask(t, n, post("CON-1", ""), 200*time.Millisecond); !code.Has(err, code.Unavailable) {
		t.Errorf("a command that was never sent: %v", err)
	}
	if err := n.Send("n2", "edge", &nodev1.FanoutBatch{}); !code.Has(err, code.Unavailable) {
		t.Errorf("send: %v", err)
	}
	if err := n.Send("n9", "edge", &nodev1.FanoutBatch{}); !code.Has(err, code.Unavailable) {
		t.Errorf("send to a node without address: %v", err)
	}
}

// TestLeaderFoundAfterDeadAddress: the dead one's successor answers without waiting for
// connections to time out.
func TestLeaderFoundAfterDeadAddress(t *testing.T) {
	st := newStage()
	nodes := openNodes(t, st)
	nodes[0].dir.SetAddress("n2", closedAddr(t))
	lead(nodes, 1, 1)
	done := make(chan string, 1)
	nodes[0].Caller().AskAsync(context.Background(), post("CON-1", "m1"), func(r *nodev1.GrainReply, _ error) {
		done <- string(r.GetReply().GetNext())
	})
	lead(nodes, 2, 2)
	if got := <-done; got != "n3" {
		t.Errorf("answered by %q", got)
	}
}

// closedAddr is an address at which nobody listens, nor will before the test ends, but for the test itself: a socket
// has it.
func closedAddr(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	bound, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", bound.(*syscall.SockaddrInet4).Port)
}

func TestEndOfTimeTellsWhatMayHaveHappened(t *testing.T) {
	st := newStage()
	release := make(chan struct{})
	st.receive = func(a *actorOn, req *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
		st.note("received")
		<-release
		a.held = append(a.held, respond)
	}
	lonely := openNode(t, "n4", st)
	nodes := openNodes(t, st)
	lead(nodes, 1, 1)
	first, second := make(chan error, 1), make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	nodes[1].Caller().AskAsync(ctx, post("CON-1", ""), func(_ *nodev1.GrainReply, err error) { first <- err })
	st.await(t, "received")
	nodes[1].Caller().AskAsync(ctx, post("CON-1", ""), func(_ *nodev1.GrainReply, err error) { second <- err })
	cancel()
	if err := <-first; !code.Has(err, code.Unknown) {
		t.Errorf("delivered: %v", err)
	}
	if err := <-second; !code.Has(err, code.Unavailable) {
		t.Errorf("waited in the mailbox: %v", err)
	}
	if _, err := ask(t, nodes[0], post("CON-1", "m1"), 100*time.Millisecond); !code.Has(err, code.Unknown) {
		t.Errorf("sent to another node: %v", err)
	}
	close(release)
	if _, err := ask(t, lonely, post("CON-1", "m1"), 20*time.Millisecond); !code.Has(err, code.Unavailable) {
		t.Errorf("no leader known: %v", err)
	}
}

// TestARefusalAfterADoubt: a second attempt that surely did nothing says nothing of the first, which was not
// answered.
func TestARefusalAfterADoubt(t *testing.T) {
	for name, refusal := range map[string]*nodev1.Error{
		"not stored":  {Code: string(code.Unavailable), Exact: string(code.NotStored)},
		"unavailable": {Code: string(code.Unavailable)},
	} {
		t.Run(name, func(t *testing.T) {
			st := newStage()
			nodes := openNodes(t, st, func(o *Options) {
				if o.AttemptTimeout = time.Hour; o.NodeName == "n1" {
					o.AttemptTimeout = 100 * time.Millisecond
				}
			})
			attempts := 0 // of one mailbox
			st.receive = func(_ *actorOn, _ *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
				if attempts++; attempts > 1 {
					respond(&nodev1.GrainReply{Error: refusal})
				}
			}
			lead(nodes, 1, 1)
			if _, err := ask(t, nodes[0], post("CON-1", "m1"), patience); !code.Has(err, code.Unknown) {
				t.Errorf("after a doubt it is told as %v", err)
			}
			want, _ := code.Of(grains.CodedError(refusal))
			if _, err := ask(t, nodes[2], post("CON-1", "m2"), patience); !code.Has(err, want.Code) {
				t.Errorf("without a doubt it is told as %v", err)
			}
		})
	}
}

// TestLostConnection: the peer's process is gone with requests in hand.
func TestLostConnection(t *testing.T) {
	st := newStage()
	nodes := openNodes(t, st, func(o *Options) { o.AttemptTimeout = 100 * time.Millisecond })
	st.receive = func(a *actorOn, req *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
		if a.node == "n2" {
			st.note("received %s", req.Command.ClientId)
			return
		}
		respond(a.reply())
	}
	lead(nodes, 1, 1)
	type result struct {
		reply *nodev1.GrainReply
		err   error
	}
	results := map[string]chan result{"": make(chan result, 1), "m1": make(chan result, 1)}
	for id, c := range results {
		nodes[0].Caller().AskAsync(context.Background(), post("CON-1", id), func(r *nodev1.GrainReply, err error) { c <- result{r, err} })
		st.await(t, "received "+id)
	}
	nodes[0].peers.drop(nodes[1].Addr())
	for n := range keys.Shard(shards + 1) {
		nodes[0].dir.Announce(n, "n3", 2)
		nodes[2].dir.Set(shard.Lead{Shard: n, Node: "n3", Epoch: 2, Local: true, Ready: true})
	}
	if r := <-results["m1"]; r.err != nil || string(r.reply.Reply.Next) != "n3" {
		t.Errorf("with a client id: %v, %v", r.reply, r.err)
	}
	if r := <-results[""]; !code.Has(r.err, code.Unknown) {
		t.Errorf("without a client id: %v", r.err)
	}
}

func TestReceivers(t *testing.T) {
	nodes := openNodes(t, newStage())
	answer := func(msg proto.Message, respond func(proto.Message)) {
		respond(&nodev1.InterestReply{Head: msg.(*nodev1.Interest).Version + 1})
	}
	for _, n := range nodes[:2] {
		if err := n.Listen("interest", answer); err != nil {
			t.Fatal(err)
		}
	}
	if err := nodes[0].Listen("interest", answer); err == nil {
		t.Error("a name was taken twice")
	}
	for _, to := range []string{"n1", "n2"} {
		got, err := nodes[0].Request(context.Background(), to, "interest", &nodev1.Interest{Version: 6})
		if err != nil || got.(*nodev1.InterestReply).Head != 7 {
			t.Errorf("%s: %v, %v", to, got, err)
		}
	}
	if _, err := nodes[0].Request(context.Background(), "n3", "interest", &nodev1.Interest{}); !code.Has(err, code.Unavailable) {
		t.Errorf("nobody listens: %v", err)
	}
	if _, err := nodes[0].Request(context.Background(), "n2", "interest", &nodev1.Page{}); err == nil {
		t.Error("a message outside the closed set was sent")
	}
}

// TestStrangeMessagesDoNoHarm sends what would end the process without the gate.
func TestStrangeMessagesDoNoHarm(t *testing.T) {
	st := newStage()
	n := openNode(t, "n1", st)
	lead([]*node{n}, 0, 1)
	conn, err := grpc.NewClient(n.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := remote.NewRemotingClient(conn)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stream, err := client.Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	to := func(id string) []*actor.PID { return []*actor.PID{actor.NewPID(n.Addr(), id)} }
	request := nameOf(&nodev1.GrainRequest{})
	batches := []*remote.MessageBatch{
		{TypeNames: []string{"parley.node.v9.Unheard"}, Targets: to("shard-1"), Envelopes: []*remote.MessageEnvelope{{}}},
		{TypeNames: []string{request}, Targets: to("eventstream"), Envelopes: []*remote.MessageEnvelope{{}}},
		{TypeNames: []string{request}, Targets: to("activator"), Envelopes: []*remote.MessageEnvelope{{}}},
		{TypeNames: []string{"actor.Stop"}, Targets: to("shard-1"), Envelopes: []*remote.MessageEnvelope{{}}},
		{TypeNames: []string{request}, Targets: to("shard-1"), Envelopes: []*remote.MessageEnvelope{{TypeId: 7}}},
		{TypeNames: []string{request}, Targets: to("shard-1"), Envelopes: []*remote.MessageEnvelope{{Target: -1}}},
		{TypeNames: []string{request}, Targets: to("shard-1"), Envelopes: []*remote.MessageEnvelope{{Sender: 1}}},
		{TypeNames: []string{request}, Targets: to("shard-1"), Envelopes: []*remote.MessageEnvelope{{SerializerId: 5}}},
		{TypeNames: []string{request}, Targets: to("shard-1"), Envelopes: []*remote.MessageEnvelope{{}}}, // no sender
		{TypeNames: []string{request}, Targets: to("queries"), Envelopes: []*remote.MessageEnvelope{{}}},
	}
	for _, b := range batches {
		if err := stream.Send(&remote.RemoteMessage{MessageType: &remote.RemoteMessage_MessageBatch{MessageBatch: b}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for err == nil { // until the reader has read all and ended the stream
		_, err = stream.Recv()
	}
	if _, err := client.ListProcesses(ctx, &remote.ListProcessesRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("diagnostics: %v", err)
	}
	answeredBy(t, n, post("CON-1", ""))
	answeredBy(t, n, post("CON-2", ""))
	for s := range keys.Shard(shards + 1) { // behind what was sent to each placement
		req := post("", "")
		for i := 0; ; i++ {
			req.Id = fmt.Sprint("CON-", i)
			if got, _ := ShardOf(req, shards); got == s || s == keys.Meta {
				break
			}
		}
		answeredBy(t, n, req)
	}
	if got := dropped(n, dropForbidden); got != len(batches) {
		t.Errorf("%d of %d were dropped", got, len(batches))
	}
}

// TestRepliesOfAnotherLife: a node that was started again at the same address is not handed what
// was meant for its last incarnation.
func TestRepliesOfAnotherLife(t *testing.T) {
	st := newStage()
	addr := closedAddr(t)
	there := func(o *Options) { o.ListenAddr = addr }
	first := openNode(t, "n1", st, there)
	late := first.Caller().replyTo(callID{stripe: 1, number: 1})
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, other := openNode(t, "n1", st, there), openNode(t, "n2", st)
	other.dir.SetAddress("n1", addr)
	meet(t, other, second)
	w := &request{s: second.System, ctx: context.Background(), answer: make(chan proto.Message, stripes+1)}
	for range stripes { // one call in every stripe, with number 1
		second.Caller().table.put(w)
	}
	other.send(actor.NewPID(addr, late.Id), &nodev1.GrainReply{Reply: &nodev1.Reply{Next: []byte("secret")}}, nil)
	pid := &actor.PID{Address: addr, Id: late.Id, RequestId: 1}
	other.send(pid, &nodev1.GrainReply{Reply: &nodev1.Reply{Next: []byte("secret")}}, nil)
	second.dir.SetAddress("n2", other.Addr())
	meet(t, second, other) // its answer comes behind
	select {
	case m := <-w.answer:
		t.Errorf("got %v", m)
	default:
	}
}

// TestNodeThatComesBack: a view without a node costs its connections, never its way back.
func TestNodeThatComesBack(t *testing.T) {
	st := newStage()
	views := make(viewsOf, 1)
	far := openNode(t, "n2", st)
	near := openNode(t, "n1", st, func(o *Options) { o.Views = views })
	there := &membership.View{Nodes: []membership.Node{{Name: "n2", Meta: membership.Meta{RPC: far.Addr()}}}}
	heard := make(chan string, 1024)
	near.actors.EventStream.Subscribe(func(e any) {
		if gone, ok := e.(*remote.EndpointTerminatedEvent); ok {
			heard <- gone.Address
		}
	})
	lead([]*node{far, near}, 0, 1)
	views <- there
	for range 3 {
		if got := answeredBy(t, near, post("CON-1", "m1")); got != "n2@1" {
			t.Errorf("answered by %s", got)
		}
		for len(heard) > 0 { // a connection that could not be made at once
			<-heard
		}
		views <- &membership.View{}
		if got := <-heard; got != far.Addr() {
			t.Errorf("gave up %s", got)
		}
		views <- there
	}
	if len(heard) > 0 { // one loss is told once, and cuts no later connection
		t.Errorf("%d further losses", len(heard))
	}
}

type viewsOf chan *membership.View

func (v viewsOf) Watch() (<-chan *membership.View, func()) { return v, func() {} }
