package export

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// link puts everything in order and checks it: first the conversations with their histories, because
// events tell of members and users that no list has.
func (x *Export) link() error {
	for _, id := range slices.Sorted(maps.Keys(x.known)) {
		c := x.known[id]
		events, err := x.history(c)
		if err != nil {
			return err
		}
		c.events = len(events)
		x.derive(c, events)
		x.checkConversation(c, events)
		x.Conversations = append(x.Conversations, c)
	}
	for _, id := range slices.Sorted(maps.Keys(x.users)) {
		x.checkUser(x.users[id])
		x.Users = append(x.Users, x.users[id])
	}
	x.checkNames()
	return nil
}

// Events reads a conversation's history: dense from 1, times that never go back. Problems were told by
// Read, and the files must be as they were then.
func (c *Conversation) Events() ([]*Event, error) {
	quiet := &Export{}
	return quiet.history(c)
}

func (x *Export) history(c *Conversation) ([]*Event, error) {
	byID := map[uint64]*Event{}
	in := &spanReader{files: c.files}
	defer in.close()
	size := int64(0)
	for _, s := range c.spans {
		if size += int64(s.size); size > FileBytesMax {
			return nil, fmt.Errorf("conversation %s: its history is larger than %d bytes", c.ID, FileBytesMax)
		}
		err := in.events(c, s, func(e *Event) {
			if x.checkEvent(e) && byID[e.ID] == nil {
				byID[e.ID] = e
			}
		})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", c.files.names[s.file], err)
		}
	}
	events := slices.SortedFunc(maps.Values(byID), func(a, b *Event) int { return cmp.Compare(a.ID, b.ID) })
	return x.complete(c, events), nil
}

// complete fills holes with deleted events, and lifts times that lie before that of the event before.
func (x *Export) complete(c *Conversation, events []*Event) []*Event {
	var all []*Event
	next, before := uint64(1), time.Time{}
	for _, e := range events {
		if e.ID-next > gapMax {
			x.problem(e.at, true, "id", "events %d to %d are missing from the export", next, e.ID-1)
			return all
		}
		now, err := moment(e.Timestamp)
		if err == nil && now.Before(before) {
			x.problem(e.at, false, "timestamp", "lies before that of event %d, whose time it gets", next-1)
			now, e.Timestamp = before, stamp(before)
		}
		if e.ID > next {
			x.problem(e.at, false, "id", "events %d to %d are missing; deleted ones of type %s stand for them", next, e.ID-1, MissingType)
		}
		for ; next < e.ID; next++ {
			all = append(all, &Event{ID: next, Type: MissingType, Timestamp: e.Timestamp, Deleted: e.Timestamp, at: e.at})
		}
		all, next, before = append(all, e), e.ID+1, now
	}
	if c.sequence >= next && next > 1 {
		x.problem(c.at, false, "sequence_number", "the conversation had %d events, and the export has them up to %d", c.sequence, next-1)
	}
	return all
}

// derive makes the members that no list has, but events tell of, and the users that no list has, but
// members tell of.
func (x *Export) derive(c *Conversation, events []*Event) {
	listed := len(c.members) > 0
	unknown := map[string]bool{}
	for _, e := range events {
		m := c.byID[e.From]
		if m == nil && e.From != "" && e.author.ID != "" {
			m = &Member{ID: e.From, User: e.author, at: e.at, derived: true}
			c.byID[e.From], c.members = m, append(c.members, m)
		}
		if m == nil {
			if e.From != "" && !unknown[e.From] {
				unknown[e.From] = true
				x.problem(e.at, false, "from", "nothing says which user %s is; its events are imported without a name", e.From)
			}
			continue
		}
		m.told(e)
	}
	for _, m := range c.members {
		if m.derived && (listed || m.State == "") {
			m.State = "LEFT"
		}
		x.deriveUser(m)
	}
	c.members = inOrder(c.members)
	fill(&c.Name, "NAM-"+strings.TrimPrefix(c.ID, "CON-"))
	if len(events) > 0 {
		fill(&c.Timestamp.Created, events[0].Timestamp)
	}
}

// told takes the times of a member from an event of its own.
func (m *Member) told(e *Event) {
	state := ""
	switch e.Type {
	case "member:invited":
		fill(&m.Timestamp.Invited, e.Timestamp)
		state = "INVITED"
	case "member:joined":
		fill(&m.Timestamp.Joined, e.Timestamp)
		state = "JOINED"
	case "member:left":
		fill(&m.Timestamp.Left, e.Timestamp)
		state = "LEFT"
	}
	if m.derived && state != "" {
		m.State = state
	}
}

func (m *Member) since() string {
	return cmp.Or(m.Timestamp.Invited, m.Timestamp.Joined, m.Timestamp.Left)
}

// inOrder puts members into the order in which they came. Of one user who has left came first, also where the
// times do not say so: some lists have none.
func inOrder(members []*Member) []*Member {
	slices.SortStableFunc(members, func(a, b *Member) int { return strings.Compare(a.since(), b.since()) })
	leaving := map[string]int{} // by user: who has left and is still to come
	for _, m := range members {
		if m.left() {
			leaving[m.User.ID]++
		}
	}
	ordered, early := make([]*Member, 0, len(members)), map[string][]*Member{}
	for _, m := range members {
		user := m.User.ID
		if !m.left() && leaving[user] > 0 {
			early[user] = append(early[user], m)
			continue
		}
		ordered = append(ordered, m)
		if m.left() {
			leaving[user]--
		}
		if leaving[user] == 0 {
			ordered = append(ordered, early[user]...)
			delete(early, user)
		}
	}
	return ordered
}

func (m *Member) left() bool { return m.State == "LEFT" }

func (x *Export) deriveUser(m *Member) {
	if x.users[m.User.ID] != nil || m.State == "LEFT" || m.User.ID == "" || m.User.Name == "" {
		return
	}
	x.problem(m.at, false, "user", "no list of users has %s; it is made with the name %q", m.User.ID, m.User.Name)
	x.users[m.User.ID] = &User{ID: m.User.ID, Name: m.User.Name, DisplayName: m.User.DisplayName, at: m.at}
}

// Count says how much there is to import.
func (x *Export) Count() Counts {
	n := Counts{Users: len(x.Users)}
	for _, c := range x.Conversations {
		n.Add(c.Count())
	}
	return n
}
