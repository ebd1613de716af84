package conversation

import (
	"strings"

	"google.golang.org/protobuf/proto"

	"parley/actors/conversation/document"
	"parley/actors/grain"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// An import brings in a conversation that another service has had: ids, order and times are kept. It
// is an administrator's, and goes
//
//	importing ──members, events, in order──▶ importing ──finish──▶ active
//
// Until it is finished nobody sees the conversation, and all other commands but its deletion are told
// that it does not exist. Nothing of it is told to anybody: no webhook, no notification, no fan-out.
// Every step may be repeated, and what is there already must be the same.

const stateImporting = eventv1.ConversationState_CONVERSATION_STATE_IMPORTING

// ImportKey begins the idempotency key of what was imported; the sum of its content follows.
const ImportKey = "import:"

// Limits of one step of an import.
const (
	// ImportMembersMax is how many members one command brings.
	ImportMembersMax = 100
	// ImportEventsMax is how many events one command brings, and importReceiptsMax how many receipts they have.
	ImportEventsMax   = 100
	importReceiptsMax = 4096
	// AnnounceMembersMax is how many members of an imported conversation one step tells.
	AnnounceMembersMax = 128
	// aheadMax is how far a clock that wrote an imported time may be ahead of ours.
	aheadMax = 60_000
)

// importing gives the reply of a command that belongs to an import; ok is false for any other.
func (d *draft) importing() (reply *nodev1.Reply, err error, ok bool) {
	switch b := d.cmd.Body.(type) {
	case *nodev1.Command_ImportConversation:
		reply, err = d.importConversation(b.ImportConversation)
	case *nodev1.Command_ImportMembers:
		reply, err = d.importMembers(b.ImportMembers.GetMembers())
	case *nodev1.Command_ImportEvents:
		reply, err = d.importEvents(b.ImportEvents.GetEvents())
	case *nodev1.Command_FinishImport:
		reply, err = d.finishImport(b.FinishImport)
	case *nodev1.Command_AnnounceMembers:
		reply, err = d.announce(b.AnnounceMembers.GetAfter())
	case *nodev1.Command_DeleteConversation:
		if d.view.meta.GetState() != stateImporting || !d.admin() {
			return nil, nil, false
		}
		reply, err = d.remove()
	default:
		return nil, nil, false
	}
	return reply, err, true
}

// importConversation makes the conversation under an id that the caller brings, or finds that it has
// done so before: what it was made from is its idempotency key. A conversation that was given up
// before it was made may still be, under a later reservation of its name.
func (d *draft) importConversation(c *nodev1.ImportConversation) (*nodev1.Reply, error) {
	if !d.admin() {
		return nil, onlyAdministrators()
	}
	wanted, old := c.GetConversation(), d.view.meta
	if old != nil && old.State != stateNever {
		return d.created(wanted)
	}
	if err := CheckProfile(wanted); err != nil {
		return nil, err
	}
	if err := checkTime("timestamp.created", wanted.CreatedMs, d.now); err != nil {
		return nil, err
	}
	if c.NameToken <= old.GetNameFence() {
		return nil, code.New(code.Unavailable, "the conversation's name was given up by another request; try again")
	}
	meta := proto.CloneOf(wanted)
	meta.ApplicationId, meta.Id, meta.State = d.entity.Application, d.entity.ID, stateImporting
	if meta.CreatedMs == 0 {
		meta.CreatedMs = d.now // the other service did not say when
	}
	meta.UpdatedMs, meta.DeletedMs, meta.NameFence = max(wanted.UpdatedMs, meta.CreatedMs), 0, c.NameToken
	d.change(metadataChanged{meta})
	d.confirm(meta)
	return &nodev1.Reply{Conversation: meta, Head: d.head.message()}, nil
}

// mustImport lets the steps of an import pass.
func (d *draft) mustImport() error {
	switch {
	case !d.admin():
		return onlyAdministrators()
	case d.view.meta.GetState() == stateImporting:
		return nil
	case d.view.active():
		return code.New(code.IdempotencyConflict, "the conversation is in use; only one that is being imported takes a history")
	}
	return notFound()
}

func onlyAdministrators() error {
	return code.New(code.Permission, "only an administrator may import")
}

// importMembers appends members in the order in which they came. Of one user only the last may be
// invited or joined.
func (d *draft) importMembers(members []*eventv1.Member) (*nodev1.Reply, error) {
	if err := d.mustImport(); err != nil {
		return nil, err
	}
	if len(members) > ImportMembersMax {
		return nil, code.Invalid("members", "must contain less than or equal to 100 items")
	}
	here := map[string]*eventv1.Member{} // of this command, by id and by user
	for _, wanted := range members {
		if err := checkImported(wanted, d.now); err != nil {
			return nil, err
		}
		known := here[wanted.Id]
		if known == nil {
			known = d.view.members[wanted.Id]
		}
		if known != nil {
			if !sameMember(known, wanted) {
				return nil, code.New(code.IdempotencyConflict, "member %s is there already, and is another", wanted.Id)
			}
			continue
		}
		last := here[wanted.User.UserId]
		if last == nil {
			last = d.view.memberOf(wanted.User.UserId)
		}
		if present(last) {
			return nil, code.New(code.InvalidMemberState, "member %s comes after %s of the same user, who has not left", wanted.Id, last.Id)
		}
		m := imported(wanted)
		d.head.members++
		m.Ordinal = d.head.members
		if joined(m) {
			d.head.joined++
		}
		here[m.Id], here[m.User.UserId] = m, m
		d.change(memberAdded{m})
	}
	return &nodev1.Reply{Conversation: d.view.meta, Head: d.head.message()}, nil
}

// imported is a member as it is stored, but for its ordinal.
func imported(wanted *eventv1.Member) *eventv1.Member {
	m := proto.CloneOf(wanted)
	m.Ordinal, m.JoinedSequence, m.LeftSequence = 0, 0, 0
	if len(m.Channel) == 0 {
		m.Channel = []byte(AppChannel)
	}
	return m
}

// sameMember says whether a stored member is what is to be imported. The profile of its user may have
// changed since.
func sameMember(stored, wanted *eventv1.Member) bool {
	a, b := imported(stored), imported(wanted)
	same := a.User.GetUserId() == b.User.GetUserId()
	a.User, b.User = nil, nil
	return same && proto.Equal(a, b)
}

func checkImported(m *eventv1.Member, now int64) error {
	if _, err := id.Parse(id.Member, m.GetId()); err != nil {
		return code.Invalid("members.id", "must be a member id")
	}
	if _, err := id.Parse(id.User, m.GetUser().GetUserId()); err != nil {
		return code.Invalid("members.user.id", "must be a user id")
	}
	switch m.State {
	case stateInvited, stateJoined, stateLeft:
	default:
		return code.Invalid("members.state", "must be one of [INVITED, JOINED, LEFT]")
	}
	for _, ms := range []int64{m.InvitedMs, m.JoinedMs, m.LeftMs} {
		if err := checkTime("members.timestamp", ms, now); err != nil {
			return err
		}
	}
	for _, text := range []struct{ field, value string }{
		{"members.user.name", m.User.Name}, {"members.invited_by", m.InvitedBy}, {"members.knocking_id", m.KnockingId},
		{"members.member_id_inviting", m.MemberIdInviting},
	} {
		if err := document.CheckText(text.value, NameCharactersMax); err != nil {
			return code.Invalid(text.field, err.Error())
		}
	}
	if err := checkChannel(m.Channel); err != nil {
		return err
	}
	if err := checkObject("members.media", m.Media); err != nil {
		return err
	}
	return checkObject("members.reason", m.Reason)
}

// checkTime refuses times that no clock can have shown: what is later would keep all that follows
// from having its own time.
func checkTime(field string, ms, now int64) error {
	if ms < 0 || ms > now+aheadMax {
		return code.Invalid(field, "must not lie in the future")
	}
	return nil
}

// finishImport lets the conversation be seen. The numbers say what the caller believes to have brought.
func (d *draft) finishImport(f *nodev1.FinishImport) (*nodev1.Reply, error) {
	if d.admin() && d.view.active() && strings.HasPrefix(d.view.meta.IdempotencyKey, ImportKey) && f.Sequence <= d.head.sequence {
		return &nodev1.Reply{Conversation: d.view.meta, Head: d.head.message(), Duplicate: true}, nil
	}
	if err := d.mustImport(); err != nil {
		return nil, err
	}
	if f.Sequence != d.head.sequence || f.Members != d.head.members {
		return nil, code.New(code.IdempotencyConflict, "the conversation has %d events and %d members, not %d and %d",
			d.head.sequence, d.head.members, f.Sequence, f.Members)
	}
	meta := proto.CloneOf(d.view.meta)
	meta.State = stateActive
	d.change(metadataChanged{meta}, listed{meta.CreatedMs})
	d.sendAnnounce(0)
	return &nodev1.Reply{Conversation: meta, Head: d.head.message()}, nil
}

func (d *draft) sendAnnounce(after uint64) {
	d.send(nodev1.Kind_KIND_CONVERSATION, d.entity.ID,
		&nodev1.Command{Body: &nodev1.Command_AnnounceMembers{AnnounceMembers: &nodev1.AnnounceMembers{After: after}}})
}

// announce is one step of telling the users of an imported conversation about it. Repeating a step
// tells the same users again, which changes nothing for them; a user whose profile has changed since,
// or who is gone, answers with that.
func (d *draft) announce(after uint64) (*nodev1.Reply, error) {
	if !d.view.active() {
		return &nodev1.Reply{}, nil
	}
	last, size := after, 0
	for _, m := range d.view.announced {
		if size += m.SizeVT(); size > grain.EffectsBytesMax && last > after {
			break // each row brings a whole profile
		}
		last = m.Ordinal
		if d.view.newest[m.User.GetUserId()] != m.Id {
			continue // the user's index has its newest member alone
		}
		news := d.index(m, nil)
		membership := news.GetIndexMembership()
		membership.Membership.ConversationDeleted, membership.Author = false, m.User
		d.send(nodev1.Kind_KIND_USER, m.User.UserId, news)
	}
	if last > after && last < d.head.members {
		d.sendAnnounce(last)
	}
	return &nodev1.Reply{}, nil
}
