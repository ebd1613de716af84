package rest

import (
	"strconv"

	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/proto/stamp"
)

func memberStampsOf(m *eventv1.Member) memberStamps {
	return memberStamps{stamp.Of(m.GetInvitedMs()), stamp.Of(m.GetJoinedMs()), stamp.Of(m.GetLeftMs())}
}

func (c *call) conversation(k *eventv1.Conversation, head *eventv1.Head) conversation {
	return conversation{conversationCore: c.conversationCore(k, head)}
}

func (c *call) conversationCore(k *eventv1.Conversation, head *eventv1.Head) conversationCore {
	out := conversationCore{
		ID: k.GetId(), Name: k.GetName(), DisplayName: k.GetDisplayName(), ImageURL: k.GetImageUrl(), State: "ACTIVE",
		Timestamp: stamps{stamp.Of(k.GetCreatedMs()), stamp.Of(k.GetUpdatedMs()), stamp.Of(k.GetDeletedMs())},
		Numbers:   k.GetNumbers(),
		Links:     selfLink{link{c.link("conversations", k.GetId())}},
	}
	if k.GetState() == eventv1.ConversationState_CONVERSATION_STATE_DELETED {
		out.State = "DELETED"
	}
	if head != nil {
		out.SequenceNumber = &head.Sequence
	}
	if p := k.GetProperties(); p != nil {
		out.Properties = properties(p)
	}
	return out
}

func properties(p *eventv1.Properties) conversationProperties {
	out := conversationProperties{Type: p.GetType(), CustomSortKey: p.GetCustomSortKey(), CustomData: p.GetCustomData()}
	if p.GetHasTtl() {
		out.TTL = &p.Ttl
	}
	return out
}

// orEmpty is the object's text, {} for nothing.
func (o object) orEmpty() []byte {
	if len(o) == 0 {
		return []byte("{}")
	}
	return o
}

// user tells a user; what is private only to administrators and to the user itself.
func (c *call) user(u *eventv1.User) user {
	out := user{
		ID: u.GetId(), Name: u.GetName(), DisplayName: u.GetDisplayName(), ImageURL: u.GetImageUrl(),
		Links: selfLink{link{c.link("users", u.GetId())}},
	}
	if c.mayReadPrivate(u.GetId()) {
		out.Properties, out.Channels = object(u.GetProperties()).orEmpty(), object(u.GetChannels()).orEmpty()
	}
	return out
}

func (c *call) mayReadPrivate(userID string) bool {
	return c.who.GetAdmin() || c.who.GetUserId() == userID
}

func (c *call) memberUser(a *eventv1.Author) memberUser {
	return memberUser{
		ID: a.GetUserId(), Name: a.GetName(), DisplayName: a.GetDisplayName(), ImageURL: a.GetImageUrl(),
		Links: selfLink{link{c.link("users", a.GetUserId())}},
	}
}

var memberStates = map[eventv1.MemberState]string{
	eventv1.MemberState_MEMBER_STATE_INVITED: "INVITED",
	eventv1.MemberState_MEMBER_STATE_JOINED:  "JOINED",
	eventv1.MemberState_MEMBER_STATE_LEFT:    "LEFT",
}

// silent is the media of a member that has none.
const silent = `{"audio_settings":{"enabled":false,"earmuffed":false,"muted":false},"audio":false}`

func (c *call) member(conversationID string, m *eventv1.Member) member {
	return member{
		memberCore: c.memberCore(conversationID, m),
		Initiator:  initiators{initiatorOf(m.GetInitiatorInvited()), initiatorOf(m.GetInitiatorJoined())},
	}
}

func (c *call) memberCore(conversationID string, m *eventv1.Member) memberCore {
	out := memberCore{
		ID: m.GetId(), ConversationID: conversationID, Embedded: memberEmbedded{c.memberUser(m.GetUser())},
		State:     memberStates[m.GetState()],
		Timestamp: memberStampsOf(m),
		Channel:   m.GetChannel(), Media: m.GetMedia(), KnockingID: m.GetKnockingId(),
		InvitedBy: m.GetInvitedBy(), MemberIDInviting: m.GetMemberIdInviting(),
		Links: selfLink{link{c.link("conversations", conversationID, "members", m.GetId())}},
	}
	if len(out.Media) == 0 {
		out.Media = object(silent)
	}
	if r := object(m.GetReason()); len(r) > 0 {
		out.Reason = &r
	}
	return out
}

func initiatorOf(i *eventv1.Initiator) *initiator {
	if i == nil {
		return nil
	}
	return &initiator{IsSystem: i.GetIsSystem(), UserID: i.GetUserId(), MemberID: i.GetMemberId()}
}

func (c *call) event(conversationID string, v *nodev1.EventView) event {
	e := v.GetEvent()
	out := event{
		ID: e.GetSequence(), Type: e.GetType(), From: e.GetFromMember(), To: e.GetTo(), Body: bodyOf(e),
		State: receiptsOf(v.GetReceipts()), Timestamp: stamp.Of(e.GetTimestampMs()),
		Links: selfLink{link{c.link("conversations", conversationID, "events", strconv.FormatUint(e.GetSequence(), 10))}},
	}
	if c.generation != v1 {
		out.ConversationID = conversationID
	}
	if a := v.GetAuthor(); a.GetUserId() != "" {
		out.Embedded.FromUser = &eventUser{ID: a.GetUserId(), Name: a.GetName(), DisplayName: a.GetDisplayName(), ImageURL: a.GetImageUrl()}
		if d := object(a.GetCustomData()); len(d) > 0 {
			out.Embedded.FromUser.CustomData = &d
		}
	}
	if e.GetFromMember() != "" {
		out.Embedded.FromMember = &eventMember{ID: e.GetFromMember()}
	}
	return out
}

// bodyOf is the event's body. Of a deleted event only the time of its deletion is left.
func bodyOf(e *eventv1.Event) object {
	if e.GetDeletedMs() != 0 {
		return object(`{"timestamp":{"deleted":"` + stamp.Of(e.GetDeletedMs()) + `"}}`)
	}
	return e.GetBody()
}

func receiptsOf(list []*eventv1.Receipt) *receipts {
	if len(list) == 0 {
		return nil
	}
	r := &receipts{DeliveredTo: make(map[string]string), SeenBy: make(map[string]string)}
	for _, one := range list {
		if one.GetDeliveredMs() != 0 {
			r.DeliveredTo[one.GetMemberId()] = stamp.Of(one.GetDeliveredMs())
		}
		if one.GetSeenMs() != 0 {
			r.SeenBy[one.GetMemberId()] = stamp.Of(one.GetSeenMs())
		}
	}
	return r
}

// each renders a list; never nil, so that an empty list is [] on the wire.
func each[P, T any](list []P, render func(P) T) []T {
	out := make([]T, len(list))
	for i, p := range list {
		out[i] = render(p)
	}
	return out
}
