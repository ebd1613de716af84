package system

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

func TestGrainLivesOnTheLeaderAlone(t *testing.T) {
	st := newStage()
	nodes := openNodes(t, st)
	lead(nodes, 1, 5)
	for _, n := range nodes {
		if got := answeredBy(t, n, post("CON-1", "")); got != "n2@5" {
			t.Errorf("%s was answered by %s", n.name, got)
		}
	}
	if got := []int{nodes[0].Activations(), nodes[1].Activations(), nodes[2].Activations()}; got[0]+got[2] != 0 || got[1] != 1 {
		t.Errorf("activations: %v", got)
	}
	if reply, err := ask(t, nodes[0], get("CON-1"), patience); err != nil || string(reply.Reply.Next) != "n2 reads" {
		t.Errorf("query: %v, %v", reply, err)
	}
	if reply, err := ask(t, nodes[1], get("CON-1"), patience); err != nil || string(reply.Reply.Next) != "n2 reads" {
		t.Errorf("query at the leader: %v, %v", reply, err)
	}
	if st.count("n2 activates CON-1@5") != 1 {
		t.Errorf("events: %q", st.events)
	}
}

func TestLocalCallsPassPointers(t *testing.T) {
	st := newStage()
	var seen *nodev1.GrainRequest
	reply := &nodev1.GrainReply{Reply: &nodev1.Reply{}}
	st.receive = func(_ *actorOn, req *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
		seen = req
		respond(reply)
	}
	n := openNode(t, "n1", st)
	lead([]*node{n}, 0, 1)
	req := post("CON-1", "")
	got, err := ask(t, n, req, patience)
	if err != nil || seen != req || got != reply {
		t.Errorf("request or reply was copied: %v", err)
	}
}

func TestNothingLivesBeforeTheLeaderIsReady(t *testing.T) {
	st := newStage()
	n := openNode(t, "n1", st)
	s, _ := ShardOf(post("CON-1", ""), shards)
	n.dir.Set(shard.Lead{Shard: s, Node: "n1", Epoch: 3, Local: true})
	done := make(chan *nodev1.GrainReply, 1)
	n.Caller().AskAsync(context.Background(), post("CON-1", ""), func(r *nodev1.GrainReply, _ error) { done <- r })
	if n.Activations() != 0 {
		t.Error("activated before readiness")
	}
	n.dir.Set(shard.Lead{Shard: s, Node: "n1", Epoch: 3, Local: true, Ready: true})
	if r := <-done; r.GetEpoch() != 3 {
		t.Errorf("reply %v", r)
	}
}

func TestEpochMoveReroutesWithinAnAttempt(t *testing.T) {
	st := newStage()
	st.receive = func(a *actorOn, _ *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
		if a.id.Epoch == 5 {
			a.stage.note("held")
			return // a leader that was cut off: it never answers
		}
		respond(a.reply())
	}
	nodes := openNodes(t, st, func(o *Options) { o.AttemptTimeout = time.Hour })
	lead(nodes, 1, 5)
	done := make(chan string, 1)
	nodes[0].Caller().AskAsync(context.Background(), post("CON-1", "m1"), func(r *nodev1.GrainReply, err error) {
		done <- string(r.GetReply().GetNext())
	})
	st.await(t, "held")
	for n := range keys.Shard(shards + 1) { // n2 itself does not hear of it
		nodes[0].dir.Announce(n, "n3", 6)
		nodes[2].dir.Set(shard.Lead{Shard: n, Node: "n3", Epoch: 6, Local: true, Ready: true})
	}
	if got := <-done; got != "n3" {
		t.Errorf("answered by %q", got)
	}
}

