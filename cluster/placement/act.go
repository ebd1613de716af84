package placement

// Kind tells the kinds of Action apart.
type Kind byte

// The kinds of Action.
const (
	// Add makes the replicas on their nodes, empty, and then learners of the shard.
	Add Kind = 1
	// Configure makes the first replicas voters and takes the others out, in one change.
	Configure Kind = 2
	// Transfer hands the leadership to the one replica.
	Transfer Kind = 3
	// Destroy drops the one replica from its node; then its row may go.
	Destroy Kind = 4
)

// Action is one step of a shard towards its row. It may be repeated.
type Action struct {
	Kind     Kind
	Replicas []Replica
}

// Act gives the next step of the shard towards its row, and false when there is none now.
func Act(v *View, s *Shard) (Action, bool) {
	if !s.Observed || s.Joint {
		return Action{}, false
	}
	if a, ok := s.add(v); ok {
		return a, true
	}
	if a, ok := s.configure(v); ok {
		return a, true
	}
	for _, r := range s.Rows {
		if _, in := s.member(r.ID); r.Role == Leaving && !in && v.Node(r.Node).Live {
			return Action{Destroy, []Replica{r}}, true
		}
	}
	return Action{}, false
}

// add brings in what is wanted and not there, where it can be now. All come as learners.
func (s *Shard) add(v *View) (Action, bool) {
	a := Action{Kind: Add}
	for _, r := range s.Rows {
		if _, in := s.member(r.ID); r.Role == Learner && !in && !v.Stuck(s, r) {
			a.Replicas = append(a.Replicas, r)
		}
	}
	return a, len(a.Replicas) > 0
}

// configure makes voters and takes replicas out. The leader hands over before it leaves; where it
// is the only voter, its successors become voters first.
func (s *Shard) configure(v *View) (Action, bool) {
	promote, leave, leaderLeaves := s.differences()
	for _, r := range promote {
		if m, _ := s.member(r.ID); !m.CaughtUp {
			return Action{}, false
		}
	}
	if leaderLeaves {
		if heir, ok := s.heir(v); ok {
			return Action{Transfer, []Replica{heir}}, true
		}
		leave = nil
	}
	if len(promote)+len(leave) == 0 || !s.sound(v, promote, leave) {
		return Action{}, false
	}
	return Action{Configure, append(promote, leave...)}, true
}

// differences says who should vote and does not, and who is in the configuration but should not be.
func (s *Shard) differences() (promote, leave []Replica, leaderLeaves bool) {
	for _, r := range s.Rows {
		m, in := s.member(r.ID)
		switch {
		case !in:
		case r.Role == Voter && !m.Voter:
			promote = append(promote, r)
		case r.Role == Leaving:
			leave = append(leave, r)
			leaderLeaves = leaderLeaves || r.ID == s.Leader
		}
	}
	return promote, leave, leaderLeaves
}

// heir is a voter that stays and can lead at once.
func (s *Shard) heir(v *View) (Replica, bool) {
	for _, r := range s.Rows {
		if m, in := s.member(r.ID); in && r.Role == Voter && m.Voter && m.CaughtUp && r.ID != s.Leader && v.Node(r.Node).Live {
			return r, true
		}
	}
	return Replica{}, false
}

// sound says whether the configuration that comes out has a quorum of live replicas that have
// caught up.
func (s *Shard) sound(v *View, promote, leave []Replica) bool {
	role := map[uint64]Role{}
	for _, r := range promote {
		role[r.ID] = Voter
	}
	for _, r := range leave {
		role[r.ID] = Leaving
	}
	voters, good := 0, 0
	for _, m := range s.Members {
		if role[m.ID] == Leaving || !m.Voter && role[m.ID] != Voter {
			continue
		}
		voters++
		if m.CaughtUp && v.Node(m.Node).Live {
			good++
		}
	}
	return voters > 0 && good > voters/2
}
