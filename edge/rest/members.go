package rest

import (
	"context"

	"parley/actors/api"
	actor "parley/actors/conversation"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// memberBody is how a user is invited or joined.
type memberBody struct {
	State            string       `json:"state" enum:"invited,joined"`
	User             *memberNamed `json:"user,omitempty" doc:"By id or by name; a user's own token may leave it out."`
	Channel          object       `json:"channel,omitempty" doc:"{\"type\":\"app\"} if absent."`
	Media            object       `json:"media,omitempty"`
	KnockingID       string       `json:"knocking_id,omitempty"`
	MemberID         string       `json:"member_id,omitempty" doc:"The invitation that is accepted."`
	MemberIDInviting string       `json:"member_id_inviting,omitempty"`
	From             string       `json:"from,omitempty"`
}

type memberNamed struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
}

// memberPatch changes a member.
type memberPatch struct {
	State   string       `json:"state" enum:"joined,left"`
	Channel object       `json:"channel,omitempty"`
	From    string       `json:"from,omitempty" doc:"The acting member, for administrators."`
	Reason  *leaveReason `json:"reason,omitempty"`
}

type leaveReason struct {
	Code string `json:"code,omitempty"`
	Text string `json:"text,omitempty"`
}

// idMax bounds ids that are passed on unread, in characters.
const idMax = 100

// readAction reads what shall happen: state in v1, action before; each takes the other, too.
func readAction(in *input, kinds map[string]nodev1.MemberAction, states, actions []string) nodev1.MemberAction {
	state, action := in.choice("state", states...), in.choice("action", actions...)
	if state == "" && action == "" {
		name := "state"
		if in.lenient {
			name = "action"
		}
		in.required(name, false)
	}
	if state != "" {
		return kinds[state]
	}
	return kinds[action]
}

var addActions = map[string]nodev1.MemberAction{
	"joined": nodev1.MemberAction_MEMBER_ACTION_JOIN, "join": nodev1.MemberAction_MEMBER_ACTION_JOIN,
	"invited": nodev1.MemberAction_MEMBER_ACTION_INVITE, "invite": nodev1.MemberAction_MEMBER_ACTION_INVITE,
	"leave": nodev1.MemberAction_MEMBER_ACTION_LEAVE,
}

var changeActions = map[string]nodev1.MemberAction{
	"joined": nodev1.MemberAction_MEMBER_ACTION_JOIN, "join": nodev1.MemberAction_MEMBER_ACTION_JOIN,
	"left": nodev1.MemberAction_MEMBER_ACTION_LEAVE, "leave": nodev1.MemberAction_MEMBER_ACTION_LEAVE,
}

// readMember reads whom to add and how. The guides of the era's command line have somebody leave in the same way.
func readMember(c *call) (api.UserRef, *nodev1.AddMember, error) {
	in, actions := c.body, []string{"invite", "join"}
	if c.generation.lenient {
		actions = append(actions, "leave")
	}
	add := &nodev1.AddMember{
		Action:     readAction(in, addActions, []string{"invited", "joined"}, actions),
		MemberId:   value(in.anyText("member_id", idMax)),
		Channel:    in.raw("channel"),
		Media:      in.raw("media"),
		KnockingId: value(in.anyText("knocking_id", idMax)), MemberIdInviting: value(in.anyText("member_id_inviting", idMax)),
	}
	if len(add.Channel) == 0 {
		add.Channel = []byte(actor.AppChannel)
	}
	ref := api.UserRef{ID: value(in.text("user_id", idMax)), Name: value(in.text("user_name", nameMax))}
	if u := in.object("user"); u != nil {
		ref = api.UserRef{ID: value(u.text("id", idMax)), Name: value(u.text("name", nameMax))}
	}
	if ref == (api.UserRef{}) && c.who.Admin {
		name := "user"
		if c.generation.lenient {
			name = "user_id"
		}
		in.required(name, false)
	}
	return ref, add, c.faults.err()
}

// enterMember adds a member, or lets it leave, in any generation, and gives it with its conversation's id.
func (h *Handler) enterMember(ctx context.Context, c *call) (string, *eventv1.Member, error) {
	ref, add, err := readMember(c)
	if err != nil {
		return "", nil, err
	}
	conv, err := h.conversationID(ctx, c)
	if err != nil {
		return "", nil, err
	}
	if add.Action == nodev1.MemberAction_MEMBER_ACTION_LEAVE {
		m, err := h.letLeave(ctx, c, conv, ref, add.MemberId)
		return conv, m, err
	}
	r, err := h.Cluster.AddMember(ctx, c.who, conv, c.once(), ref, add)
	return conv, r.GetMember(), err
}

