package placement

import "parley/persistence/keys"

// Handover moves the leadership of a shard.
type Handover struct {
	Shard    keys.Shard
	From, To Replica
}

// leadSlack is by how much two nodes may differ before leaderships move: two, and a tenth of what
// a node should lead. Without it a restart of one node would move them to and fro.
const leadSlack = 2

// Leaders gives at most max moves of leaderships: away from nodes that may not lead, then from
// nodes that lead much more than others, or, when evenly is set, more than one more. Shards that
// are being changed are left alone.
func Leaders(v *View, max int, evenly bool) []Handover {
	l := &leaders{view: v, leads: map[string]int{}, max: max}
	able := 0
	for _, n := range v.Nodes {
		if n.Leads && n.Live && n.Keeps {
			able++
		}
	}
	for i := range v.Shards {
		s := &v.Shards[i]
		if m, ok := s.member(s.Leader); s.Observed && ok {
			l.leads[m.Node]++
		}
	}
	if able == 0 {
		return nil
	}
	l.slack = leadSlack
	if !evenly {
		l.slack += len(v.Shards) / able / 10
	}
	for i := range v.Shards {
		l.look(&v.Shards[i], false)
	}
	for i := range v.Shards {
		l.look(&v.Shards[i], true)
	}
	return l.moves
}

type leaders struct {
	view  *View
	leads map[string]int
	slack int
	max   int
	moves []Handover
}

// look moves the leadership of one shard if that is called for: for balance, or because the
// leader's node may not lead.
func (l *leaders) look(s *Shard, balance bool) {
	if len(l.moves) >= l.max || !s.Observed || s.Joint || !s.atRest() {
		return
	}
	from, ok := s.member(s.Leader)
	if !ok {
		return
	}
	may := l.view.Node(from.Node).Leads
	if may != balance || balance && s.ID == keys.Meta {
		return
	}
	to, ok := l.lightest(s)
	if !ok || balance && l.leads[from.Node]-l.leads[to.Node] < l.slack {
		return
	}
	l.leads[from.Node]--
	l.leads[to.Node]++
	l.moves = append(l.moves, Handover{s.ID, Replica{from.ID, from.Node, Voter}, Replica{to.ID, to.Node, Voter}})
}

func (l *leaders) lightest(s *Shard) (Member, bool) {
	var best Member
	for _, m := range s.Members {
		n := l.view.Node(m.Node)
		if m.ID == s.Leader || !m.Voter || !m.CaughtUp || !n.Live || !n.Leads || !n.Keeps {
			continue
		}
		if best.ID == 0 || l.leads[m.Node] < l.leads[best.Node] {
			best = m
		}
	}
	return best, best.ID != 0
}
