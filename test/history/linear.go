package history

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// linearWithin bounds the search of one conversation. It is not the search that is slow: a history
// is decided at once when it is legal, and may take for ever when it is not.
const linearWithin = 20 * time.Second

// step is one operation on a log as L0 sees it: a send that got a sequence, or a read that saw a
// head. The state is how far the log goes.
type step struct {
	send     bool
	sequence uint64
}

// checkLinearizable is L0. The complete log is known, so what a send of unknown outcome did is
// known, too: it has its sequence and ends at any time, or it has done nothing and is left out.
func (c *checker) checkLinearizable(h History) {
	operations := map[string][]porcupine.Operation{}
	add := func(conversation string, s step, began, ended int64) {
		operations[conversation] = append(operations[conversation], porcupine.Operation{
			ClientId: len(operations[conversation]), Input: s, Call: began, Return: ended, Output: s.sequence})
	}
	for _, s := range h.Sends {
		switch at := c.placeOf(s); {
		case s.Outcome == Committed:
			add(s.Conversation, step{true, s.Sequence}, s.Began, s.Ended)
		case s.Outcome == Unknown && at != 0:
			add(s.Conversation, step{true, at}, s.Began, math.MaxInt64)
		}
	}
	for _, p := range h.Pages {
		add(p.Conversation, step{false, p.Head}, p.Began, p.Ended)
	}
	for _, conversation := range slices.Sorted(maps.Keys(operations)) {
		if len(c.logs[conversation]) == 0 {
			continue
		}
		switch porcupine.CheckOperationsTimeout(c.model(conversation), operations[conversation], linearWithin) {
		case porcupine.Illegal:
			c.brokenAt(slot{conversation, 0}, "L0", "%s: sends and reads are not linearizable", conversation)
		case porcupine.Unknown:
			c.brokenAt(slot{conversation, 0}, "L0", "%s: whether sends and reads are linearizable was not decided within %v", conversation, linearWithin)
		}
	}
}

// placeOf finds a send in the log, 0 when it is not there.
func (c *checker) placeOf(s Send) uint64 {
	for _, e := range c.logs[s.Conversation] {
		if e.ClientID == s.ClientID && e.User == s.User {
			return e.Sequence
		}
	}
	return 0
}

// model is a log whose sends take the places that the complete log gives them. Other events may
// stand between them and take their places when nobody looks.
func (c *checker) model(conversation string) porcupine.Model {
	log := c.logs[conversation]
	sends := make([]int, len(log)+1) // up to a sequence
	for i, e := range log {
		sends[i+1] = sends[i]
		if e.ClientID != "" {
			sends[i+1]++
		}
	}
	return porcupine.Model{
		Init: func() any { return uint64(0) },
		Step: func(state, input, _ any) (bool, any) {
			head, s := state.(uint64), input.(step)
			switch {
			case s.sequence > uint64(len(log)):
				return false, state
			case s.send && s.sequence <= head:
				return true, state // a retry meets the first
			case s.send:
				return sends[s.sequence-1] == sends[head], s.sequence
			default:
				return s.sequence >= head && sends[s.sequence] == sends[head], max(head, s.sequence)
			}
		},
	}
}
