package placement

import "slices"

// Intent gives the row that the shard should have next, and false when it should stay as it is.
// on are the nodes that the assignment wants its replicas on. While the configuration still
// differs from the row there is nothing new to want, but for what can no longer be had.
func Intent(v *View, s *Shard, on []string) ([]Replica, bool) {
	if !s.Observed || s.Joint {
		return nil, false
	}
	if rows, changed := s.adopt(v); changed {
		return rows, true
	}
	if rows, changed := s.giveUp(v); changed {
		return rows, true
	}
	if !s.atRest() {
		return nil, false
	}
	if missing := s.missing(on); len(missing) > 0 {
		return s.extend(missing)
	}
	return s.settle(v, on)
}

// adopt takes note of members that no row knows, which are to leave, and forgets replicas that
// have left and whose nodes will not destroy them any more.
func (s *Shard) adopt(v *View) (rows []Replica, changed bool) {
	for _, r := range s.Rows {
		_, in := s.member(r.ID)
		if r.Role == Leaving && !in && v.Node(r.Node).Gone {
			changed = true
			continue
		}
		rows = append(rows, r)
	}
	for _, m := range s.Members {
		if _, known := s.row(m.ID); !known {
			rows = append(rows, Replica{m.ID, m.Node, Leaving})
			changed = true
		}
	}
	return rows, changed
}

// giveUp lets replicas go that are lost, or that were to come, on nodes that will not keep them, or whose disks are full while
// another one has space. Voters that were to leave in exchange stay, and so they do when those that were to
// remain have no quorum any more.
func (s *Shard) giveUp(v *View) (rows []Replica, changed bool) {
	rows = slices.Clone(s.Rows)
	room, _ := v.free(s)
	for i, r := range rows {
		n := v.Node(r.Node)
		if s.lost(r) || s.coming(r) && (!n.Keeps || n.Full && v.Stuck(s, r) && room) {
			rows[i].Role, changed = Leaving, true
		}
	}
	if !changed && s.hopeful(v) {
		return nil, false
	}
	for i, r := range rows {
		if m, in := s.member(r.ID); in && m.Voter && r.Role == Leaving {
			rows[i].Role, changed = Voter, true
		}
	}
	return rows, changed
}

// hopeful says that the voters that the row wants would have a quorum of live replicas.
func (s *Shard) hopeful(v *View) bool {
	voters, good := 0, 0
	for _, r := range s.Rows {
		if r.Role != Voter {
			continue
		}
		voters++
		if m, in := s.member(r.ID); in && m.CaughtUp && v.Node(m.Node).Live {
			good++
		}
	}
	return good > voters/2
}

// atRest says that the configuration is what the row wants, and nobody has to be destroyed.
func (s *Shard) atRest() bool {
	for _, r := range s.Rows {
		m, in := s.member(r.ID)
		if r.Role == Leaving || !in || m.Voter != (r.Role == Voter) {
			return false
		}
	}
	return true
}

func (s *Shard) missing(on []string) []string {
	var missing []string
	for _, node := range on {
		if !slices.ContainsFunc(s.Rows, func(r Replica) bool { return r.Node == node }) {
			missing = append(missing, node)
		}
	}
	return missing
}

func (s *Shard) extend(nodes []string) ([]Replica, bool) {
	rows := slices.Clone(s.Rows)
	for _, n := range nodes {
		rows = append(rows, Replica{Node: n, Role: Learner})
	}
	return rows, true
}

// settle makes voters of those that should vote and lets the others go, once the configuration
// that comes out of it would have a quorum of live replicas that have caught up. Where there is no space for
// all that should be there, nobody goes before there is.
func (s *Shard) settle(v *View, on []string) ([]Replica, bool) {
	if len(on) == 0 {
		return nil, false // nobody keeps replicas: what there is stays
	}
	voters := s.choose(v, on)
	if len(on) < v.Wanted(s.ID) && len(voters) < s.voters() {
		return nil, false
	}
	rows, changed := slices.Clone(s.Rows), false
	sound := 0
	for i, r := range rows {
		m, _ := s.member(r.ID)
		vote := slices.Contains(voters, r.ID)
		switch {
		case vote && !m.Voter && (!m.CaughtUp || !v.Node(m.Node).Live):
			return nil, false // it will be ready later
		case vote:
			rows[i].Role = Voter
			if m.CaughtUp && v.Node(m.Node).Live {
				sound++
			}
		case !slices.Contains(on, r.Node) || m.Voter:
			rows[i].Role = Leaving // a voter that becomes a learner does so as a new replica
		}
		changed = changed || rows[i].Role != r.Role
	}
	if !changed || sound <= len(voters)/2 {
		return nil, false
	}
	return rows, true
}

// voters is how many vote now.
func (s *Shard) voters() int {
	n := 0
	for _, m := range s.Members {
		if m.Voter {
			n++
		}
	}
	return n
}

// choose picks who votes: the leader and the present voters before the others, the live ones first.
func (s *Shard) choose(v *View, on []string) []uint64 {
	type candidate struct {
		id    uint64
		merit int
	}
	var all []candidate
	for _, m := range s.Members {
		if !slices.Contains(on, m.Node) {
			continue
		}
		c := candidate{id: m.ID}
		for merit, has := range map[int]bool{8: m.Voter, 4: v.Node(m.Node).Live && m.CaughtUp, 2: m.ID == s.Leader, 1: v.Node(m.Node).Leads} {
			if has {
				c.merit += merit
			}
		}
		all = append(all, c)
	}
	slices.SortStableFunc(all, func(a, b candidate) int { return b.merit - a.merit })
	var ids []uint64
	for _, c := range all[:min(len(all), Voters(len(on)))] {
		ids = append(ids, c.id)
	}
	return ids
}
