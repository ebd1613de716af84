package system

import (
	"testing"
	"time"

	"parley/cluster/directory"
	"parley/cluster/shard"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// TestCutOffCallsEndEarly: without a leader that answers, a call ends long before its deadline, and
// says whether it may have happened.
func TestCutOffCallsEndEarly(t *testing.T) {
	brief := func(o *Options) { o.LeaderlessMax = 100 * time.Millisecond }
	st := newStage()
	st.receive = func(a *actorOn, _ *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) {
		a.held = append(a.held, respond) // like a node whose answers are lost
		st.note("received")
	}
	near, far := openNode(t, "n1", st, brief), openNode(t, "n2", st)
	near.dir.SetAddress("n2", far.Addr())
	const deadline = 10 * time.Minute // the test's own time is over sooner
	if _, err := ask(t, near, post("CON-1", "m1"), deadline); !code.Has(err, code.Unavailable) {
		t.Errorf("no leader known: %v", err)
	}
	meet(t, near, far)
	lead([]*node{near, far}, 1, 1)
	for _, req := range []*nodev1.GrainRequest{post("CON-1", "m1"), post("CON-1", "")} {
		if _, err := ask(t, near, req, deadline); !code.Has(err, code.Unknown) {
			t.Errorf("a silent leader, client id %q: %v", req.Command.ClientId, err)
		}
	}
	st.await(t, "received")
}

// TestLeaderless says after what a call counts as without a leader.
func TestLeaderless(t *testing.T) {
	n := openNode(t, "n1", newStage())
	made := time.Now()
	past := made.Add(n.o.LeaderlessMax)
	remote := directory.Lead{Lead: shard.Lead{Shard: 1, Node: "n2", Epoch: 1}, Addr: "there"}
	for name, c := range map[string]struct {
		call     call
		answered time.Time
		want     bool
	}{
		"parked without a leader":        {call: call{stuck: true}, want: true},
		"parked between two attempts":    {call: call{lead: remote}},
		"in flight here":                 {call: call{flying: true, local: &inbound{}}},
		"in flight to a silent node":     {call: call{flying: true, lead: remote}, want: true},
		"to a node that answered before": {call: call{flying: true, lead: remote}, answered: made.Add(-time.Second), want: true},
		"to a node that answers others":  {call: call{flying: true, lead: remote}, answered: made.Add(time.Millisecond)},
	} {
		n.peers.answered(remote.Addr, c.answered)
		c.call.c, c.call.since = n.Caller(), made
		if c.call.leaderless(&review{now: past.Add(-1)}) {
			t.Errorf("%s: too early", name)
		}
		if got := c.call.leaderless(&review{now: past}); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
