package rest

import (
	"context"
	"encoding/json"
	"strconv"

	"parley/actors/api"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// arrayMax is how many users or conversations a plain array of the first generation holds.
const arrayMax = 100

func (c *call) betaHref(segments ...string) string { return c.href(prefixBeta, segments...) }

func (h *Handler) betaCreateConversation(ctx context.Context, c *call) (any, error) {
	k, _, err := h.makeConversation(ctx, c)
	if err != nil {
		return nil, err
	}
	return betaCreated{k.Id, c.betaHref("conversations", k.Id)}, nil
}

func (h *Handler) betaUpdateConversation(ctx context.Context, c *call) (any, error) {
	k, _, err := h.changeConversation(ctx, c)
	if err != nil {
		return nil, err
	}
	return betaCreated{k.Id, c.betaHref("conversations", k.Id)}, nil
}

func (h *Handler) betaDeleteConversation(ctx context.Context, c *call) (any, error) {
	_, err := h.deleteConversation(ctx, c)
	return betaNothing{}, err
}

// betaListConversations pages by the number of records to skip, so the whole list is read.
func (h *Handler) betaListConversations(ctx context.Context, c *call) (any, error) {
	size, skip := int64(pageSizeDefault), int64(0)
	if n := c.query.whole("page_size", 1, pageSizeMax); n != nil {
		size = *n
	}
	if n := c.query.whole("record_index", 0, lastSequence); n != nil {
		skip = *n
	}
	descending := c.query.choice("order", "asc", "desc") == "desc"
	from, to := c.query.moment("date_start"), c.query.moment("date_end")
	if err := c.faults.err(); err != nil {
		return nil, err
	}
	r, err := h.Cluster.ListConversations(ctx, c.who, &nodev1.Page{Descending: descending}, from, to)
	if err != nil {
		return nil, err
	}
	count := int64(len(r.Conversations))
	items := each(r.Conversations[min(skip, count):min(skip+size, count)], func(k *eventv1.Conversation) betaConversationItem {
		href := c.betaHref("conversations", k.Id)
		return betaConversationItem{UUID: k.Id, Name: k.Name, Href: href, Links: selfLink{link{href}}}
	})
	return betaConversations{
		Count: int(count), PageSize: int(size), RecordIndex: int(skip),
		Links: selfLink{link{c.base() + c.request.URL.RequestURI()}}, Embedded: betaConversationsOf{items},
	}, nil
}

func (h *Handler) betaGetConversation(ctx context.Context, c *call) (any, error) {
	conv, err := h.conversationID(ctx, c)
	if err != nil {
		return nil, err
	}
	r, err := h.Cluster.GetConversation(ctx, c.who, conv, true)
	if err != nil {
		return nil, err
	}
	k := r.Conversation
	out := betaConversation{
		UUID: k.Id, Name: k.Name, DisplayName: k.DisplayName, ImageURL: k.ImageUrl,
		Timestamp: stamps{stamp(k.CreatedMs), stamp(k.UpdatedMs), stamp(k.DeletedMs)}, SequenceNumber: r.GetHead().GetSequence(),
		Members: each(r.Members, betaMemberOf), Links: selfLink{link{c.betaHref("conversations", k.Id)}},
		Embedded: betaLegs{betaLegLinks{[]object{}}},
	}
	if n := k.GetNumbers(); json.Valid(n) && n[0] == '{' {
		out.Numbers = n
	}
	if k.Properties != nil {
		out.Properties = properties(k.Properties)
	}
	return out, nil
}

func betaMemberOf(m *eventv1.Member) betaConversationMember {
	return betaConversationMember{
		MemberID: m.GetId(), UserID: m.GetUser().GetUserId(), Name: m.GetUser().GetName(), State: memberStates[m.GetState()],
		Timestamp: memberStamps{stamp(m.GetInvitedMs()), stamp(m.GetJoinedMs()), stamp(m.GetLeftMs())},
		InvitedBy: m.GetInvitedBy(), Initiator: betaInitiatorsOf(m), Channel: m.GetChannel(), Media: m.GetMedia(),
	}
}

func betaInitiatorsOf(m *eventv1.Member) betaInitiators {
	return betaInitiators{betaInitiatorOf(m.GetInitiatorInvited()), betaInitiatorOf(m.GetInitiatorJoined())}
}

func betaInitiatorOf(i *eventv1.Initiator) *betaInitiator {
	if i == nil {
		return nil
	}
	return &betaInitiator{IsSystem: i.GetIsSystem(), UserID: i.GetUserId(), MemberID: i.GetMemberId()}
}

func (c *call) betaMember(conv string, m *eventv1.Member) betaMember {
	return betaMember{
		ID: m.GetId(), UserID: m.GetUser().GetUserId(), Name: m.GetUser().GetName(), State: memberStates[m.GetState()],
		Timestamp: memberStamps{stamp(m.GetInvitedMs()), stamp(m.GetJoinedMs()), stamp(m.GetLeftMs())},
		Channel:   m.GetChannel(), Href: c.betaHref("conversations", conv, "members", m.GetId()), Initiator: betaInitiatorsOf(m),
	}
}

func (h *Handler) betaAddMember(ctx context.Context, c *call) (any, error) {
	conv, m, err := h.enterMember(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.betaMember(conv, m), nil
}

func (h *Handler) betaGetMember(ctx context.Context, c *call) (any, error) {
	conv, m, err := h.findMember(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.betaMember(conv, m), nil
}

func (h *Handler) betaUpdateMember(ctx context.Context, c *call) (any, error) {
	conv, m, err := h.changeMember(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.betaMember(conv, m), nil
}

// betaDeleteMember lets a member leave. The reason stands in the query, under either of the names
// that clients have used.
func (h *Handler) betaDeleteMember(ctx context.Context, c *call) (any, error) {
	q := c.query
	why := leaveReason{
		Code: q.take("reason_code", q.take("code", "")), Text: q.take("reason_text", q.take("text", "")),
	}
	u := &nodev1.UpdateMember{
		MemberId: c.parameters["member"], Action: nodev1.MemberAction_MEMBER_ACTION_LEAVE, From: value(q.anyText("from", idMax)),
	}
	if why != (leaveReason{}) {
		u.Reason, _ = json.Marshal(why) // two strings always have a JSON form
	}
	if len(why.Code) > shortTextMax {
		q.fault("reason_code", "length must be less than or equal to %d characters long", shortTextMax)
	}
	if err := c.faults.err(); err != nil {
		return nil, err
	}
	conv, err := h.conversationID(ctx, c)
	if err != nil {
		return nil, err
	}
	_, err = h.Cluster.UpdateMember(ctx, c.who, conv, c.key, u)
	return betaNothing{}, err
}

func (h *Handler) betaListMembers(ctx context.Context, c *call) (any, error) {
	conv, err := h.conversationID(ctx, c)
	if err != nil {
		return nil, err
	}
	r, err := h.Cluster.ListMembers(ctx, c.who, conv, &nodev1.Page{}, false)
	if err != nil {
		return nil, err
	}
	return each(r.Members, func(m *eventv1.Member) betaMemberItem {
		return betaMemberItem{UserID: m.GetUser().GetUserId(), Name: m.GetId(), UserName: m.GetUser().GetName(), State: memberStates[m.GetState()]}
	}), nil
}

func (c *call) betaEvent(conv string, v *nodev1.EventView) betaEvent {
	e := v.GetEvent()
	out := betaEvent{
		ID: e.GetSequence(), Type: e.GetType(), From: e.GetFromMember(), To: e.GetTo(), Body: bodyOf(e), Timestamp: stamp(e.GetTimestampMs()),
		Href: c.betaHref("conversations", conv, "events", strconv.FormatUint(e.GetSequence(), 10)),
	}
	if r := receiptsOf(v.GetReceipts()); r != nil {
		out.State = betaState(*r)
	}
	return out
}

func (h *Handler) betaPostEvent(ctx context.Context, c *call) (any, error) {
	conv, r, err := h.sendEvent(ctx, c)
	if err != nil {
		return nil, err
	}
	e := r.GetEvent().GetEvent()
	if e == nil {
		return betaPosted{Timestamp: stamp(r.GetTimestampMs())}, nil
	}
	href := c.betaHref("conversations", conv, "events", strconv.FormatUint(e.GetSequence(), 10))
	return betaPosted{e.GetSequence(), stamp(e.GetTimestampMs()), href}, nil
}

func (h *Handler) betaGetEvent(ctx context.Context, c *call) (any, error) {
	conv, v, err := h.findEvent(ctx, c)
	if err != nil {
		return nil, err
	}
	out := c.betaEvent(conv, v)
	out.ApplicationID, out.ConversationID = c.who.ApplicationId, conv
	return out, nil
}

func (h *Handler) betaDeleteEvent(ctx context.Context, c *call) (any, error) {
	return betaNothing{}, h.removeEvent(ctx, c)
}

// betaListEvents gives the whole range, as this generation's clients expect who fill their gaps
// by it. It is read in bounded steps.
func (h *Handler) betaListEvents(ctx context.Context, c *call) (any, error) {
	l := h.readRange(c.query)
	if err := c.faults.err(); err != nil {
		return nil, err
	}
	conv, err := h.conversationID(ctx, c)
	if err != nil {
		return nil, err
	}
	items := []betaEvent{}
	for at := []byte(nil); ; {
		l.Page = &nodev1.Page{Size: pageSizeMax, After: at}
		r, err := h.Cluster.ListEvents(ctx, c.who, conv, l)
		if err != nil {
			return nil, err
		}
		for _, v := range r.Events {
			items = append(items, c.betaEvent(conv, v))
		}
		if at = r.Next; len(at) == 0 {
			return items, nil
		}
	}
}

func (h *Handler) betaCreateUser(ctx context.Context, c *call) (any, error) {
	u, err := h.makeUser(ctx, c)
	if err != nil {
		return nil, err
	}
	return betaCreated{u.Id, c.betaHref("users", u.Id)}, nil
}

func (h *Handler) betaUpdateUser(ctx context.Context, c *call) (any, error) {
	u, err := h.changeUser(ctx, c)
	if err != nil {
		return nil, err
	}
	return betaCreated{u.Id, c.betaHref("users", u.Id)}, nil
}

func (h *Handler) betaDeleteUser(ctx context.Context, c *call) (any, error) {
	_, err := h.deleteUser(ctx, c)
	return betaNothing{}, err
}

func (h *Handler) betaGetUser(ctx context.Context, c *call) (any, error) {
	u, err := h.findUser(ctx, c)
	if err != nil {
		return nil, err
	}
	out := betaUser{ID: u.Id, Name: u.Name, Href: c.betaHref("users", u.Id), DisplayName: u.DisplayName, ImageURL: u.ImageUrl}
	if c.mayReadPrivate(u.Id) {
		out.Channels, out.Properties = u.Channels, u.Properties
	}
	return out, nil
}

func (h *Handler) betaListUsers(ctx context.Context, c *call) (any, error) {
	r, err := h.Cluster.ListUsers(ctx, c.who, &nodev1.Page{Size: arrayMax}, "")
	if err != nil {
		return nil, err
	}
	return each(r.Users, func(u *eventv1.User) betaUserItem {
		return betaUserItem{u.GetId(), u.GetName(), c.betaHref("users", u.GetId())}
	}), nil
}

func (h *Handler) betaListUserConversations(ctx context.Context, c *call) (any, error) {
	usr, err := c.userID()
	if err == nil {
		err = c.mayListOf(usr, "conversations")
	}
	if err != nil {
		return nil, err
	}
	if _, err = h.Cluster.GetUser(ctx, c.who, api.UserRef{ID: usr}); err != nil {
		return nil, err
	}
	r, err := h.Cluster.ListMemberships(ctx, c.who, usr, &nodev1.Page{Size: arrayMax}, nil)
	if err != nil {
		return nil, err
	}
	heads, err := h.heads(ctx, c, r.Conversations)
	if err != nil {
		return nil, err
	}
	items := make([]betaUserConversation, len(r.Conversations))
	for i, k := range r.Conversations {
		items[i] = betaUserConversation{
			ID: k.GetId(), Name: k.GetName(), DisplayName: k.GetDisplayName(), ImageURL: k.GetImageUrl(),
			Timestamp: stamps{Created: stamp(k.GetCreatedMs())}, State: memberStates[r.Memberships[i].GetState()],
			MemberID: r.Memberships[i].GetMemberId(), SequenceNumber: heads[i].GetSequence(),
			Href: c.betaHref("users", usr, "conversations", k.GetId()),
		}
	}
	return items, nil
}