func TestOldGenerationRefusesWhatWaits(t *testing.T) {
	st := newStage()
	enter, leave := make(chan struct{}, 1), make(chan struct{})
	st.receive = func(a *actorOn, req *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
		if a.id.Epoch == 5 {
			enter <- struct{}{}
			<-leave
		}
		a.stage.note("%s received %s@%d", a.node, req.Command.ClientId, a.id.Epoch)
		respond(a.reply())
	}
	nodes := openNodes(t, st)
	lead(nodes, 1, 5)
	results := make(chan uint64, 3)
	for _, id := range []string{"m1", "m2", "m3"} { // none may be sent twice: they would be executed twice
		req := post("CON-1", "")
		req.Command.ClientId = ""
		req.Command.GetPostEvent().Type = id
		nodes[1].Caller().AskAsync(context.Background(), req, func(r *nodev1.GrainReply, err error) { results <- r.GetEpoch() })
	}
	<-enter // the first is being worked on, two wait in the mailbox
	lead(nodes, 1, 6)
	close(leave)
	got := map[uint64]int{}
	for range 3 {
		got[<-results]++
	}
	if got[5] != 1 || got[6] != 2 {
		t.Errorf("answers by epoch: %v", got)
	}
	if st.count("n2 stops CON-1@5") != 1 || st.crowded {
		t.Errorf("events: %q, crowded: %v", st.events, st.crowded)
	}
}

func TestPanicEndsOneActivation(t *testing.T) {
	st := newStage()
	st.receive = func(a *actorOn, req *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
		switch req.Command.GetPostEvent().Type {
		case "hold":
			a.busy = true
			st.note("held")
		case "panic":
			a.stage.live(a.node+"/"+a.id.ID, -1)
			panic("invariant broken: on purpose")
		default:
			respond(a.reply())
		}
	}
	n := openNode(t, "n1", st)
	lead([]*node{n}, 0, 1)
	of := func(id, kind string) *nodev1.GrainRequest {
		r := post(id, "")
		r.Command.GetPostEvent().Type = kind
		return r
	}
	answeredBy(t, n, of("CON-2", "text"))
	errs := make(chan error, 2)
	n.Caller().AskAsync(context.Background(), of("CON-1", "hold"), func(_ *nodev1.GrainReply, err error) { errs <- err })
	st.await(t, "held")
	n.Caller().AskAsync(context.Background(), of("CON-1", "panic"), func(_ *nodev1.GrainReply, err error) { errs <- err })
	for range 2 {
		if err := <-errs; !code.Has(err, code.Unknown) {
			t.Errorf("a request that the activation had: %v", err)
		}
	}
	answeredBy(t, n, of("CON-1", "text"))
	answeredBy(t, n, of("CON-2", "text"))
	if st.count("n1 abandons CON-1") != 1 || st.count("n1 abandons CON-2") != 0 {
		t.Errorf("the broken activation was not told: %q", st.events)
	}
	if st.count("n1 activates CON-1@1") != 2 || st.count("n1 activates CON-2@1") != 1 {
		t.Errorf("events: %q", st.events)
	}
	for range 30 { // beyond what supervision restarts: the actor is stopped, and made anew
		if _, err := ask(t, n, of("CON-1", "panic"), patience); !code.Has(err, code.Unknown) {
			t.Fatalf("panic: %v", err)
		}
	}
	answeredBy(t, n, of("CON-1", "text"))
}

// TestAPanicWhileItIsGivenUp: who asked a broken activation is told also when that panics again, and the next
// one is made.
func TestAPanicWhileItIsGivenUp(t *testing.T) {
	st := newStage()
	st.fragile = true
	broken := true
	st.receive = func(a *actorOn, _ *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
		if broken {
			a.stage.live(a.node+"/"+a.id.ID, -1)
			broken = false
			panic("invariant broken: on purpose")
		}
		respond(a.reply())
	}
	n := openNode(t, "n1", st)
	lead([]*node{n}, 0, 1)
	if _, err := ask(t, n, post("CON-1", ""), patience); !code.Has(err, code.Unknown) {
		t.Errorf("who asked is told: %v", err)
	}
	answeredBy(t, n, post("CON-1", ""))
	if st.count("n1 activates CON-1@1") != 2 || st.count("n1 abandons CON-1") != 1 {
		t.Errorf("events: %q", st.events)
	}
}

