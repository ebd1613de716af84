package history

import "slices"

// checkMembers is S10.
func (c *checker) checkMembers(h History) {
	moves := map[slot][]Move{} // never with a sequence: the key is conversation and user
	for _, m := range h.Moves {
		k := slot{m.Conversation + " " + m.User, 0}
		moves[k] = append(moves[k], m)
	}
	for _, p := range h.Pages {
		if list := moves[slot{p.Conversation + " " + p.User, 0}]; len(h.Moves) > 0 && !mayBeIn(list, p.Began, p.Ended) {
			c.brokenAt(slot{p.Conversation, p.Head}, "S10", "%s reads %s from %d to %d and was no member then", p.User, p.Conversation, p.Began, p.Ended)
		}
	}
	for _, s := range h.Screens {
		c.checkRight(s)
	}
	if len(h.Moves) == 0 {
		return
	}
	for _, r := range h.Reads {
		c.checkAuthors(r)
	}
}

// mayBeIn says that a user may have been a member at some moment between two: it was made one by
// a move that had begun, and that no later, acknowledged one had undone.
func mayBeIn(moves []Move, began, ended int64) bool {
	return slices.ContainsFunc(moves, func(in Move) bool {
		if !in.In || in.Outcome == Refused || in.Began > ended {
			return false
		}
		return !slices.ContainsFunc(moves, func(out Move) bool {
			return !out.In && out.Outcome == Committed && out.Ended < began && in.Outcome == Committed && in.Ended < out.Began
		})
	})
}

// checkRight holds a subscription against the log: who subscribed was a member when that was
// checked, and nothing was shown after an event that ended it.
func (c *checker) checkRight(s Screen) {
	log, member := c.logs[s.Conversation], false
	if !slices.ContainsFunc(log, func(e Event) bool { return e.Kind == MemberIn }) || len(s.Shown) == 0 {
		return // the driver does not tell who is a member
	}
	last := s.Shown[len(s.Shown)-1].Sequence
	for i, e := range log {
		if e.Kind == MemberIn && e.Subject == s.User {
			member = true
		}
		if e.Kind == MemberOut && e.Subject == s.User {
			member = false
			if e.Sequence > s.Head && last > e.Sequence {
				c.brokenAt(slot{s.Conversation, e.Sequence}, "S10", "%s: %s left at %d and %s was shown %d", s.Conversation, s.User, e.Sequence, s.Device, last)
			}
		}
		if uint64(i+1) == s.Head && !member {
			c.brokenAt(slot{s.Conversation, s.Head}, "S10", "%s: %s subscribed at %d and was no member", s.Conversation, s.User, s.Head)
		}
	}
}

// checkAuthors says that who sent was a member at that place of the log.
func (c *checker) checkAuthors(r Read) {
	in := map[string]bool{}
	for _, e := range r.Events {
		switch {
		case e.Kind == MemberIn:
			in[e.Subject] = true
		case e.Kind == MemberOut:
			in[e.Subject] = false
		case e.ClientID != "" && !in[e.User]:
			c.brokenAt(slot{r.Conversation, e.Sequence}, "S10", "%s sent %s/%d and was no member", e.User, r.Conversation, e.Sequence)
		}
	}
}
