package runtime_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/actors/driver"
	"parley/actors/runtime"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// patience is far more than a change of a small cluster takes, also on a machine that does other things too.
const patience = 4 * time.Minute

// member is one node of a cluster in this process, on a disk that outlives it.
type member struct {
	*runtime.Runtime
	name string
	fs   vfs.FS
	edge *ear
}

// start opens a node of a cluster; it does not wait.
func start(t testing.TB, name string, fs vfs.FS, join ...string) *member {
	t.Helper()
	return startWith(t, name, fs, func(*runtime.Options) {}, join...)
}

// startWith is start with options of the test's own. Under the race detector several nodes in one
// process need "make race-nodes": each sets gRPC's logger, a variable that connections read without
// a lock.
func startWith(t testing.TB, name string, fs vfs.FS, set func(*runtime.Options), join ...string) *member {
	t.Helper()
	if racing {
		t.Skip("several nodes in one process set gRPC's global logger while connections read it")
	}
	m := &member{name: name, fs: fs, edge: newEar()}
	o := options(t, fs)
	o.NodeName, o.Join, o.Edge = name, join, m.edge
	set(&o)
	r, err := runtime.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	m.Runtime = r
	return m
}

// ready waits until the node serves.
func (m *member) ready(t testing.TB) *member {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := m.WaitReady(ctx); err != nil {
		t.Fatalf("%s: %v", m.name, err)
	}
	return m
}

// until looks at the cluster through m until it is as wanted.
func (m *member) until(t testing.TB, what string, wanted func(*driver.Picture) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var last *driver.Picture
	for {
		p, err := m.Picture(ctx)
		if err == nil {
			if wanted(p) {
				return
			}
			last = p
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s never came: %v\n%s", what, err, describe(last))
		}
	}
}

func describe(p *driver.Picture) string {
	if p == nil {
		return "nothing was seen"
	}
	text := ""
	for _, n := range p.View.Nodes {
		text += fmt.Sprintf("%+v\n", n)
	}
	for _, s := range p.View.Shards {
		text += fmt.Sprintf("%+v\n", s)
	}
	return text
}

// healed says that every shard has all the voters it could have, and nothing is under way.
func healed(members int) func(*driver.Picture) bool {
	return func(p *driver.Picture) bool {
		if len(p.Members()) != members || p.View.UnderReplicated() > 0 {
			return false
		}
		for i := range p.View.Shards {
			if p.Busy(&p.View.Shards[i]) {
				return false
			}
		}
		return true
	}
}

// leads counts the shards that each node leads.
func leads(p *driver.Picture) map[string]int {
	n := map[string]int{}
	for _, s := range p.View.Shards {
		for _, m := range s.Members {
			if m.ID == s.Leader {
				n[m.Node]++
			}
		}
	}
	return n
}

// grow makes a cluster of three.
func grow(t testing.TB) []*member {
	t.Helper()
	a := start(t, "a", vfs.NewMem()).ready(t)
	b := start(t, "b", vfs.NewMem(), a.Addresses().Gossip)
	c := start(t, "c", vfs.NewMem(), a.Addresses().Gossip)
	b.ready(t)
	c.ready(t)
	a.until(t, "a cluster of three", healed(3))
	return []*member{a, b, c}
}

// TestGrowth makes three nodes of one, and walks the main job through each of them.
func TestGrowth(t *testing.T) {
	all := grow(t)
	for _, m := range all {
		defer closed(t, m.Runtime)
	}
	all[1].until(t, "spread leaders", func(p *driver.Picture) bool {
		l := leads(p)
		return l["a"] > 0 && l["b"] > 0 && l["c"] > 0
	})
	ctx := t.Context()
	con, _, err := all[0].API().CreateConversation(ctx, admin, "", &eventv1.Conversation{Name: "tea"})
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range all {
		u := newUser(t, m.API(), m.name)
		join(t, m.API(), con.Id, u.Id)
		if _, err := m.API().Post(ctx, as(u), con.Id, "", text("hello")); err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		l, err := m.API().ListEvents(ctx, admin, con.Id, &nodev1.ListEvents{})
		if err != nil || len(l.Events) != 2*(i+1) {
			t.Fatalf("%s lists %d events: %v", m.name, len(l.GetEvents()), err)
		}
	}
}

// TestTwoNodesAreOneVoter: with two nodes every shard has one voter and one learner.
func TestTwoNodesAreOneVoter(t *testing.T) {
	a := start(t, "a", vfs.NewMem()).ready(t)
	defer closed(t, a.Runtime)
	b := start(t, "b", vfs.NewMem(), a.Addresses().Gossip).ready(t)
	defer closed(t, b.Runtime)
	b.until(t, "a learner of every shard", func(p *driver.Picture) bool {
		for i := range p.View.Shards {
			s := &p.View.Shards[i]
			if p.Busy(s) || len(s.Members) != 2 || s.Members[0].Voter == s.Members[1].Voter {
				return false
			}
		}
		return p.View.UnderReplicated() == len(p.View.Shards)
	})
	newConversation(t, b.API(), "", "tea")
}

