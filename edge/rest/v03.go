package rest

import (
	"context"

	"parley/edge/web"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/proto/stamp"
)

// conversation03 is a conversation as v0.3 tells it.
type conversation03 struct {
	conversationCore
	Embedded *own03 `json:"_embedded,omitempty" doc:"The membership of the user that asks, or whose list it is."`
}

type own03 struct {
	Member membership03 `json:"member"`
}

type membership03 struct {
	ID        string          `json:"id"`
	State     string          `json:"state" enum:"INVITED,JOINED,LEFT"`
	Timestamp memberStamps    `json:"timestamp"`
	Channel   *object         `json:"channel,omitempty"`
	Embedded  *memberEmbedded `json:"_embedded,omitempty"`
}

type conversationsOf03 struct {
	Conversations []conversation03 `json:"conversations"`
}

// member03 is a member as v0.3 tells it.
type member03 struct {
	memberCore
	Initiator betaInitiators `json:"initiator"`
}

type membersOf03 struct {
	Members []member03 `json:"members"`
}

// eventsOf03 has the list twice: the documentation had it in one place, most clients read the other.
type eventsOf03 struct {
	Events []event  `json:"events"`
	Data   eventsOf `json:"data" doc:"The same list."`
}

func (c *call) conversation03(k *eventv1.Conversation, head *eventv1.Head) conversation03 {
	return conversation03{conversationCore: c.conversationCore(k, head)}
}

func (c *call) member03(conv string, m *eventv1.Member) member03 {
	return member03{memberCore: c.memberCore(conv, m), Initiator: betaInitiatorsOf(m)}
}

func (h *Handler) createConversation03(ctx context.Context, c *call) (any, error) {
	k, head, err := h.makeConversation(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.conversation03(k, orZero(head)), nil
}

func (h *Handler) getConversation03(ctx context.Context, c *call) (any, error) {
	conv, err := h.conversationID(ctx, c)
	if err != nil {
		return nil, err
	}
	r, err := h.Cluster.GetConversation(ctx, c.who, conv, false)
	if err != nil {
		return nil, err
	}
	out := c.conversation03(r.Conversation, orZero(r.Head))
	if m := r.GetMember(); m != nil {
		channel := object(m.GetChannel())
		out.Embedded = &own03{membership03{
			ID: m.GetId(), State: memberStates[m.GetState()],
			Timestamp: memberStampsOf(m),
			Channel:   &channel, Embedded: &memberEmbedded{c.memberUser(m.GetUser())},
		}}
	}
	return out, nil
}

func (h *Handler) updateConversation03(ctx context.Context, c *call) (any, error) {
	k, head, err := h.changeConversation(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.conversation03(k, orZero(head)), nil
}

func (h *Handler) listConversations03(ctx context.Context, c *call) (any, error) {
	l, err := h.pageConversations(ctx, c)
	if err != nil {
		return nil, err
	}
	items := each(l.Conversations, func(k *eventv1.Conversation) conversation03 { return c.conversation03(k, nil) })
	return page[conversationsOf03]{l.size, conversationsOf03{items}, l.links}, nil
}

func (h *Handler) listUserConversations03(ctx context.Context, c *call) (any, error) {
	l, heads, err := h.pageUserConversations(ctx, c)
	if err != nil {
		return nil, err
	}
	items := make([]conversation03, len(l.Conversations))
	for i, k := range l.Conversations {
		m := l.Memberships[i]
		items[i] = c.conversation03(k, heads[i])
		items[i].Embedded = &own03{membership03{
			ID: m.GetMemberId(), State: memberStates[m.GetState()],
			Timestamp: memberStamps{stamp.Of(m.GetInvitedMs()), stamp.Of(m.GetJoinedMs()), stamp.Of(m.GetLeftMs())},
		}}
	}
	return page[conversationsOf03]{l.size, conversationsOf03{items}, l.links}, nil
}

func (h *Handler) listMembers03(ctx context.Context, c *call) (any, error) {
	l, err := h.pageMembers(ctx, c)
	if err != nil {
		return nil, err
	}
	items := each(l.Members, func(m *eventv1.Member) member03 { return c.member03(l.owner, m) })
	return page[membersOf03]{l.size, membersOf03{items}, l.links}, nil
}

func (h *Handler) addMember03(ctx context.Context, c *call) (any, error) {
	conv, m, err := h.enterMember(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.member03(conv, m), nil
}

func (h *Handler) getMember03(ctx context.Context, c *call) (any, error) {
	conv, m, err := h.findMember(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.member03(conv, m), nil
}

func (h *Handler) updateMember03(ctx context.Context, c *call) (any, error) {
	conv, m, err := h.changeMember(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.member03(conv, m), nil
}

func (h *Handler) listEvents03(ctx context.Context, c *call) (any, error) {
	l, err := h.pageEvents(ctx, c)
	if err != nil {
		return nil, err
	}
	items := each(l.Events, func(v *nodev1.EventView) event { return c.event(l.owner, v) })
	return page[eventsOf03]{l.size, eventsOf03{items, eventsOf{items}}, l.links}, nil
}

// refreshed answers a refreshed session. Clients differ in the name that they read.
type refreshed struct {
	ID        string `json:"id"`
	SessionID string `json:"session_id"`
	UserID    string `json:"user_id"`
	Name      string `json:"name"`
}

// refreshSession gives a live session the token that the request was sent with.
func (h *Handler) refreshSession(ctx context.Context, c *call) (any, error) {
	session := c.parameters["session"]
	absent := code.New(code.SessionNotFound, "The user of the token has no such session.")
	if h.Refresher == nil || c.who.Admin {
		return nil, absent
	}
	token, err := web.BearerToken(c.request)
	if err != nil {
		return nil, err
	}
	if err := h.Refresher.RenewSession(ctx, &nodev1.RenewSession{Session: session, Token: token}); err != nil {
		return nil, err
	}
	return refreshed{session, session, c.who.UserId, c.who.UserName}, nil
}

// center is where a client finds a part of the service.
type center struct {
	Endpoint string `json:"endpoint" format:"uri"`
	HTTPS    string `json:"https" format:"uri"`
	WS       string `json:"ws" format:"uri"`
}

// discoverAPI names this node as the only data centre there is. A client checks its https by a
// plain GET, so that is an address which answers without a token.
func (h *Handler) discoverAPI(_ context.Context, c *call) (any, error) {
	base := c.base()
	return map[string]center{"parley": {Endpoint: base, HTTPS: base + "/readyz", WS: "ws" + base[len("http"):]}}, nil
}

// discoverMedia gives the media servers of a data centre: none.
func (h *Handler) discoverMedia(context.Context, *call) (any, error) { return []object{}, nil }

// takeMetrics thanks for a client's figures and drops them: they are not measured here.
func (h *Handler) takeMetrics(context.Context, *call) (any, error) { return betaNothing{}, nil }
