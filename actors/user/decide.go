package user

import (
	"math"
	"slices"

	"google.golang.org/protobuf/proto"

	"parley/actors/conversation/document"
	"parley/actors/grain"
	"parley/actors/name"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// draft collects what one command leads to. It reads the machine's view and never changes it.
type draft struct {
	*machine
	now int64
	cmd *nodev1.Command

	changes []change
	outbox  []*nodev1.OutboxRow
	fanout  []*nodev1.Fanout
}

// decide is the table of contents of what a user can be asked.
func (d *draft) decide() (*nodev1.Reply, error) {
	switch b := d.cmd.Body.(type) {
	case *nodev1.Command_IndexMembership:
		return d.index(b.IndexMembership)
	case *nodev1.Command_PropagateUser:
		return d.propagate()
	case *nodev1.Command_Probe:
		return d.probe(b.Probe)
	case *nodev1.Command_PutDevice, *nodev1.Command_DeleteDevice, *nodev1.Command_MutePush:
		return d.decideDevices()
	}
	if !d.cmd.GetPrincipal().GetAdmin() {
		return nil, code.New(code.Permission, "only an administrator may create, change or delete users")
	}
	switch b := d.cmd.Body.(type) {
	case *nodev1.Command_CreateUser:
		return d.create(b.CreateUser.GetUser())
	case *nodev1.Command_ImportUser:
		return d.bring(b.ImportUser)
	case *nodev1.Command_UpdateUser:
		return d.update(b.UpdateUser)
	case *nodev1.Command_DeleteUser:
		return d.remove()
	default:
		return nil, code.New(code.InvalidEvent, "a user does not know this command")
	}
}

// alive says that there is such a user: created, and not deleted.
func (m *machine) alive() bool { return m.user != nil && !m.user.Never && m.user.DeletedMs == 0 }

// create makes the user, or gives the one that the same request made before.
func (d *draft) create(wanted *eventv1.User) (*nodev1.Reply, error) {
	if d.user != nil {
		return d.created(wanted)
	}
	if err := CheckProfile(wanted); err != nil {
		return nil, err
	}
	u := proto.CloneOf(wanted)
	u.ApplicationId, u.Id, u.Never = d.entity.Application, d.entity.ID, false
	u.CreatedMs, u.UpdatedMs, u.DeletedMs, u.NameFence, u.Revision = d.now, d.now, 0, 0, 1
	d.change(profileChanged{u}, listed{u.CreatedMs})
	d.confirm(u)
	return &nodev1.Reply{User: u}, nil
}

// aheadMax is how far a clock that wrote an imported time may be ahead of ours, in milliseconds.
const aheadMax = 60_000

// bring makes a user that another service has had, under the id and with the time that it had there,
// or finds that it has done so before: what it was made from is its idempotency key. A user that was
// given up before it was made may still be, under a later reservation of its name.
func (d *draft) bring(c *nodev1.ImportUser) (*nodev1.Reply, error) {
	wanted := c.GetUser()
	if d.user != nil && !d.user.Never {
		return d.created(wanted)
	}
	if err := CheckProfile(wanted); err != nil {
		return nil, err
	}
	if wanted.CreatedMs < 0 || wanted.CreatedMs > d.now+aheadMax {
		return nil, code.Invalid("timestamp.created", "must not lie in the future")
	}
	if c.NameToken <= d.user.GetNameFence() {
		return nil, code.New(code.Unavailable, "the user's name was given up by another request; try again")
	}
	u := proto.CloneOf(wanted)
	u.ApplicationId, u.Id, u.Never = d.entity.Application, d.entity.ID, false
	if u.CreatedMs == 0 {
		u.CreatedMs = d.now // the other service did not say when
	}
	u.UpdatedMs, u.DeletedMs, u.NameFence, u.Revision = max(u.UpdatedMs, u.CreatedMs), 0, c.NameToken, 1
	d.change(profileChanged{u}, listed{u.CreatedMs})
	d.confirm(u)
	return &nodev1.Reply{User: u}, nil
}

// created answers a creation that meets something under its id. Ids are derived from application
// and key, so that only a repetition can meet a living user. One that was given up is shown as it
// is: whoever asks goes on under the next id.
func (d *draft) created(wanted *eventv1.User) (*nodev1.Reply, error) {
	switch {
	case d.user.Never:
		return &nodev1.Reply{User: d.user}, nil
	case d.user.DeletedMs != 0:
		return nil, code.New(code.IdempotencyConflict,
			"the user that this key made has been deleted; use a new key for a new one")
	case d.user.IdempotencyKey != wanted.GetIdempotencyKey():
		return nil, code.New(code.IdempotencyConflict, "another request has made this user")
	}
	return &nodev1.Reply{User: d.user, Duplicate: true}, nil
}

// probe answers whether the user exists. One that was never heard of never will: the name that
// waits for it is free from now on. So is a name that waits for its renaming: the fence rises to
// the reservation's token, and the renaming is refused should it still come.
func (d *draft) probe(p *nodev1.Probe) (*nodev1.Reply, error) {
	if d.user == nil {
		never := &eventv1.User{ApplicationId: d.entity.Application, Id: d.entity.ID, Never: true, DeletedMs: d.now, NameFence: p.Token}
		d.change(profileChanged{never})
		return &nodev1.Reply{User: never}, nil
	}
	u := d.user
	if (d.alive() || u.Never) && p.Name != "" && p.Name != u.Name && p.Token > u.NameFence {
		u = proto.CloneOf(u)
		u.NameFence = p.Token
		d.change(profileChanged{u})
	}
	return &nodev1.Reply{User: u, Exists: d.alive()}, nil
}

// update replaces what the command brings. A new name has been reserved before.
func (d *draft) update(c *nodev1.UpdateUser) (*nodev1.Reply, error) {
	if !d.alive() {
		return nil, notFound()
	}
	u := proto.CloneOf(d.user)
	merge(u, c)
	renamed := u.Name != d.user.Name
	if err := checkProfile(u, renamed); err != nil {
		return nil, err
	}
	if renamed && c.NameToken <= d.user.NameFence {
		return nil, code.New(code.Unavailable, "the user's name was changed or given up by another request; try again")
	}
	if proto.Equal(u, d.user) {
		return &nodev1.Reply{User: d.user}, nil
	}
	u.UpdatedMs = max(d.now, u.UpdatedMs)
	told := !proto.Equal(AuthorOf(u), AuthorOf(d.user))
	if told {
		u.Revision++
	}
	d.change(profileChanged{u})
	if renamed {
		u.NameFence = c.NameToken
		d.confirm(u)
		d.release(d.user.Name, u.NameFence)
	}
	if told {
		d.sendPropagate("")
	}
	return &nodev1.Reply{User: u}, nil
}

func merge(u *eventv1.User, c *nodev1.UpdateUser) {
	if c.Name != nil {
		u.Name = *c.Name
	}
	if c.DisplayName != nil {
		u.DisplayName = *c.DisplayName
	}
	if c.ImageUrl != nil {
		u.ImageUrl = *c.ImageUrl
	}
	if len(c.Properties) > 0 {
		u.Properties = c.Properties
	}
	if len(c.Channels) > 0 {
		u.Channels = c.Channels
	}
}

// remove leaves a tombstone at once; its conversations are told step by step, and each lets the
// user's member leave.
func (d *draft) remove() (*nodev1.Reply, error) {
	if !d.alive() {
		return nil, notFound()
	}
	tombstone := &eventv1.User{
		ApplicationId: d.user.ApplicationId, Id: d.user.Id, CreatedMs: d.user.CreatedMs,
		DeletedMs: max(d.now, d.user.CreatedMs), IdempotencyKey: d.user.IdempotencyKey,
	}
	d.change(profileChanged{tombstone}, unlisted{d.user.CreatedMs})
	d.keepDevices(&eventv1.Devices{})
	d.release(d.user.Name, math.MaxUint64)
	d.sendPropagate("")
	d.tell(&nodev1.Fanout{Body: &nodev1.Fanout_Deleted{Deleted: true}})
	return &nodev1.Reply{User: tombstone}, nil
}

// index takes news of a membership. It comes by outbox, at least once, and is never refused.
// News that are not newer than the row change nothing. Where there is no row they may be of a conversation that was
// deleted, and have been on their way since before that, from a leader that was deposed.
func (d *draft) index(i *nodev1.IndexMembership) (*nodev1.Reply, error) {
	news := i.GetMembership()
	if _, err := id.Parse(id.Conversation, news.GetConversationId()); err != nil || d.user == nil {
		return &nodev1.Reply{}, nil
	}
	known := d.memberships[news.ConversationId]
	if news.ConversationDeleted {
		d.forget(known, i)
		return &nodev1.Reply{}, nil
	}
	if !d.alive() {
		d.answerLate(news)
		return &nodev1.Reply{}, nil
	}
	if known != nil && known.Sequence >= news.Sequence || known == nil && d.wasDeleted(news.ConversationId) {
		return &nodev1.Reply{}, nil
	}
	if known == nil {
		d.change(membershipOrdered{news})
	}
	d.change(membershipIndexed{news})
	d.tellMembership(i)
	if present(news) && !proto.Equal(i.GetAuthor(), AuthorOf(d.user)) {
		d.inform(news)
	}
	return &nodev1.Reply{}, nil
}

// forget takes a deleted conversation out of the index, and remembers it for news of it that come late.
func (d *draft) forget(known *eventv1.Membership, i *nodev1.IndexMembership) {
	if known != nil {
		d.change(membershipDropped{known})
		d.tellMembership(i)
	}
	conversation := i.GetMembership().GetConversationId()
	if !d.alive() || d.wasDeleted(conversation) {
		return
	}
	ids := d.deleted.GetIds()
	ids = ids[max(0, len(ids)-DeletedMax+1):]
	d.change(deletionNoted{&eventv1.DeletedConversations{Ids: append(slices.Clone(ids), conversation)}})
}

func (d *draft) wasDeleted(conversation string) bool {
	return slices.Contains(d.deleted.GetIds(), conversation)
}

// answerLate lets a conversation know that the user it took in is gone.
func (d *draft) answerLate(news *eventv1.Membership) {
	if present(news) {
		d.inform(news)
	}
}

// propagate is one step of telling the conversations about a change. The step tells what the
// profile is now, so that repeating it, or one overtaking another, ends in the same. Of a user that is gone it takes out
// of the index what it has told and no more: it may go on with an earlier change, and what stands before it has not
// heard of the deletion yet.
func (d *draft) propagate() (*nodev1.Reply, error) {
	if d.user == nil {
		return &nodev1.Reply{}, nil
	}
	page := d.page[:min(len(d.page), d.informable())]
	for _, membership := range page {
		if present(membership) {
			d.inform(membership)
		}
		if !d.alive() {
			d.change(membershipDropped{membership})
		}
	}
	if len(page) < len(d.page) || len(page) == PropagateMax {
		d.sendPropagate(page[len(page)-1].ConversationId)
	} else if !d.alive() {
		d.change(deletionsForgotten{})
	}
	return &nodev1.Reply{}, nil
}

// informable is how many conversations one step can tell, because each row brings the whole profile.
func (d *draft) informable() int {
	const addressing = 256 // bytes of a row besides the profile
	return max(1, grain.EffectsBytesMax/(addressing+AuthorOf(d.user).SizeVT()))
}

// present memberships are those whose conversation counts on the user.
func present(m *eventv1.Membership) bool {
	return m.State == eventv1.MemberState_MEMBER_STATE_JOINED || m.State == eventv1.MemberState_MEMBER_STATE_INVITED
}

// inform tells a conversation the user's profile, or that the user is gone.
func (d *draft) inform(m *eventv1.Membership) {
	author := AuthorOf(d.user)
	author.UserId = d.entity.ID
	d.send(nodev1.Kind_KIND_CONVERSATION, m.ConversationId, &nodev1.Command{Body: &nodev1.Command_UserChanged{
		UserChanged: &nodev1.UserChanged{User: author, MemberId: m.MemberId, Deleted: !d.alive()},
	}})
}

func (d *draft) confirm(u *eventv1.User) {
	d.send(nodev1.Kind_KIND_NAME, nameEntity(u.Name),
		&nodev1.Command{Body: &nodev1.Command_ConfirmName{ConfirmName: &nodev1.ConfirmName{OwnerId: u.Id, Token: u.NameFence}}})
}

// release gives up the reservations of a name up to a token.
func (d *draft) release(name string, token uint64) {
	d.send(nodev1.Kind_KIND_NAME, nameEntity(name),
		&nodev1.Command{Body: &nodev1.Command_ReleaseName{ReleaseName: &nodev1.ReleaseName{OwnerId: d.entity.ID, Token: token}}})
}

func nameEntity(of string) string { return name.EntityID(name.OfUser, of) }

func (d *draft) sendPropagate(after string) {
	d.send(nodev1.Kind_KIND_USER, d.entity.ID,
		&nodev1.Command{Body: &nodev1.Command_PropagateUser{PropagateUser: &nodev1.PropagateUser{After: after}}})
}

// send leaves work for another entity in the outbox.
func (d *draft) send(kind nodev1.Kind, target string, cmd *nodev1.Command) {
	cmd.Principal = &nodev1.Principal{ApplicationId: d.entity.Application, Admin: true}
	d.outbox = append(d.outbox, &nodev1.OutboxRow{
		TargetKind: kind, ApplicationId: d.entity.Application, TargetId: target,
		SourceId: d.entity.ID, Command: cmd, CreatedMs: d.now,
	})
}

func (d *draft) change(c ...change) { d.changes = append(d.changes, c...) }

// tell hands f to the edges where the user has sessions, after the commit.
func (d *draft) tell(f *nodev1.Fanout) {
	f.ApplicationId, f.Id = d.entity.Application, d.entity.ID
	d.fanout = append(d.fanout, f)
}

func (d *draft) tellMembership(i *nodev1.IndexMembership) {
	change := &nodev1.MembershipChange{Membership: i.Membership}
	if i.Event != nil {
		change.Event = &nodev1.EventView{Event: i.Event, Author: i.Author}
	}
	d.tell(&nodev1.Fanout{Body: &nodev1.Fanout_Membership{Membership: change}})
}

// CheckProfile checks what a caller may set of a user; its errors are code.ValidationFail. Who is
// about to reserve a name for a user asks it first.
func CheckProfile(u *eventv1.User) error { return checkProfile(u, true) }

// checkProfile is CheckProfile. A name that is not new may have what a new one may not: older versions took it.
func checkProfile(u *eventv1.User, named bool) error {
	if u.GetName() == "" {
		return code.Invalid("name", "is not allowed to be empty")
	}
	if err := document.CheckName(u.Name, NameCharactersMax); named && err != nil {
		return code.Invalid("name", err.Error())
	}
	for _, f := range []struct {
		field, value string
		max          int
	}{
		{"display_name", u.DisplayName, DisplayNameCharactersMax},
		{"image_url", u.ImageUrl, ImageURLCharactersMax},
		{"idempotency_key", u.IdempotencyKey, idempotencyKeyMax},
	} {
		if err := document.CheckText(f.value, f.max); err != nil {
			return code.Invalid(f.field, err.Error())
		}
	}
	for _, f := range []struct {
		field string
		value []byte
	}{{"properties", u.Properties}, {"channels", u.Channels}} {
		if len(f.value) == 0 {
			continue
		}
		if err := document.Check(f.value, ObjectBytesMax); err != nil {
			return code.Invalid(f.field, err.Error())
		}
	}
	return nil
}

const idempotencyKeyMax = 128