// TestNodeDiesAndComesBack: with one of three gone, the other two go on; when it is back, so is
// every replica.
func TestNodeDiesAndComesBack(t *testing.T) {
	all := grow(t)
	a, b, c := all[0], all[1], all[2]
	defer closed(t, a.Runtime)
	defer closed(t, b.Runtime)
	con, ann := newConversation(t, a.API(), "", "tea"), newUser(t, a.API(), "ann")
	join(t, a.API(), con.Id, ann.Id)
	closed(t, c.Runtime) // without a word: the others see a failure
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for i := range 20 {
		if _, err := all[i%2].API().Post(ctx, as(ann), con.Id, fmt.Sprint("c", i), text("hi")); err != nil {
			t.Fatal(i, err)
		}
	}
	a.until(t, "a missing node", func(p *driver.Picture) bool { return p.View.UnderReplicated() == len(p.View.Shards) })
	c = start(t, "c", c.fs, a.Addresses().Gossip).ready(t)
	defer closed(t, c.Runtime)
	c.until(t, "three again", healed(3))
	l, err := c.API().ListEvents(ctx, admin, con.Id, &nodev1.ListEvents{})
	if err != nil || len(l.Events) != 21 {
		t.Fatal(len(l.GetEvents()), err)
	}
}

// TestDrainAndRemove adds a fourth node, drains the first, removes it, and refuses its old disk.
func TestDrainAndRemove(t *testing.T) {
	all := grow(t)
	a, b, c := all[0], all[1], all[2]
	defer closed(t, b.Runtime)
	defer closed(t, c.Runtime)
	d := start(t, "d", vfs.NewMem(), b.Addresses().Gossip).ready(t)
	defer closed(t, d.Runtime)
	d.until(t, "a cluster of four", healed(4))
	con := newConversation(t, d.API(), "", "tea")

	ctx := t.Context()
	if err := d.SetMember(ctx, "a", eventv1.StoreState_STORE_STATE_DRAINING, false); err != nil {
		t.Fatal(err)
	}
	d.until(t, "a node that leads nothing", func(p *driver.Picture) bool { return leads(p)["a"] == 0 && len(p.Seen) == len(p.Maps) })
	<-a.Drains()
	if err := c.SetMember(ctx, "a", eventv1.StoreState_STORE_STATE_REMOVING, false); err != nil {
		t.Fatal(err)
	}
	d.until(t, "three without the first", func(p *driver.Picture) bool {
		for _, m := range p.Maps {
			for _, r := range m.Replicas {
				if r.Node == "a" {
					return false
				}
			}
		}
		return healed(3)(p)
	})
	told, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-a.Expelled():
	case <-told.Done():
		t.Fatal("the removed node was not told")
	}
	closed(t, a.Runtime)
	if _, _, err := getConversation(ctx, d, con.Id); err != nil {
		t.Fatal(err)
	}

	again := start(t, "a", a.fs, b.Addresses().Gossip)
	defer closed(t, again.Runtime)
	if err := again.WaitReady(ctx); err == nil || again.WhyExpelled() == nil {
		t.Fatalf("a removed disk came back: %v", err)
	}
}

func getConversation(ctx context.Context, m *member, con string) (*eventv1.Conversation, *eventv1.Head, error) {
	reply, err := m.API().GetConversation(ctx, admin, con, false)
	return reply.GetConversation(), reply.GetHead(), err
}

// TestHandover: a node that is stopped properly leads nothing any more when it goes.
func TestHandover(t *testing.T) {
	all := grow(t)
	defer closed(t, all[1].Runtime)
	defer closed(t, all[2].Runtime)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := all[0].Drain(ctx); err != nil {
		t.Fatal(err)
	}
	led := func(p *driver.Picture) bool { return len(p.Seen) == len(p.Maps) && leads(p)["a"] == 0 }
	all[1].until(t, "all shards led by others while it is there", led)
	if err := all[0].Leave(ctx); err != nil {
		t.Fatal(err)
	}
	closed(t, all[0].Runtime)
	all[1].until(t, "all shards led when it has gone", led)
}