// changeMember carries out what the body says about a member, in any generation.
func (h *Handler) changeMember(ctx context.Context, c *call) (string, *eventv1.Member, error) {
	in := c.body
	u := &nodev1.UpdateMember{
		MemberId: c.parameters["member"],
		Action:   readAction(in, changeActions, []string{"joined", "left"}, []string{"join", "leave"}),
		Channel:  in.raw("channel"), From: value(in.anyText("from", idMax)), Reason: in.raw("reason"),
	}
	if r := in.object("reason"); r != nil {
		r.anyText("code", shortTextMax)
		r.anyText("text", shortTextMax)
	}
	if err := c.faults.err(); err != nil {
		return "", nil, err
	}
	conv, err := h.conversationID(ctx, c)
	if err != nil {
		return "", nil, err
	}
	m, err := h.settleMember(ctx, c, conv, u)
	return conv, m, err
}

// settleMember changes a member, and gives it as it is then.
func (h *Handler) settleMember(ctx context.Context, c *call, conv string, u *nodev1.UpdateMember) (*eventv1.Member, error) {
	r, err := h.Cluster.UpdateMember(ctx, c.who, conv, c.once(), u)
	if err != nil || r.GetMember() != nil {
		return r.GetMember(), err
	}
	return h.Cluster.GetMember(ctx, c.who, conv, u.MemberId)
}

// letLeave lets a member leave, or that of a user.
func (h *Handler) letLeave(ctx context.Context, c *call, conv string, ref api.UserRef, member string) (*eventv1.Member, error) {
	if member == "" {
		var err error
		if member, err = h.memberOf(ctx, c, conv, ref); err != nil {
			return nil, err
		}
	}
	return h.settleMember(ctx, c, conv, &nodev1.UpdateMember{MemberId: member, Action: nodev1.MemberAction_MEMBER_ACTION_LEAVE})
}

// memberOf finds a user's member, "" when it has none or has left: what that means for the asker the conversation
// says, which decides the change for the asker, whoever looked. It looks as that user, who sees its own member.
func (h *Handler) memberOf(ctx context.Context, c *call, conv string, ref api.UserRef) (string, error) {
	if ref == (api.UserRef{}) {
		return actor.Me, nil
	}
	u, err := h.Cluster.GetUser(ctx, c.who, ref)
	if err != nil {
		return "", err
	}
	if u.Id == c.who.UserId {
		return actor.Me, nil
	}
	itself := &nodev1.Principal{ApplicationId: c.who.ApplicationId, UserId: u.Id, UserName: u.Name}
	m, err := h.Cluster.GetMember(ctx, itself, conv, actor.Me)
	if code.Has(err, code.ConversationNotFound) || code.Has(err, code.MemberNotFound) {
		return "", nil
	}
	return m.GetId(), err
}

func (h *Handler) addMember(ctx context.Context, c *call) (any, error) {
	conv, m, err := h.enterMember(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.member(conv, m), nil
}

func (h *Handler) findMember(ctx context.Context, c *call) (string, *eventv1.Member, error) {
	conv, err := h.conversationID(ctx, c)
	if err != nil {
		return "", nil, err
	}
	if c.parameters["member"] == "me" && c.who.Admin {
		return "", nil, code.New(code.MemberNotFound, "The token has no sub, so it is no member.")
	}
	m, err := h.Cluster.GetMember(ctx, c.who, conv, c.parameters["member"])
	return conv, m, err
}

func (h *Handler) getMember(ctx context.Context, c *call) (any, error) {
	conv, m, err := h.findMember(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.member(conv, m), nil
}

func (h *Handler) updateMember(ctx context.Context, c *call) (any, error) {
	conv, m, err := h.changeMember(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.member(conv, m), nil
}

func (h *Handler) listMembers(ctx context.Context, c *call) (any, error) {
	l, err := h.pageMembers(ctx, c)
	if err != nil {
		return nil, err
	}
	items := each(l.Members, func(m *eventv1.Member) member { return c.member(l.owner, m) })
	return page[membersOf]{l.size, membersOf{items}, l.links}, nil
}
