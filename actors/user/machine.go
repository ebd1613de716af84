// Package user is the pure heart of a user: its profile, and the index of its memberships that the
// conversations keep up to date through their outboxes. Beside them stand the devices that it wants
// notifications on.
//
// Administrators create, change and delete users; other users read them (package query). A changed
// profile, and a deletion, travel to the user's conversations step by step. News of a membership
// may be older than the profile or come after the deletion: each is then answered with what the
// conversation should know, so that both sides agree in the end.
package user

import (
	"parley/actors/conversation/document"
	"parley/actors/conversation/row"
	"parley/actors/grain"
	"parley/internal/invariant"
	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// Limits of a user.
const (
	// NameCharactersMax, DisplayNameCharactersMax and ImageURLCharactersMax bound the profile.
	NameCharactersMax        = 100
	DisplayNameCharactersMax = 50
	ImageURLCharactersMax    = 2048
	// ObjectBytesMax bounds properties and channels.
	ObjectBytesMax = 16 << 10
	// DeletedMax is of how many deleted conversations a user remembers that they were: those deleted last.
	DeletedMax = 64
	// PropagateMax is how many conversations one step tells of a change.
	PropagateMax = 128
)

// machine implements grain.Machine for one user.
type machine struct {
	entity     grain.Entity
	app        keys.UUID
	id         keys.UUID
	wellFormed bool // the id; else no user can stand behind it
	loaded     bool

	user        *eventv1.User                  // nil = never heard of
	memberships map[string]*eventv1.Membership // by conversation; nil = absent
	deleted     *eventv1.DeletedConversations  // nil = not loaded
	page        []*eventv1.Membership          // what the step at hand tells
	devices     *eventv1.Devices               // nil = not loaded
}

// New makes the machine of the user e. It is called by grain shells, once per activation and
// again after a batch that was not committed.
func New(e grain.Entity) grain.Machine {
	app, errApp := id.Parse(id.Application, e.Application)
	user, errUser := id.Parse(id.User, e.ID)
	return &machine{
		entity: e, app: app, id: user, wellFormed: errApp == nil && errUser == nil,
		memberships: map[string]*eventv1.Membership{},
	}
}

// AuthorOf is the part of a user that conversations keep beside its members.
func AuthorOf(u *eventv1.User) *eventv1.Author {
	custom := document.Fields(u.GetProperties())["custom_data"]
	if !document.IsObject(custom) {
		custom = nil
	}
	return &eventv1.Author{
		UserId: u.GetId(), Name: u.GetName(), DisplayName: u.GetDisplayName(), ImageUrl: u.GetImageUrl(), CustomData: custom,
		Revision: u.GetRevision(),
	}
}

// Load implements grain.Machine.
func (m *machine) Load(r store.Reader, _ uint64, _ []byte, cmd *nodev1.Command) error {
	if !m.wellFormed {
		return nil
	}
	if !m.loaded {
		u, err := row.Find[eventv1.User](r, keys.User(m.entity.Shard, m.app, m.id))
		if err != nil {
			return err
		}
		m.user, m.loaded = u, true
	}
	switch b := cmd.Body.(type) {
	case *nodev1.Command_IndexMembership:
		return m.loadMembership(r, b.IndexMembership.GetMembership())
	case *nodev1.Command_PropagateUser:
		return m.loadPage(r, b.PropagateUser.GetAfter())
	case *nodev1.Command_PutDevice, *nodev1.Command_DeleteDevice, *nodev1.Command_MutePush, *nodev1.Command_DeleteUser:
		return m.loadDevices(r)
	}
	return nil
}

// loadMembership loads what is known of a membership, and of what is not, or will not be, whether it is of the past.
func (m *machine) loadMembership(r store.Reader, news *eventv1.Membership) error {
	con, err := id.Parse(id.Conversation, news.GetConversationId())
	if err != nil {
		return nil
	}
	if err := row.Learn(m.memberships, news.ConversationId, r, keys.Membership(m.entity.Shard, m.app, m.id, con)); err != nil {
		return err
	}
	if m.deleted != nil || m.memberships[news.ConversationId] != nil && !news.ConversationDeleted {
		return nil
	}
	deleted := &eventv1.DeletedConversations{}
	if _, err := row.Read(r, keys.Deleted(m.entity.Shard, m.app, m.id), deleted); err != nil {
		return err
	}
	m.deleted = deleted
	return nil
}

// loadPage reads the next part of the index, as the same batch has changed it. What that has added needs no
// telling here: news of a membership is compared with the profile when it comes, and a deletion is told from the start.
func (m *machine) loadPage(r store.Reader, after string) error {
	m.page = nil
	prefix := keys.Memberships(m.entity.Shard, m.app, m.id)
	lo := prefix
	if con, err := id.Parse(id.Conversation, after); err == nil {
		lo = keys.End(keys.Membership(m.entity.Shard, m.app, m.id, con))
	}
	return row.Scan(r, lo, keys.End(prefix), func(membership *eventv1.Membership) bool {
		if changed, known := m.memberships[membership.ConversationId]; known {
			membership = changed
		}
		if membership != nil {
			m.page = append(m.page, membership)
		}
		return len(m.page) < PropagateMax
	})
}

// Decide implements grain.Machine.
func (m *machine) Decide(now int64, cmd *nodev1.Command) (grain.Decision, error) {
	if !m.wellFormed || cmd.GetPrincipal().GetApplicationId() != m.entity.Application {
		return grain.Decision{}, notFound()
	}
	d := &draft{machine: m, now: now, cmd: cmd}
	reply, err := d.decide()
	if err != nil {
		return grain.Decision{}, err
	}
	out := grain.Decision{Changes: d.changes, Outbox: d.outbox, Reply: reply, Fanout: d.fanout}
	for _, c := range d.changes {
		out.Ops = append(out.Ops, c.encode(m)...)
	}
	return out, nil
}

// Evolve implements grain.Machine.
func (m *machine) Evolve(d grain.Decision) {
	changes, ok := d.Changes.([]change)
	invariant.That(ok, "user %s: foreign changes %T", m.entity.ID, d.Changes)
	for _, c := range changes {
		c.fold(m)
	}
}

// Head implements grain.Machine. A user has no hot part.
func (m *machine) Head() []byte { return nil }

// Settle implements grain.Machine.
func (m *machine) Settle() {
	m.memberships, m.deleted, m.page, m.devices = map[string]*eventv1.Membership{}, nil, nil, nil
}

func notFound() error { return code.New(code.UserNotFound, "user does not exist") }
