// Package history says whether what clients saw keeps Parley's promises. A history is recorded by
// one driver with one clock; Check reads it and names every broken promise. It is used by the
// simulation, the integration tests and the chaos run, and is itself tested with broken histories.
package history

import (
	"fmt"
	"maps"
	"slices"
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

	Application string // as the body names it, "" = it names none
	Kind        string // of events about members: MemberIn or MemberOut
	Subject     string // the user that such an event is about
	Deleted     bool   // the body was emptied
}

// The kinds of events that say who may read.
const (
	MemberIn  = "member in"
	MemberOut = "member out"
)

// Read is a complete read of a conversation's log by one observer, in the order received.
type Read struct {
	Conversation string
	Observer     string
	Events       []Event
}

// Page is a read of some of a log, while everything goes on.
type Page struct {
	Application  string // the reader's
	Conversation string
	User         string
	Node         string // that was asked
	Began, Ended int64
	Start        uint64 // the first sequence asked for
	Events       []Event
	Head         uint64 // the conversation's last sequence, as told with it
}

// Screen is what one subscription showed, from its beginning to its end.
type Screen struct {
	Application  string // the subscriber's
	Conversation string
	User         string
	Device       string
	Began        int64  // when the right to read was asked about
	Head         uint64 // the conversation's last sequence then
	After        uint64 // the sequence from which it resumed
	Shown        []Event
	Open         bool // at the end of the history
}

// Move is one attempt to make a user a member, or to end that.
type Move struct {
	Conversation string
	User         string
	In           bool
	Outcome      Outcome
	Began, Ended int64
}

// Receipt is one attempt of a user to say how far it has read.
type Receipt struct {
	Conversation string
	User         string
	Seen         uint64
	Shown        uint64 // the highest sequence that the user's devices had shown
	Outcome      Outcome
	Told         uint64 // when committed: how far it has read, as answered
	AtLeast      bool   // the answer does not say whether it had read further before
	Member       string // when committed: the membership that the answer is about
	Began, Ended int64
}

// Cursor is how far a user has read, as somebody was told.
type Cursor struct {
	Conversation string
	User         string // "" = whoever has read furthest
	Seen         uint64
	At           int64
}

// Deletion is an acknowledged deletion of one event's body.
type Deletion struct {
	Conversation string
	Sequence     uint64
	Ended        int64
}

// History is everything that happened.
type History struct {
	Sends     []Send
	Reads     []Read
	Pages     []Page
	Screens   []Screen
	Moves     []Move
	Receipts  []Receipt
	Cursors   []Cursor
	Deletions []Deletion
	// Settled says that the faults ended long enough ago: every send must have its answer and every
	// open subscription all there is.
	Settled bool
}

// Violation is one broken promise. Rule is its short name in docs/reliability.md.
type Violation struct {
	Rule         string
	Detail       string
	Conversation string // "" when it is about no single one
	Sequence     uint64 // 0 when it is about no single one
}

func (v Violation) String() string { return v.Rule + ": " + v.Detail }

type sendKey struct{ conversation, user, clientID string }

type slot struct {
	conversation string
	sequence     uint64
}

// Check gives all violations of:
//
//	L0 per conversation, sends and reads are linearizable
//	S1 every acknowledged event is at its sequence in every read
//	S2 one client id is one event, however often it was sent
//	S3 sequences are 1..n without a hole
//	S4 a sequence is the same event for every observer
//	S5 a subscription shows increasing sequences, without gap or repeat, from where it resumed
//	S6 what was acknowledged before another send began has the lower sequence
//	S7 a read that starts after an acknowledgement or a read reaches at least as far, at any node
//	S8 nothing appears that was never sent, was altered, or was refused
//	S9 receipts are as their reader claimed, never beyond what it was shown, never backwards
//	S10 who is no member is shown nothing and sends nothing
//	S11 a deleted body never comes back in a later read or on a later subscription
//	S13 when all has settled, every send was answered
//	S15 when all has settled, every open subscription has reached the head
//	S18 nobody is shown what belongs to another application
func Check(h History) []Violation {
	c := checker{
		sent:  map[sendKey][]Send{},
		acked: map[sendKey]uint64{},
		seen:  map[slot]Event{},
		logs:  map[string][]Event{},
	}
	c.indexSends(h.Sends)
	c.checkOrder(h.Sends)
	for _, r := range h.Reads {
		c.checkRead(r)
	}
	c.checkPages(h)
	c.checkScreens(h)
	c.checkMembers(h)
	c.checkReceipts(h)
	c.checkDeletions(h)
	if h.Settled {
		c.checkAnswered(h.Sends)
	}
	c.checkLinearizable(h)
	return c.violations
}

