package placement

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"parley/persistence/keys"
)

func TestGrowth(t *testing.T) {
	w := newWorld(t, 17)
	for _, name := range []string{"b", "c", "d", "e", "f"} {
		w.join(name)
		w.run()
		w.check()
	}
	leads := map[string]int{}
	for _, s := range w.shards {
		m, _ := s.member(s.Leader)
		leads[m.Node]++
	}
	for name := range w.nodes {
		if leads[name] == 0 {
			t.Errorf("%s leads nothing: %v", name, leads)
		}
	}
	for _, s := range w.shards {
		want := Replication
		if s.ID == keys.Meta {
			want = MetaReplication
		}
		if len(s.Members) != want {
			t.Errorf("shard %d has %d replicas, not %d", s.ID, len(s.Members), want)
		}
	}
}

// TestAVoterThatHasLeftAfterAll: the change that takes a voter out was still on its way when the row kept it
// again, because those that were to remain had no quorum then. Its id never comes back: another replica
// takes its place, or none if its node is to go.
func TestAVoterThatHasLeftAfterAll(t *testing.T) {
	for _, keeps := range []bool{true, false} {
		w := newWorld(t, 1)
		for _, n := range []string{"b", "c", "d"} {
			w.join(n)
		}
		w.run()
		s := w.shards[0]
		lost := s.Members[slices.IndexFunc(s.Members, func(m Member) bool { return m.ID != s.Leader })]
		n := w.nodes[lost.Node]
		n.Keeps, n.Leads, n.Holds = keeps, keeps, keeps
		w.configure(s, []Replica{{lost.ID, lost.Node, Leaving}})
		w.run()
		w.check()
		if w.disks[lost.Node][s.ID] == lost.ID {
			t.Errorf("keeps=%v: what has left is still on the disk of %s", keeps, lost.Node)
		}
	}
}

// TestRandomLives lets nodes join, drain, go, die and come back at any moment, and checks that no
// step is unsafe, and that all comes to rest as it should when the dead are back or given up.
func TestRandomLives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, rapid.IntRange(1, 9).Draw(t, "shards"))
		born := 1
		for range rapid.IntRange(1, 25).Draw(t, "events") {
			w.event(t, &born)
			for range rapid.IntRange(0, 6).Draw(t, "rounds") {
				w.round(rapid.IntRange(1, 4).Draw(t, "parallel"))
			}
		}
		for _, n := range w.nodes {
			if !n.Gone {
				n.Live = true
			}
		}
		w.run() // it rests with full disks, too
		for _, n := range w.nodes {
			n.Full = false
		}
		w.run()
		w.check()
	})
}

func (w *world) event(t *rapid.T, born *int) {
	v := w.view()
	n := w.nodes[v.Nodes[rapid.IntRange(0, len(v.Nodes)-1).Draw(t, "node")].Name]
	staying, deadMembers := 0, 0
	for _, o := range v.Nodes {
		if o.Keeps {
			staying++
		}
		if !o.Live && !o.Gone {
			deadMembers++
		}
	}
	switch rapid.SampledFrom([]string{"join", "drain", "undrain", "remove", "die", "back", "giveup", "full", "space", "decide", "arrive"}).Draw(t, "event") {
	case "join":
		if *born < 8 {
			w.join(string(rune('a' + *born)))
			*born++
		}
	case "drain":
		n.Leads = false
	case "undrain":
		n.Leads = n.Keeps
	case "remove":
		if staying > 1 && n.Keeps {
			n.Keeps, n.Leads, n.Holds = false, false, false
			n.Gone = !n.Live && w.survives(n.Name)
		}
	case "die":
		if deadMembers == 0 && w.survives(n.Name) {
			n.Live, n.Full = false, false // of the dead nothing is known
		}
	case "back":
		n.Live = !n.Gone
	case "full":
		n.Full = n.Live
	case "space":
		n.Full = false
	case "decide":
		w.decide()
	case "arrive":
		w.arrive()
	case "giveup":
		if !n.Live && staying > Replication && w.survives(n.Name) {
			n.Keeps, n.Leads, n.Holds, n.Gone = false, false, false, true
		}
	}
}

// survives says that every shard keeps its quorum when the node is dead.
func (w *world) survives(node string) bool {
	was := w.nodes[node].Live
	defer func() { w.nodes[node].Live = was }()
	w.nodes[node].Live = false
	for _, s := range w.shards {
		if !w.quorum(s) {
			return false
		}
	}
	return true
}
