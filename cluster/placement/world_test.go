package placement

import (
	"cmp"
	"fmt"
	"slices"

	"parley/persistence/keys"
)

// world is a cluster reduced to what placement sees: configurations that follow actions at once,
// learners that catch up with the next tick, if their disks are not full, leaders that are elected by live majorities.
type world struct {
	t      fataler
	nodes  map[string]*Node
	shards []*Shard
	next   uint64
	gone   map[uint64]bool                  // ids that have left a configuration or were destroyed: they never come back
	late   []order                          // configurations that were decided and have not arrived
	disks  map[string]map[keys.Shard]uint64 // the replica of a shard on a node's disk
}

// order is a change of a configuration on its way to the leader, which takes it as long as the configuration
// is what it was decided on.
type order struct {
	shard   keys.Shard
	on      []Member
	changes []Replica
}

type fataler interface {
	Fatalf(format string, args ...any)
}

func newWorld(t fataler, shards int) *world {
	w := &world{t: t, nodes: map[string]*Node{}, gone: map[uint64]bool{}, disks: map[string]map[keys.Shard]uint64{}}
	w.join("a")
	for i := range shards {
		w.next++
		w.shards = append(w.shards, &Shard{ID: keys.Shard(i), Version: 1, Rows: []Replica{{w.next, "a", Voter}},
			Members: []Member{{w.next, "a", true, true}}, Leader: w.next, Observed: true})
		w.disks["a"][keys.Shard(i)] = w.next
	}
	w.next++
	return w
}

func (w *world) join(name string) {
	w.nodes[name] = &Node{Name: name, Holds: true, Live: true, Keeps: true, Leads: true}
	w.disks[name] = map[keys.Shard]uint64{}
}

