package query

import (
	"fmt"

	"parley/actors/conversation"
	"parley/actors/grain"
	"parley/persistence/store"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// room is a conversation that the asker may read.
type room struct {
	*server
	moment // own is the asker's newest member
	rows   conversation.Rows
}

// conversation answers what is asked of one conversation. Whoever may not read it is told that it
// does not exist.
func (s *server) conversation(q *nodev1.Query) (*nodev1.Reply, error) {
	if get := q.GetGetConversation(); get.GetGone() && s.principal().GetAdmin() {
		return s.remains(get.GetUser())
	}
	c, err := s.enter()
	if err != nil {
		return nil, err
	}
	switch b := q.GetBody().(type) {
	case *nodev1.Query_GetConversation:
		return c.get(b.GetConversation)
	case *nodev1.Query_GetMember:
		return c.member(b.GetMember.GetMemberId())
	case *nodev1.Query_ListMembers:
		return c.members(b.ListMembers)
	case *nodev1.Query_GetEvent:
		return c.event(b.GetEvent.GetSequence())
	case *nodev1.Query_ListEvents:
		return c.events(b.ListEvents)
	default:
		return nil, unknown()
	}
}

// remains gives what is known under the id, tombstones included, and an empty reply for what was
// never heard of; with a user its newest member too.
func (s *server) remains(user string) (*nodev1.Reply, error) {
	rows, ok := conversation.RowsOf(grain.Entity{Shard: s.home(), Application: s.request.ApplicationId, ID: s.request.Id})
	if !ok || !s.sameApplication() {
		return nil, noConversation()
	}
	now, err := s.look(rows, user)
	if err != nil {
		return nil, err
	}
	return &nodev1.Reply{Conversation: now.meta, Head: now.head, Member: now.own, Exists: now.active()}, nil
}

// moment is what a conversation was like at one moment.
type moment struct {
	meta *eventv1.Conversation // nil when it was never heard of
	own  *eventv1.Member       // the newest of a user, nil when it has none
	head *eventv1.Head
}

func (m moment) active() bool {
	return m.meta.GetState() == eventv1.ConversationState_CONVERSATION_STATE_ACTIVE
}

// looksMax is how often a conversation is looked at that changes meanwhile each time: which takes far
// longer than a look.
const looksMax = 8

// look reads one moment. The reader may see each row at another, so it looks again when the revision has
// risen meanwhile. After looksMax times the head is older than the rest: what it does not have yet comes
// again, and nothing is missed.
func (s *server) look(rows conversation.Rows, user string) (now moment, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("query conversation: %w", err)
		}
	}()
	for range looksMax {
		var before, after uint64
		if now.head, before, err = rows.HeadAt(s.reader); err != nil {
			return now, err
		}
		if now.meta, err = rows.Metadata(s.reader); err != nil {
			return now, err
		}
		if now.own, err = newest(s.reader, rows, user); err != nil {
			return now, err
		}
		if _, after, err = rows.HeadAt(s.reader); err != nil || after == before {
			return now, err
		}
	}
	return now, nil
}

// enter reads the conversation and checks that the asker may.
func (s *server) enter() (*room, error) {
	c := &room{server: s}
	var ok bool
	c.rows, ok = conversation.RowsOf(grain.Entity{
		Shard: s.home(), Application: s.request.ApplicationId, ID: s.request.Id,
	})
	if !ok || !s.sameApplication() {
		return nil, noConversation()
	}
	var err error
	if c.moment, err = s.look(c.rows, s.principal().GetUserId()); err != nil {
		return nil, err
	}
	if !c.active() || !conversation.CanRead(s.principal(), c.meta, c.own) {
		return nil, noConversation()
	}
	return c, nil
}

// newest is the newest member of a user; nil if there is none.
func newest(from store.Reader, rows conversation.Rows, user string) (*eventv1.Member, error) {
	if user == "" {
		return nil, nil
	}
	member, err := rows.MemberOfUser(from, user)
	if err != nil || member == "" {
		return nil, err
	}
	return rows.Member(from, member)
}

// get gives metadata, head, the asker's member with its cursor, and all members when asked to:
// LEFT ones included, by ordinal, as far as one answer goes: Next is set when there are more.
func (c *room) get(q *nodev1.GetConversation) (*nodev1.Reply, error) {
	reply := &nodev1.Reply{Conversation: c.meta, Head: c.head, Member: c.own}
	if c.own != nil {
		cursor, err := c.rows.Cursor(c.reader, c.own.Id)
		if err != nil {
			return nil, fmt.Errorf("query conversation: %w", err)
		}
		reply.Cursor = cursor
	}
	if !q.GetWithMembers() {
		return reply, nil
	}
	err := c.listMembers(page{size: AllMax, bytes: BytesMax}, false, reply)
	return reply, err
}

// member gives one member with its cursor, by id or the asker's own by "me". LEFT ones are found
// too.
func (c *room) member(member string) (*nodev1.Reply, error) {
	m := c.own
	if member != conversation.Me {
		var err error
		if m, err = c.rows.Member(c.reader, member); err != nil {
			return nil, fmt.Errorf("query member: %w", err)
		}
	}
	if m == nil {
		return nil, code.New(code.MemberNotFound, "member does not exist")
	}
	cursor, err := c.rows.Cursor(c.reader, m.Id)
	if err != nil {
		return nil, fmt.Errorf("query member: %w", err)
	}
	return &nodev1.Reply{Member: m, Cursor: cursor}, nil
}

// members lists members in the order of their joining or invitation.
func (c *room) members(q *nodev1.ListMembers) (*nodev1.Reply, error) {
	p, err := pageOf(q.GetPage())
	if err != nil {
		return nil, err
	}
	if err := p.within(8); err != nil {
		return nil, err
	}
	reply := &nodev1.Reply{Head: c.head}
	return reply, c.listMembers(p, q.GetExcludeLeft(), reply)
}

func (c *room) listMembers(p page, excludeLeft bool, reply *nodev1.Reply) error {
	err := p.walk(c.reader, under(c.rows.MemberOrders()), func(_, value []byte) (*item, error) {
		m, err := c.rows.MemberAt(c.reader, value)
		if err != nil || m == nil || excludeLeft && m.State == eventv1.MemberState_MEMBER_STATE_LEFT {
			return nil, err
		}
		return &item{m.SizeVT(), func() { reply.Members = append(reply.Members, m) }}, nil
	}, reply)
	if err != nil {
		return fmt.Errorf("query members: %w", err)
	}
	return nil
}

func noConversation() error { return conversation.NotFound() }
