package conversation

import (
	"google.golang.org/protobuf/proto"

	"parley/actors/conversation/document"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

const (
	stateInvited = eventv1.MemberState_MEMBER_STATE_INVITED
	stateJoined  = eventv1.MemberState_MEMBER_STATE_JOINED
	stateLeft    = eventv1.MemberState_MEMBER_STATE_LEFT
)

const (
	typeInvited = "member:invited"
	typeJoined  = "member:joined"
	typeLeft    = "member:left"
)

// addMember joins or invites a user.
func (d *draft) addMember(a *nodev1.AddMember) (*nodev1.Reply, error) {
	if err := checkAdd(a); err != nil {
		return nil, err
	}
	switch a.Action {
	case nodev1.MemberAction_MEMBER_ACTION_JOIN:
		return d.join(a)
	case nodev1.MemberAction_MEMBER_ACTION_INVITE:
		return d.invite(a)
	default:
		return nil, code.Invalid("action", "must be one of [invite, join]")
	}
}

func checkAdd(a *nodev1.AddMember) error {
	if _, err := id.Parse(id.User, a.GetUser().GetUserId()); err != nil {
		return code.New(code.UserNotFound, "user does not exist")
	}
	if _, err := id.Parse(id.Member, a.NewMemberId); err != nil {
		return code.Invalid("member_id", "must be a member id")
	}
	if err := document.CheckText(a.KnockingId, NameCharactersMax); err != nil {
		return code.Invalid("knocking_id", err.Error())
	}
	if err := checkChannel(a.Channel); err != nil {
		return err
	}
	return checkObject("media", a.Media)
}

// join makes the user a joined member. A user that was invited accepts by it and keeps its member
// id; one that left gets a new one.
func (d *draft) join(a *nodev1.AddMember) (*nodev1.Reply, error) {
	if !d.admin() && a.User.UserId != d.cmd.GetPrincipal().GetUserId() {
		if err := d.mustRead(); err != nil {
			return nil, err
		}
		return nil, code.New(code.Permission, "a user joins only itself; invite others")
	}
	m := d.view.memberOf(a.User.UserId)
	if a.MemberId != "" {
		if m = d.view.members[a.MemberId]; m == nil || m.User.GetUserId() != a.User.UserId {
			return nil, code.New(code.MemberNotFound, "member does not exist")
		}
		if m.State == stateLeft {
			return nil, invalidState(m, "join")
		}
	}
	switch m.GetState() {
	case stateJoined:
		return nil, alreadyJoined(m)
	case stateInvited:
		return d.accept(m, a)
	}
	m = d.newMember(a)
	m.State, m.JoinedMs, m.InitiatorJoined = stateJoined, d.time(), d.initiator(m)
	return d.becomeJoined(m, true), nil
}

// accept makes an invited member a joined one. a brings what it wants to change on the way.
func (d *draft) accept(invited *eventv1.Member, a *nodev1.AddMember) (*nodev1.Reply, error) {
	m := proto.CloneOf(invited)
	if a.User != nil && a.User.Revision >= m.User.GetRevision() {
		m.User = a.User
	}
	if len(a.Channel) > 0 {
		m.Channel = a.Channel
	}
	if len(a.Media) > 0 {
		m.Media = a.Media
	}
	if a.KnockingId != "" {
		m.KnockingId = a.KnockingId
	}
	m.State, m.JoinedMs, m.InitiatorJoined = stateJoined, d.time(), d.initiator(m)
	return d.becomeJoined(m, false), nil
}

func (d *draft) becomeJoined(m *eventv1.Member, added bool) *nodev1.Reply {
	m.JoinedSequence = d.head.sequence + 1
	d.head.joined++
	return d.enter(m, added, &eventv1.Event{Type: typeJoined, Body: enteredBody(d.view.meta, m)})
}

// invite makes the user an invited member. It is asked by a joined member, or by an administrator,
// who may name the member that invites.
func (d *draft) invite(a *nodev1.AddMember) (*nodev1.Reply, error) {
	inviter, err := d.inviter(a)
	if err != nil {
		return nil, err
	}
	switch m := d.view.memberOf(a.User.UserId); m.GetState() {
	case stateJoined:
		return nil, alreadyJoined(m)
	case stateInvited:
		return nil, code.New(code.MemberAlreadyInvited, "this user already has an invitation")
	}
	m := d.newMember(a)
	m.State, m.InvitedMs, m.InitiatorInvited = stateInvited, d.time(), actor(inviter)
	m.InvitedBy, m.MemberIdInviting = inviter.GetUser().GetName(), inviter.GetId()
	return d.enter(m, true, &eventv1.Event{Type: typeInvited, Body: enteredBody(d.view.meta, m)}), nil
}

func (d *draft) inviter(a *nodev1.AddMember) (*eventv1.Member, error) {
	if d.admin() {
		return d.view.named(a.MemberIdInviting)
	}
	return d.mustJoin("invite")
}

func (d *draft) newMember(a *nodev1.AddMember) *eventv1.Member {
	d.head.members++
	m := &eventv1.Member{
		Id: a.NewMemberId, Ordinal: d.head.members, User: a.User,
		Channel: a.Channel, Media: a.Media, KnockingId: a.KnockingId,
	}
	if len(m.Channel) == 0 {
		m.Channel = []byte(AppChannel)
	}
	return m
}

// enter stores a member in its new state with the event that says so, and tells its user.
func (d *draft) enter(m *eventv1.Member, added bool, e *eventv1.Event) *nodev1.Reply {
	if added {
		d.change(memberAdded{m})
	} else {
		d.change(memberChanged{m})
	}
	stored := d.store(e, m)
	news := d.index(m, stored)
	d.send(nodev1.Kind_KIND_USER, m.User.UserId, news)
	return &nodev1.Reply{Member: m, Event: stored, Head: d.head.message(), TimestampMs: e.TimestampMs,
		Memberships: []*eventv1.Membership{news.GetIndexMembership().GetMembership()}}
}

// updateMember accepts an invitation, or makes a member leave: leave, reject or kick, by who asks
// and what the state is.
func (d *draft) updateMember(u *nodev1.UpdateMember) (*nodev1.Reply, error) {
	if err := checkUpdate(u); err != nil {
		return nil, err
	}
	own := d.own()
	if err := d.mustRead(); err != nil && own == nil {
		return nil, err
	}
	m := d.view.members[u.MemberId]
	if u.MemberId == Me {
		m = own
	}
	if m == nil {
		return nil, code.New(code.MemberNotFound, "member does not exist")
	}
	if u.Action == nodev1.MemberAction_MEMBER_ACTION_JOIN {
		return d.acceptOwn(m, u)
	}
	by, err := d.remover(m, u)
	if err != nil {
		return nil, err
	}
	if m.State == stateLeft {
		return nil, invalidState(m, "leave")
	}
	return d.leave(m, actor(by), u.Reason), nil
}

// Me names the asker's own member wherever a member id is asked for.
const Me = "me"

func checkUpdate(u *nodev1.UpdateMember) error {
	switch u.Action {
	case nodev1.MemberAction_MEMBER_ACTION_JOIN, nodev1.MemberAction_MEMBER_ACTION_LEAVE:
	default:
		return code.Invalid("state", "must be one of [joined, left]")
	}
	if err := checkChannel(u.Channel); err != nil {
		return err
	}
	return checkObject("reason", u.Reason)
}

func (d *draft) acceptOwn(m *eventv1.Member, u *nodev1.UpdateMember) (*nodev1.Reply, error) {
	if !d.admin() && m.User.UserId != d.cmd.GetPrincipal().GetUserId() {
		return nil, code.New(code.Permission, "a user accepts only its own invitation")
	}
	switch m.State {
	case stateInvited:
		return d.accept(m, &nodev1.AddMember{Channel: u.Channel})
	case stateJoined:
		return nil, alreadyJoined(m)
	default:
		return nil, invalidState(m, "join")
	}
}

// remover is the member that makes m leave; nil for an administrator that names none. Whoever it
// is about may always go.
func (d *draft) remover(m *eventv1.Member, u *nodev1.UpdateMember) (*eventv1.Member, error) {
	if d.admin() {
		if u.From == m.Id {
			return m, nil
		}
		return d.view.named(u.From)
	}
	if m.User.UserId == d.cmd.GetPrincipal().GetUserId() {
		return m, nil
	}
	return d.mustJoin("remove members")
}

// leave makes m LEFT. It stays listed, and a later joining or invitation makes a new member.
func (d *draft) leave(m *eventv1.Member, by *eventv1.Initiator, reason []byte) *nodev1.Reply {
	if m.State == stateJoined {
		d.head.joined--
	}
	left := proto.CloneOf(m)
	left.State, left.LeftMs, left.Reason = stateLeft, d.time(), reason
	left.LeftSequence = d.head.sequence + 1
	return d.enter(left, false, &eventv1.Event{Type: typeLeft, Body: leftBody(d.view.meta, left, by)})
}

// userChanged takes over a user's new profile, or lets its member leave when the user is gone. It
// comes by outbox and is never refused: what it meets may have changed since. One that comes late,
// from a leader that was deposed with the delivery on its way, meets a newer profile and is ignored.
func (d *draft) userChanged(u *nodev1.UserChanged) (*nodev1.Reply, error) {
	m := d.view.memberOf(u.GetUser().GetUserId())
	if !d.view.active() || m == nil {
		return &nodev1.Reply{}, nil
	}
	if u.Deleted {
		if !present(m) {
			return &nodev1.Reply{}, nil
		}
		return d.leave(m, actor(nil), nil), nil
	}
	if u.User.Revision < m.User.GetRevision() || proto.Equal(m.User, u.User) {
		return &nodev1.Reply{}, nil
	}
	changed := proto.CloneOf(m)
	changed.User = u.User
	d.change(memberChanged{changed})
	return &nodev1.Reply{Member: changed}, nil
}

// index is the news for the index of m's user; without an event the conversation is gone.
func (d *draft) index(m *eventv1.Member, cause *nodev1.EventView) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_IndexMembership{IndexMembership: &nodev1.IndexMembership{
		Membership: &eventv1.Membership{
			ConversationId: d.entity.ID, MemberId: m.Id, State: m.State, Sequence: d.head.sequence,
			InvitedMs: m.InvitedMs, JoinedMs: m.JoinedMs, LeftMs: m.LeftMs,
			ConversationCreatedMs: d.view.meta.CreatedMs, ConversationDeleted: cause == nil,
		},
		Event: cause.GetEvent(), Author: cause.GetAuthor(),
	}}}
}