// view is what a driver would see now.
func (w *world) view() *View {
	v := &View{}
	for _, n := range w.nodes {
		v.Nodes = append(v.Nodes, *n)
	}
	slices.SortFunc(v.Nodes, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	for _, s := range w.shards {
		c := *s
		c.Rows, c.Members = slices.Clone(s.Rows), slices.Clone(s.Members)
		v.Shards = append(v.Shards, c)
	}
	return v
}

func (w *world) live(node string) bool { return w.nodes[node] != nil && w.nodes[node].Live }

// quorum says whether a majority of the voters is alive and has caught up.
func (w *world) quorum(s *Shard) bool {
	voters, good := 0, 0
	for _, m := range s.Members {
		if m.Voter {
			voters++
			if m.CaughtUp && w.live(m.Node) {
				good++
			}
		}
	}
	return good > voters/2
}

// settle elects leaders where they are missing, and lets the live catch up and the dead fall behind.
func (w *world) settle() {
	for _, s := range w.shards {
		if !w.quorum(s) {
			s.Observed = false
			continue
		}
		if m, ok := s.member(s.Leader); !s.Observed || !ok || !w.live(m.Node) {
			i := slices.IndexFunc(s.Members, func(m Member) bool { return m.Voter && m.CaughtUp && w.live(m.Node) })
			s.Leader, s.Observed = s.Members[i].ID, true
		}
		for i := range s.Members {
			m := &s.Members[i]
			m.CaughtUp = w.live(m.Node) && w.disks[m.Node][s.ID] == m.ID && (m.CaughtUp || !w.nodes[m.Node].Full)
		}
	}
}

// round is one look and every step that follows from it. It says how many steps were taken.
func (w *world) round(max int) (steps int) {
	w.settle()
	v := w.view()
	on := Assign(v)
	for i := range v.Shards {
		seen, s := &v.Shards[i], w.shards[i]
		if steps >= max {
			break
		}
		if a, ok := Act(v, seen); ok {
			w.act(s, a)
			steps++
			continue
		}
		if rows, ok := Intent(v, seen, on[seen.ID]); ok {
			w.intend(s, rows)
			steps++
		}
	}
	for _, h := range Leaders(v, 4, false) {
		s := w.shards[h.Shard]
		if m, ok := s.member(h.To.ID); ok && m.Voter && m.CaughtUp && s.Leader == h.From.ID {
			s.Leader = h.To.ID
			steps++
		}
	}
	return steps
}

func (w *world) intend(s *Shard, rows []Replica) {
	rows = slices.Clone(rows)
	for i := range rows {
		if rows[i].ID == 0 {
			rows[i].ID = w.next
			w.next++
		}
	}
	if slices.Equal(rows, s.Rows) {
		w.t.Fatalf("shard %d: an intent that changes nothing: %+v", s.ID, rows)
	}
	s.Rows, s.Version = rows, s.Version+1
}

func (w *world) act(s *Shard, a Action) {
	switch a.Kind {
	case Add:
		for _, r := range a.Replicas {
			w.make(s, r)
		}
	case Transfer:
		m, ok := s.member(a.Replicas[0].ID)
		if !ok || !m.Voter || !m.CaughtUp {
			w.t.Fatalf("shard %d: leadership to %+v", s.ID, a.Replicas[0])
		}
		s.Leader = m.ID
	case Configure:
		w.configure(s, a.Replicas)
	case Destroy:
		w.destroy(s, a.Replicas[0])
	}
}

func (w *world) make(s *Shard, r Replica) {
	if w.gone[r.ID] {
		w.t.Fatalf("shard %d: replica %d comes back", s.ID, r.ID)
	}
	if w.nodes[r.Node].Full {
		w.t.Fatalf("shard %d: replica %d is to be made on %s, whose disk is full", s.ID, r.ID, r.Node)
	}
	if on := w.disks[r.Node][s.ID]; on != 0 && on != r.ID {
		w.t.Fatalf("shard %d: %s holds replica %d already, and is to get %d", s.ID, r.Node, on, r.ID)
	}
	w.disks[r.Node][s.ID] = r.ID
	s.Members = append(s.Members, Member{ID: r.ID, Node: r.Node})
}

func (w *world) configure(s *Shard, changes []Replica) {
	before := w.quorum(s)
	for _, r := range changes {
		i := slices.IndexFunc(s.Members, func(m Member) bool { return m.ID == r.ID })
		if i < 0 {
			w.t.Fatalf("shard %d: %+v is no member", s.ID, r)
		}
		if r.Role == Leaving {
			if r.ID == s.Leader {
				w.t.Fatalf("shard %d: the leader is taken out", s.ID)
			}
			s.Members = slices.Delete(s.Members, i, i+1)
			w.gone[r.ID] = true
			continue
		}
		if !s.Members[i].CaughtUp {
			w.t.Fatalf("shard %d: %+v becomes a voter and has not caught up", s.ID, r)
		}
		s.Members[i].Voter = true
	}
	if !before || !w.quorum(s) {
		w.t.Fatalf("shard %d: below quorum: %+v", s.ID, s.Members)
	}
}

// decide leaves the changes that a driver would order now on their way.
func (w *world) decide() {
	v := w.view()
	for i := range v.Shards {
		if a, ok := Act(v, &v.Shards[i]); ok && a.Kind == Configure {
			w.late = append(w.late, order{v.Shards[i].ID, v.Shards[i].Members, a.Replicas})
		}
	}
}

// arrive carries out what was on its way, where that can still be.
func (w *world) arrive() {
	for _, o := range w.late {
		s := w.shards[o.shard]
		same := slices.EqualFunc(s.Members, o.on, func(a, b Member) bool { return a.ID == b.ID && a.Voter == b.Voter })
		after := &Shard{ID: s.ID, Members: slices.Clone(s.Members)}
		refused := !same || !s.Observed || !w.quorum(s)
		for _, r := range o.changes {
			i := slices.IndexFunc(after.Members, func(m Member) bool { return m.ID == r.ID })
			switch {
			case refused:
			case r.ID == s.Leader || r.Role == Voter && !after.Members[i].CaughtUp:
				refused = true
			case r.Role == Voter:
				after.Members[i].Voter = true
			default:
				after.Members = slices.Delete(after.Members, i, i+1)
			}
		}
		if !refused && w.quorum(after) {
			w.configure(s, o.changes)
		}
	}
	w.late = nil
}

func (w *world) destroy(s *Shard, r Replica) {
	if _, in := s.member(r.ID); in || !w.live(r.Node) {
		w.t.Fatalf("shard %d: %+v is destroyed, members %+v", s.ID, r, s.Members)
	}
	if w.disks[r.Node][s.ID] == r.ID {
		delete(w.disks[r.Node], s.ID)
	}
	w.gone[r.ID] = true
	s.Rows = slices.DeleteFunc(s.Rows, func(o Replica) bool { return o.ID == r.ID })
}

// run goes on until nothing is left to do.
func (w *world) run() {
	for range 4000 {
		if w.round(4) == 0 {
			return
		}
	}
	w.t.Fatalf("it never rests:\n%s", w)
}

func (w *world) String() string {
	text := ""
	for _, n := range w.view().Nodes {
		text += fmt.Sprintf("%+v\n", n)
	}
	for _, s := range w.shards {
		text += fmt.Sprintf("%+v\n", *s)
	}
	return text
}

// check holds once nothing is left to do and every node that is to stay is alive.
func (w *world) check() {
	v := w.view()
	for _, s := range w.shards {
		voters := 0
		for _, m := range s.Members {
			if m.Voter {
				voters++
			}
			if !w.nodes[m.Node].Keeps {
				w.t.Fatalf("shard %d is still on %s:\n%s", s.ID, m.Node, w)
			}
		}
		if wanted := v.Wanted(s.ID); len(s.Members) != wanted || voters != Voters(wanted) || len(s.Rows) != wanted {
			w.t.Fatalf("shard %d has %d voters of %d replicas, not %d:\n%s", s.ID, voters, len(s.Members), wanted, w)
		}
	}
	load := map[string]int{}
	least, most := 1<<30, 0
	for _, s := range w.shards {
		for _, m := range s.Members {
			load[m.Node]++
		}
	}
	for _, n := range v.Nodes {
		if n.Keeps {
			least, most = min(least, load[n.Name]), max(most, load[n.Name])
		}
	}
	if most-least > 2 {
		w.t.Fatalf("replicas are spread unevenly: %v\n%s", load, w)
	}
}
