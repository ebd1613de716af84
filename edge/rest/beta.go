package rest

import (
	"context"
	"encoding/json"
	"strconv"

	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/proto/stamp"
)

// arrayMax is how many users or conversations a plain array of the first generation holds.
const arrayMax = 100

func (h *Handler) betaCreateConversation(ctx context.Context, c *call) (any, error) {
	k, _, err := h.makeConversation(ctx, c)
	if err != nil {
		return nil, err
	}
	return betaCreated{k.Id, c.link("conversations", k.Id)}, nil
}

func (h *Handler) betaUpdateConversation(ctx context.Context, c *call) (any, error) {
	k, _, err := h.changeConversation(ctx, c)
	if err != nil {
		return nil, err
	}
	return betaCreated{k.Id, c.link("conversations", k.Id)}, nil
}

func (h *Handler) betaDeleteConversation(ctx context.Context, c *call) (any, error) {
	_, err := h.deleteConversation(ctx, c)
	return betaNothing{}, err
}

// window is a page by number of records.
type window struct{ size, skip int }

func (c *call) window() window {
	w := window{size: pageSizeDefault}
	if n := c.query.whole("page_size", 1, pageSizeMax); n != nil {
		w.size = int(*n)
	}
	if n := c.query.whole("record_index", 0, lastSequence); n != nil {
		w.skip = int(*n)
	}
	return w
}

// self is the link of the request itself.
func (c *call) self() string { return c.base() + c.request.URL.RequestURI() }

// countAhead is how far behind the window records are still counted. A list that goes on further
// is told as that long: who walks to the count walks on.
const countAhead = 200