// time is when the next event will have happened.
func (d *draft) time() int64 { return max(d.now, d.head.timestampMs) }

// initiator says who makes m joined: its own user, or an administrator.
func (d *draft) initiator(m *eventv1.Member) *eventv1.Initiator {
	if d.admin() {
		return actor(nil)
	}
	return actor(m)
}

// actor is m as an initiator; nil is the system.
func actor(m *eventv1.Member) *eventv1.Initiator {
	if m == nil {
		return &eventv1.Initiator{IsSystem: true}
	}
	return &eventv1.Initiator{UserId: m.User.GetUserId(), MemberId: m.Id}
}

// asOf is the member as its event left it: what the first result of a command said. It is nil
// for events that are about no membership.
func asOf(m *eventv1.Member, e *eventv1.Event) *eventv1.Member {
	if m == nil || e.Type != typeInvited && e.Type != typeJoined && e.Type != typeLeft {
		return nil
	}
	then := proto.CloneOf(m)
	if e.Type == typeLeft {
		return then
	}
	then.State, then.LeftMs, then.LeftSequence, then.Reason = stateJoined, 0, 0, nil
	if e.Type == typeInvited {
		then.State, then.JoinedMs, then.JoinedSequence, then.InitiatorJoined = stateInvited, 0, 0, nil
	}
	return then
}

func alreadyJoined(m *eventv1.Member) error {
	return code.New(code.MemberAlreadyJoined, "this user already has a member joined in '%s' type", channelType(m.Channel))
}

func invalidState(m *eventv1.Member, verb string) error {
	return code.New(code.InvalidMemberState, "member %s has left and cannot %s; join the conversation again for a new member", m.Id, verb)
}