// TestRemovalKeepsThree: fewer than three nodes need force, and the last one stays.
func TestRemovalKeepsThree(t *testing.T) {
	all := grow(t)
	a, b, c := all[0], all[1], all[2]
	defer closed(t, a.Runtime)
	defer closed(t, b.Runtime)
	ctx := t.Context()
	if err := a.SetMember(ctx, "c", eventv1.StoreState_STORE_STATE_REMOVING, false); !code.Has(err, code.ClusterState) {
		t.Fatal(err)
	}
	if err := a.SetMember(ctx, "c", eventv1.StoreState_STORE_STATE_REMOVING, true); err != nil {
		t.Fatal(err)
	}
	a.until(t, "one voter and one learner", func(p *driver.Picture) bool {
		for i := range p.View.Shards {
			s := &p.View.Shards[i]
			if p.Busy(s) || len(s.Members) != 2 || s.Members[0].Voter == s.Members[1].Voter {
				return false
			}
		}
		return len(p.Members()) == 2
	})
	closed(t, c.Runtime)
	newConversation(t, b.API(), "", "tea")
}

// TestEventsCrossNodes: an edge hears every event of a conversation, whichever node leads it, also
// after the leader has gone.
func TestEventsCrossNodes(t *testing.T) {
	all := grow(t)
	a, b := all[0], all[1]
	defer closed(t, a.Runtime)
	defer closed(t, b.Runtime)
	ann := newUser(t, a.API(), "ann")
	for i := range 8 { // over several leaders
		con := newConversation(t, a.API(), "", fmt.Sprint("tea", i))
		join(t, a.API(), con.Id, ann.Id)
		b.hears(t, all, con.Id, ann, 5)
	}
	closed(t, all[2].Runtime)
}

// interest registers the node's edge for a conversation, and gives the head above which it hears everything.
func (m *member) interest(t testing.TB, con string) (head uint64) {
	t.Helper()
	m.until(t, "somebody who leads the conversation", func(*driver.Picture) bool {
		told, err := m.API().Interest(t.Context(), &nodev1.Interest{Version: 1, ApplicationId: app, Id: con})
		head = told.GetHead()
		return err == nil
	})
	return head
}

// hears registers the node's edge for a conversation, posts texts through nodes in turn, and checks that the edge hears
// each once and in order. It does that again when the edge is told meanwhile that something may be lost, as with a lead
// that moves.
func (m *member) hears(t testing.TB, through []*member, con string, ann *eventv1.User, texts int) {
	t.Helper()
	const attempts = 20
	for range attempts {
		losses := m.edge.losses()
		head := m.interest(t, con)
		for n := range texts {
			client := fmt.Sprint("above ", head, " ", n)
			if _, err := through[n%len(through)].API().Post(t.Context(), as(ann), con, client, text("hi")); err != nil {
				t.Fatal(err)
			}
		}
		heard, whole := m.edge.await(t, con, head, texts, losses)
		if !whole {
			continue
		}
		for n, s := range heard {
			if s != head+uint64(n)+1 {
				t.Fatalf("event %d was heard as number %d", s, n+1)
			}
		}
		return
	}
	t.Fatalf("of %d attempts in each something may be lost", attempts)
}

// TestAnApplicationIsKnownEverywhere: what one node was told about an application, every other
// node knows when it is asked, also one without a replica of the meta shard.
func TestAnApplicationIsKnownEverywhere(t *testing.T) {
	all := grow(t)
	d := start(t, "d", vfs.NewMem(), all[0].Addresses().Gossip).ready(t)
	all = append(all, d)
	for _, m := range all {
		defer closed(t, m.Runtime)
	}
	for i, m := range all {
		made, err := m.API().PutApplication(t.Context(), &eventv1.Application{Name: fmt.Sprint("app", i)}, true)
		if err != nil {
			t.Fatal(m.name, err)
		}
		for _, o := range all {
			o.until(t, "a node that can look it up", func(*driver.Picture) bool {
				found, err := o.API().Application(t.Context(), made.Id)
				if !code.Has(err, code.Unavailable) && (err != nil || found.Name != made.Name) {
					t.Errorf("made through %s, asked through %s: %v %v", m.name, o.name, found, err)
				}
				return !code.Has(err, code.Unavailable)
			})
		}
	}
}

// TestForeignCluster: a node of another cluster is not let in, wherever it is told to join.
func TestForeignCluster(t *testing.T) {
	a := start(t, "a", vfs.NewMem()).ready(t)
	defer closed(t, a.Runtime)
	other := start(t, "z", vfs.NewMem()).ready(t)
	closed(t, other.Runtime)
	z := start(t, "z", other.fs, a.Addresses().Gossip).ready(t)
	defer closed(t, z.Runtime)
	b := start(t, "b", vfs.NewMem(), a.Addresses().Gossip).ready(t) // gossip has gone round
	defer closed(t, b.Runtime)
	b.until(t, "two members, and nobody who joins", func(p *driver.Picture) bool { return len(p.Members()) == 2 && len(b.Joining()) == 0 })
	if b.ClusterID() != a.ClusterID() || b.ClusterID() == z.ClusterID() {
		t.Errorf("the clusters are %s, %s and %s", a.ClusterID(), b.ClusterID(), z.ClusterID())
	}
}
