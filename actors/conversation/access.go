package conversation

import (
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// CanRead says whether p may read the conversation c, where own is the newest member of p's user,
// or nil. Callers have checked that c is active and of p's application.
func CanRead(p *nodev1.Principal, c *eventv1.Conversation, own *eventv1.Member) bool {
	return p.GetAdmin() || created(p, c) || present(own)
}

// CanChange says whether p may update and delete the conversation c.
func CanChange(p *nodev1.Principal, c *eventv1.Conversation) bool {
	return p.GetAdmin() || created(p, c)
}

func created(p *nodev1.Principal, c *eventv1.Conversation) bool {
	return p.GetUserId() != "" && p.GetUserId() == c.GetCreatorUser()
}

// present members are those that a conversation still counts on: invited or joined.
func present(m *eventv1.Member) bool {
	return joined(m) || m.GetState() == eventv1.MemberState_MEMBER_STATE_INVITED
}

func joined(m *eventv1.Member) bool {
	return m.GetState() == eventv1.MemberState_MEMBER_STATE_JOINED
}

func (d *draft) admin() bool { return d.cmd.GetPrincipal().GetAdmin() }

// own is the asker's own member.
func (d *draft) own() *eventv1.Member { return d.view.own(d.cmd.GetPrincipal()) }

// own is the newest member of p's user; nil for administrators and those who never were one.
func (v *view) own(p *nodev1.Principal) *eventv1.Member {
	if p.GetAdmin() {
		return nil
	}
	return v.memberOf(p.GetUserId())
}

func (d *draft) mustRead() error {
	if CanRead(d.cmd.GetPrincipal(), d.view.meta, d.own()) {
		return nil
	}
	return notFound()
}

// mustOwn lets administrators and the creator pass.
func (d *draft) mustOwn(what string) error {
	if err := d.mustRead(); err != nil {
		return err
	}
	if CanChange(d.cmd.GetPrincipal(), d.view.meta) {
		return nil
	}
	return code.New(code.Permission, "only its creator or an administrator may %s the conversation", what)
}

// mustJoin gives the asking user's member if it is joined.
func (d *draft) mustJoin(what string) (*eventv1.Member, error) {
	if err := d.mustRead(); err != nil {
		return nil, err
	}
	if own := d.own(); joined(own) {
		return own, nil
	}
	return nil, code.New(code.Permission, "only a joined member may %s", what)
}

// sender is the member that the command acts as.
func (d *draft) sender(from string) (*eventv1.Member, error) {
	return d.view.sender(d.cmd.GetPrincipal(), from)
}

// sender is the member that p acts as. Users act as their own joined member and as no other, which from
// may name; administrators as the joined member that it names, or as nobody (nil).
func (v *view) sender(p *nodev1.Principal, from string) (*eventv1.Member, error) {
	if p.GetAdmin() {
		return v.named(from)
	}
	own := v.own(p)
	if own == nil && !created(p, v.meta) {
		return nil, notFound()
	}
	if from != "" && from != own.GetId() && v.members[from].GetUser().GetUserId() != p.GetUserId() {
		return nil, code.New(code.EventPermission, "a user acts only as its own member, not as %s", from)
	}
	if !joined(own) || from != "" && from != own.Id {
		return nil, code.New(code.EventNotJoined, "only a joined member may do this; join the conversation first")
	}
	return own, nil
}

// named is the joined member that an administrator acts as; nil when it names none.
func (v *view) named(from string) (*eventv1.Member, error) {
	if from == "" {
		return nil, nil
	}
	m := v.members[from]
	if m == nil {
		return nil, code.New(code.MemberNotFound, "the member named by from does not exist")
	}
	if !joined(m) {
		return nil, code.New(code.EventNotJoined, "member %s is not joined", m.Id)
	}
	return m, nil
}