func TestPassivation(t *testing.T) {
	st := newStage()
	hold := make(chan func(*nodev1.GrainReply), 1)
	st.receive = func(a *actorOn, req *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
		if req.Command.GetPostEvent().Type == "hold" {
			hold <- respond
			return
		}
		respond(a.reply())
	}
	n := openNode(t, "n1", st, func(o *Options) {
		o.PassivateTick = time.Hour // the test ticks
		o.Kinds[0].PassivateAfter = 2 * time.Hour
	})
	lead([]*node{n}, 0, 1)
	answeredBy(t, n, post("CON-1", ""))
	n.tick()
	n.tick()
	answeredBy(t, n, post("CON-1", "")) // used again: the count starts anew
	n.tick()
	n.tick()
	if st.count("n1 stops CON-1@1") != 0 {
		t.Fatal("passivated early")
	}
	n.tick()
	st.await(t, "n1 stops CON-1@1")

	req := post("CON-1", "")
	req.Command.GetPostEvent().Type = "hold"
	done := make(chan error, 1)
	n.Caller().AskAsync(context.Background(), req, func(_ *nodev1.GrainReply, err error) { done <- err })
	respond := <-hold
	for range 5 {
		n.tick()
	}
	answeredBy(t, n, post("CON-1", "")) // behind the ticks in every mailbox
	if st.count("n1 stops CON-1@1") != 1 {
		t.Error("passivated while a request waits for its answer")
	}
	respond(&nodev1.GrainReply{})
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestPassivationLosesNothing lets requests meet the end of their grain.
func TestPassivationLosesNothing(t *testing.T) {
	st := newStage()
	n := openNode(t, "n1", st, func(o *Options) {
		o.PassivateTick = time.Hour
		o.Kinds[0].PassivateAfter = time.Nanosecond
	})
	lead([]*node{n}, 0, 1)
	answeredBy(t, n, post("CON-1", ""))
	for i := range 3000 { // the tick and what follows from it race with the request
		n.tick()
		if i%1000 == 0 {
			st.await(t, "n1 stops CON-1@1") // a single processor lets the request win every race
		}
		answeredBy(t, n, post("CON-1", ""))
	}
	if st.count("n1 activates CON-1@1") < 2 {
		t.Error("never passivated")
	}
	if st.crowded {
		t.Error("two activations of one identity at once")
	}
}

func TestPostedMessagesArriveInOrder(t *testing.T) {
	st := newStage()
	var last *actorOn
	st.receive = func(a *actorOn, _ *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
		last = a
		for i := range 100 {
			a.post(i)
		}
		respond(a.reply())
	}
	n := openNode(t, "n1", st)
	lead([]*node{n}, 0, 1)
	answeredBy(t, n, post("CON-1", ""))
	st.await(t, "woken 99")
	for i, m := range last.woken {
		if m != i {
			t.Fatalf("message %d is %v", i, m)
		}
	}
	lead([]*node{n}, 0, 2)
	st.await(t, "n1 stops CON-1@1")
	last.post("late")
	answeredBy(t, n, post("CON-1", ""))
	if st.count("woken late") != 0 {
		t.Error("woken after its end")
	}
}

func TestLimitsAreAnswered(t *testing.T) {
	st := newStage()
	hold := make(chan func(*nodev1.GrainReply), 16)
	st.receive = func(_ *actorOn, _ *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) { hold <- respond }
	tests := []struct {
		name   string
		set    setting
		reason string
	}{
		{"a grain", func(o *Options) { o.WaitingPerGrain = 3 }, dropGrainFull},
		{"a node", func(o *Options) { o.WaitingPerNode = 3 }, dropNodeFull},
		{"calls", func(o *Options) { o.CallsMax = 3 }, dropCallsFull},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			n := openNode(t, "n1", st, test.set)
			lead([]*node{n}, 0, 1)
			var answered atomic.Int32
			errs := make(chan error, 4)
			for range 4 {
				n.Caller().AskAsync(context.Background(), post("CON-1", ""), func(_ *nodev1.GrainReply, err error) { answered.Add(1); errs <- err })
			}
			err := <-errs
			e, _ := code.Of(err)
			if !code.Has(err, code.Unavailable) || e.RetryAfter != time.Second {
				t.Errorf("the fourth: %v", err)
			}
			for range 3 {
				(<-hold)(&nodev1.GrainReply{})
			}
			for range 3 {
				if err := <-errs; err != nil {
					t.Error(err)
				}
			}
			if n.waiting.Load() != 0 || dropped(n, test.reason) != 1 {
				t.Errorf("waiting %d, dropped %d", n.waiting.Load(), dropped(n, test.reason))
			}
			go0 := post("CON-1", "")
			n.Caller().AskAsync(context.Background(), go0, func(_ *nodev1.GrainReply, err error) { errs <- err })
			(<-hold)(&nodev1.GrainReply{})
			if err := <-errs; err != nil {
				t.Errorf("after the others were answered: %v", err)
			}
		})
	}
}
