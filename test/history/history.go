// Package history says whether what clients saw keeps Parley's promises. A history is recorded by
// one driver with one clock; Check reads it and names every broken promise. It is used by the
// simulation, the integration tests and the chaos run, and is itself tested with broken histories.
package history

import (
	"fmt"
	"sort"
)

// Outcome is what a sender was told.
type Outcome int

// The three outcomes of a write.
const (
	Unknown   Outcome = iota // time-out, broken connection, or told so: perhaps done
	Committed                // acknowledged with a sequence
	Refused                  // surely not done
)

// Send is one attempt of one client to post one event. Attempts with the same conversation, user
// and client id are retries of the same send.
type Send struct {
	Conversation string
	User         string
	ClientID     string
	Body         string
	Outcome      Outcome
	Sequence     uint64 // when committed
	Began, Ended int64  // ticks of the driver's clock; Ended counts only when committed
}

// Event is one event as an observer saw it. Events that were not sent by the driver (member:* and
// the like) have an empty ClientID.
type Event struct {
	Sequence uint64
	User     string
	ClientID string
	Body     string
}

// Read is a complete read of a conversation's log by one observer, in the order received.
type Read struct {
	Conversation string
	Observer     string
	Events       []Event
}

// History is everything that happened.
type History struct {
	Sends []Send
	Reads []Read
}

// Violation is one broken promise. Rule is its short name in docs/reliability.md.
type Violation struct {
	Rule   string
	Detail string
}

func (v Violation) String() string { return v.Rule + ": " + v.Detail }

type sendKey struct{ conversation, user, clientID string }

type slot struct {
	conversation string
	sequence     uint64
}

// Check gives all violations of:
//
//	S1 every acknowledged event is at its sequence in every read
//	S2 one client id is one event, however often it was sent
//	S3 sequences are 1..n without a hole
//	S4 a sequence is the same event for every observer
//	S6 what was acknowledged before another send began has the lower sequence
//	S8 nothing appears that was never sent, was altered, or was refused
func Check(h History) []Violation {
	c := checker{
		sent:  map[sendKey][]Send{},
		acked: map[sendKey]uint64{},
		seen:  map[slot]Event{},
	}
	c.indexSends(h.Sends)
	c.checkOrder(h.Sends)
	for _, r := range h.Reads {
		c.checkRead(r)
	}
	return c.violations
}

type checker struct {
	sent       map[sendKey][]Send
	acked      map[sendKey]uint64
	seen       map[slot]Event
	violations []Violation
}

func (c *checker) broken(rule, format string, args ...any) {
	c.violations = append(c.violations, Violation{rule, fmt.Sprintf(format, args...)})
}

func (c *checker) indexSends(sends []Send) {
	for _, s := range sends {
		k := sendKey{s.Conversation, s.User, s.ClientID}
		c.sent[k] = append(c.sent[k], s)
		if s.Outcome != Committed {
			continue
		}
		if earlier, ok := c.acked[k]; ok && earlier != s.Sequence {
			c.broken("S2", "%v was acknowledged as %d and as %d", k, earlier, s.Sequence)
		}
		c.acked[k] = s.Sequence
	}
}

// checkOrder looks at first acknowledgements per conversation in order of their end: a send that
// began later must have a higher sequence. A sweep keeps it n log n.
func (c *checker) checkOrder(sends []Send) {
	perConversation := map[string][]Send{}
	first := map[sendKey]bool{}
	for _, s := range sends {
		k := sendKey{s.Conversation, s.User, s.ClientID}
		retried := len(c.sent[k]) > 1
		if s.Outcome == Committed && !retried && !first[k] {
			first[k] = true
			perConversation[s.Conversation] = append(perConversation[s.Conversation], s)
		}
	}
	for conversation, list := range perConversation {
		c.sweep(conversation, list)
	}
}

func (c *checker) sweep(conversation string, list []Send) {
	byBegin := append([]Send(nil), list...)
	byEnd := append([]Send(nil), list...)
	sort.Slice(byBegin, func(i, j int) bool { return byBegin[i].Began < byBegin[j].Began })
	sort.Slice(byEnd, func(i, j int) bool { return byEnd[i].Ended < byEnd[j].Ended })
	ended, highest := 0, uint64(0)
	for _, s := range byBegin {
		for ended < len(byEnd) && byEnd[ended].Ended < s.Began {
			highest = max(highest, byEnd[ended].Sequence)
			ended++
		}
		if s.Sequence < highest {
			c.broken("S6", "%s: %s got %d though %d was acknowledged before it began",
				conversation, s.ClientID, s.Sequence, highest)
		}
	}
}

func (c *checker) checkRead(r Read) {
	where := map[sendKey]uint64{}
	for i, e := range r.Events {
		if want := uint64(i + 1); e.Sequence != want {
			c.broken("S3", "%s read by %s: position %d has sequence %d", r.Conversation, r.Observer, want, e.Sequence)
			return
		}
		c.checkSame(r, e)
		if e.ClientID == "" {
			continue
		}
		k := sendKey{r.Conversation, e.User, e.ClientID}
		if at, twice := where[k]; twice {
			c.broken("S2", "%v is at %d and at %d", k, at, e.Sequence)
		}
		where[k] = e.Sequence
		c.checkSent(k, e)
	}
	for k, sequence := range c.acked {
		if k.conversation == r.Conversation && where[k] != sequence {
			c.broken("S1", "%v was acknowledged at %d, %s finds it at %d (0 = lost)", k, sequence, r.Observer, where[k])
		}
	}
}

func (c *checker) checkSame(r Read, e Event) {
	at := slot{r.Conversation, e.Sequence}
	if earlier, ok := c.seen[at]; ok && earlier != e {
		c.broken("S4", "%s/%d is %v for %s and was %v", r.Conversation, e.Sequence, e, r.Observer, earlier)
	}
	c.seen[at] = e
}

func (c *checker) checkSent(k sendKey, e Event) {
	attempts := c.sent[k]
	possible := false
	for _, s := range attempts {
		possible = possible || (s.Outcome != Refused && s.Body == e.Body)
	}
	if !possible {
		c.broken("S8", "%v at %d with body %q was never sent so, or every attempt was refused", k, e.Sequence, e.Body)
	}
}