type checker struct {
	sent       map[sendKey][]Send
	acked      map[sendKey]uint64
	seen       map[slot]Event
	logs       map[string][]Event // the longest complete read, by conversation
	violations []Violation
}

func (c *checker) brokenAt(at slot, rule, format string, args ...any) {
	c.violations = append(c.violations, Violation{rule, fmt.Sprintf(format, args...), at.conversation, at.sequence})
}

func (c *checker) indexSends(sends []Send) {
	for _, s := range sends {
		k := sendKey{s.Conversation, s.User, s.ClientID}
		c.sent[k] = append(c.sent[k], s)
		if s.Outcome != Committed {
			continue
		}
		if earlier, ok := c.acked[k]; ok && earlier != s.Sequence {
			c.brokenAt(slot{s.Conversation, s.Sequence}, "S2", "%v was acknowledged as %d and as %d", k, earlier, s.Sequence)
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
	for _, conversation := range slices.Sorted(maps.Keys(perConversation)) {
		c.sweep(conversation, perConversation[conversation])
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
			c.brokenAt(slot{conversation, s.Sequence}, "S6", "%s: %s got %d though %d was acknowledged before it began",
				conversation, s.ClientID, s.Sequence, highest)
		}
	}
}

func (c *checker) checkRead(r Read) {
	where := map[sendKey]uint64{}
	for i, e := range r.Events {
		if want := uint64(i + 1); e.Sequence != want {
			c.brokenAt(slot{r.Conversation, want}, "S3", "%s read by %s: position %d has sequence %d", r.Conversation, r.Observer, want, e.Sequence)
			return
		}
		c.checkSame(r.Conversation, r.Observer, e)
		if e.ClientID == "" {
			continue
		}
		k := sendKey{r.Conversation, e.User, e.ClientID}
		if at, twice := where[k]; twice {
			c.brokenAt(slot{r.Conversation, e.Sequence}, "S2", "%v is at %d and at %d", k, at, e.Sequence)
		}
		where[k] = e.Sequence
		c.checkSent(k, e)
	}
	for _, k := range c.ackedKeys(r.Conversation) {
		if sequence := c.acked[k]; where[k] != sequence {
			c.brokenAt(slot{r.Conversation, sequence}, "S1", "%v was acknowledged at %d, %s finds it at %d (0 = lost)", k, sequence, r.Observer, where[k])
		}
	}
	if len(r.Events) > len(c.logs[r.Conversation]) {
		c.logs[r.Conversation] = r.Events
	}
}

// ackedKeys lists the acknowledged sends of a conversation by sequence.
func (c *checker) ackedKeys(conversation string) (all []sendKey) {
	for k := range c.acked {
		if k.conversation == conversation {
			all = append(all, k)
		}
	}
	sort.Slice(all, func(i, j int) bool { return c.acked[all[i]] < c.acked[all[j]] })
	return all
}

// checkSame is S4. A body may be emptied once.
func (c *checker) checkSame(conversation, observer string, e Event) {
	at := slot{conversation, e.Sequence}
	earlier, known := c.seen[at]
	now := e
	if earlier.Deleted || e.Deleted {
		earlier.Body, now.Body = "", ""
		earlier.Deleted, now.Deleted = true, true
		earlier.Application, now.Application = "", ""
	}
	if known && earlier != now {
		c.brokenAt(at, "S4", "%s/%d is %v for %s and was %v", conversation, e.Sequence, e, observer, earlier)
	}
	if !known || !e.Deleted {
		c.seen[at] = e
	}
}

func (c *checker) checkSent(k sendKey, e Event) {
	possible := false
	for _, s := range c.sent[k] {
		possible = possible || (s.Outcome != Refused && (s.Body == e.Body || e.Deleted))
	}
	if !possible {
		c.brokenAt(slot{k.conversation, e.Sequence}, "S8", "%v at %d with body %q was never sent so, or every attempt was refused", k, e.Sequence, e.Body)
	}
}