// betaListConversations pages by the number of records to skip. What is skipped is read, a step at
// a time, and no more than countAhead of what follows.
func (h *Handler) betaListConversations(ctx context.Context, c *call) (any, error) {
	w := c.window()
	descending := c.query.choice("order", "asc", "desc") == "desc"
	from, to := c.query.moment("date_start"), c.query.moment("date_end")
	if err := c.faults.err(); err != nil {
		return nil, err
	}
	items, count := []betaConversationItem{}, 0
	for at := []byte(nil); ; {
		r, err := h.Cluster.ListConversations(ctx, c.who, &nodev1.Page{Size: pageSizeMax, Descending: descending, After: at}, from, to)
		if err != nil {
			return nil, err
		}
		for _, k := range r.Conversations {
			if count >= w.skip && len(items) < w.size {
				href := c.link("conversations", k.Id)
				items = append(items, betaConversationItem{UUID: k.Id, Name: k.Name, Href: href, Links: selfLink{link{href}}})
			}
			count++
		}
		if at = r.Next; len(at) == 0 || count >= w.skip+w.size+countAhead {
			break
		}
	}
	return betaConversations{
		Count: count, PageSize: w.size, RecordIndex: w.skip,
		Links: selfLink{link{c.self()}}, Embedded: betaConversationsOf{items},
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
	k, members := r.Conversation, r.Members
	for at := r.Next; len(at) > 0; {
		more, err := h.Cluster.ListMembers(ctx, c.who, conv, &nodev1.Page{After: at}, false)
		if err != nil {
			return nil, err
		}
		members, at = append(members, more.Members...), more.Next
	}
	out := betaConversation{
		UUID: k.Id, Name: k.Name, DisplayName: k.DisplayName, ImageURL: k.ImageUrl, APIKey: c.who.ApplicationId,
		Timestamp: stamps{stamp.Of(k.CreatedMs), stamp.Of(k.UpdatedMs), stamp.Of(k.DeletedMs)}, SequenceNumber: r.GetHead().GetSequence(),
		Members: each(members, betaMemberOf), Links: selfLink{link{c.link("conversations", k.Id)}},
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
		Timestamp: memberStampsOf(m),
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
		Timestamp: memberStampsOf(m),
		Channel:   m.GetChannel(), Href: c.link("conversations", conv, "members", m.GetId()), Initiator: betaInitiatorsOf(m),
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
	_, err = h.Cluster.UpdateMember(ctx, c.who, conv, c.once(), u)
	return betaNothing{}, err
}

func (h *Handler) betaListMembers(ctx context.Context, c *call) (any, error) {
	conv, err := h.conversationID(ctx, c)
	if err != nil {
		return nil, err
	}
	p := &nodev1.Page{Size: pageSizeMax}
	return streamed(ctx, func(ctx context.Context) ([]any, bool, error) {
		r, err := h.Cluster.ListMembers(ctx, c.who, conv, p, false)
		if err != nil {
			return nil, false, err
		}
		p.After = r.Next
		return each(r.Members, func(m *eventv1.Member) any {
			return betaMemberItem{UserID: m.GetUser().GetUserId(), Name: m.GetId(), UserName: m.GetUser().GetName(), State: memberStates[m.GetState()]}
		}), len(r.Next) > 0, nil
	})
}

func (c *call) betaEvent(conv string, v *nodev1.EventView) betaEvent {
	e := v.GetEvent()
	out := betaEvent{
		ID: e.GetSequence(), Type: e.GetType(), From: e.GetFromMember(), To: e.GetTo(), Body: bodyOf(e), Timestamp: stamp.Of(e.GetTimestampMs()),
		Href: c.link("conversations", conv, "events", strconv.FormatUint(e.GetSequence(), 10)),
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
		return betaPosted{Timestamp: stamp.Of(r.GetTimestampMs())}, nil
	}
	href := c.link("conversations", conv, "events", strconv.FormatUint(e.GetSequence(), 10))
	return betaPosted{e.GetSequence(), stamp.Of(e.GetTimestampMs()), href}, nil
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

// stepBytes is how many bytes of events one step of a long answer has, about: what one answer
// between nodes holds.
const stepBytes = 512 << 10

// betaListEvents gives the whole range, as this generation's clients expect who fill their gaps
// by it. It is read and written in steps. What comes while it is read is not part of it.
func (h *Handler) betaListEvents(ctx context.Context, c *call) (any, error) {
	l := h.readRange(c.query)
	if err := c.faults.err(); err != nil {
		return nil, err
	}
	conv, err := h.conversationID(ctx, c)
	if err != nil {
		return nil, err
	}
	l.Page, l.BytesMax = &nodev1.Page{Size: pageSizeMax}, stepBytes
	return streamed(ctx, func(ctx context.Context) ([]any, bool, error) {
		r, err := h.Cluster.ListEvents(ctx, c.who, conv, l)
		if err != nil {
			return nil, false, err
		}
		l.Page.After = r.Next
		if l.End == 0 {
			l.End = r.GetHead().GetSequence()
		}
		return each(r.Events, func(v *nodev1.EventView) any { return c.betaEvent(conv, v) }), len(r.Next) > 0, nil
	})
}

func (h *Handler) betaCreateUser(ctx context.Context, c *call) (any, error) {
	u, err := h.makeUser(ctx, c)
	if err != nil {
		return nil, err
	}
	return betaCreated{u.Id, c.link("users", u.Id)}, nil
}

func (h *Handler) betaUpdateUser(ctx context.Context, c *call) (any, error) {
	u, err := h.changeUser(ctx, c)
	if err != nil {
		return nil, err
	}
	return betaCreated{u.Id, c.link("users", u.Id)}, nil
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
	out := betaUser{ID: u.Id, Name: u.Name, Href: c.link("users", u.Id), DisplayName: u.DisplayName, ImageURL: u.ImageUrl}
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
		return betaUserItem{u.GetId(), u.GetName(), c.link("users", u.GetId())}
	}), nil
}

func (h *Handler) betaListUserConversations(ctx context.Context, c *call) (any, error) {
	states := readStates(c.query)
	if err := c.faults.err(); err != nil {
		return nil, err
	}
	usr, err := h.ownList(ctx, c, "conversations")
	if err != nil {
		return nil, err
	}
	r, err := h.Cluster.ListMemberships(ctx, c.who, usr, &nodev1.Page{Size: arrayMax}, states)
	if err != nil {
		return nil, err
	}
	items := make([]betaUserConversation, len(r.Conversations))
	for i, k := range r.Conversations {
		items[i] = betaUserConversation{
			ID: k.GetId(), Name: k.GetName(), DisplayName: k.GetDisplayName(), ImageURL: k.GetImageUrl(),
			Timestamp: stamps{Created: stamp.Of(k.GetCreatedMs())}, State: memberStates[r.Memberships[i].GetState()],
			MemberID: r.Memberships[i].GetMemberId(), SequenceNumber: r.Heads[i].GetSequence(),
			Href: c.link("users", usr, "conversations", k.GetId()),
		}
	}
	return items, nil
}
