package query

import (
	"fmt"
	"slices"

	"parley/actors/conversation/document"
	"parley/actors/conversation/row"
	"parley/actors/name"
	"parley/persistence/keys"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// user answers what is asked of one user. Any user of the application may read another's public
// part; the rest of the profile is for the user itself and for administrators, as is the index.
func (s *server) user(q *nodev1.Query) (*nodev1.Reply, error) {
	if get := q.GetGetUser(); get.GetGone() && s.principal().GetAdmin() {
		return s.userRemains()
	}
	u, user, err := s.known()
	if err != nil {
		return nil, err
	}
	self := s.principal().GetAdmin() || s.principal().GetUserId() == u.Id
	switch b := q.GetBody().(type) {
	case *nodev1.Query_GetUser:
		if !self {
			u = public(u)
		}
		return &nodev1.Reply{User: u}, nil
	case *nodev1.Query_ListMemberships:
		if !self {
			return nil, code.New(code.Permission, "a user lists only its own conversations")
		}
		return s.memberships(b.ListMemberships, user)
	case *nodev1.Query_GetDevices:
		if !self {
			return nil, code.New(code.Permission, "a user reads only its own devices")
		}
		return s.devices(b.GetDevices, user)
	default:
		return nil, unknown()
	}
}

// userRemains gives what is known under the id, tombstones included, and an empty reply for what
// was never heard of.
func (s *server) userRemains() (*nodev1.Reply, error) {
	u, _, err := s.profile()
	if err != nil || u == nil {
		return &nodev1.Reply{}, err
	}
	return &nodev1.Reply{User: u, Exists: alive(u)}, nil
}

func alive(u *eventv1.User) bool { return !u.Never && u.DeletedMs == 0 }

// profile reads what is stored under the id; nil when it was never heard of.
func (s *server) profile() (*eventv1.User, keys.UUID, error) {
	app, ok := s.app()
	user, err := id.Parse(id.User, s.request.Id)
	if !ok || err != nil || !s.sameApplication() {
		return nil, user, noUser()
	}
	u, err := row.Find[eventv1.User](s.reader, keys.User(s.home(), app, user))
	if err != nil {
		return nil, user, fmt.Errorf("query: %w", err)
	}
	return u, user, nil
}

// known reads the user that is asked about.
func (s *server) known() (*eventv1.User, keys.UUID, error) {
	u, user, err := s.profile()
	if err != nil {
		return nil, user, err
	}
	if u == nil || !alive(u) {
		return nil, user, noUser()
	}
	return u, user, nil
}

// public is what any user may see of another.
func public(u *eventv1.User) *eventv1.User {
	return &eventv1.User{
		ApplicationId: u.ApplicationId, Id: u.Id, Name: u.Name, DisplayName: u.DisplayName, ImageUrl: u.ImageUrl,
	}
}

// memberships lists a user's index in the order of the conversations' creation, INVITED and JOINED
// ones unless states are named.
func (s *server) memberships(q *nodev1.ListMemberships, user keys.UUID) (*nodev1.Reply, error) {
	p, err := pageOf(q.GetPage())
	if err != nil {
		return nil, err
	}
	if err := p.within(positionBytes); err != nil {
		return nil, err
	}
	states := q.GetStates()
	if len(states) == 0 {
		states = []eventv1.MemberState{eventv1.MemberState_MEMBER_STATE_INVITED, eventv1.MemberState_MEMBER_STATE_JOINED}
	}
	app, _ := s.app()
	reply := &nodev1.Reply{}
	err = p.walk(s.reader, under(keys.MembershipOrders(s.home(), app, user)), func(position, _ []byte) (*item, error) {
		_, con := keys.ListedEntity(position)
		m, err := row.Find[eventv1.Membership](s.reader, keys.Membership(s.home(), app, user, con))
		if err != nil || m == nil || !slices.Contains(states, m.State) {
			return nil, err
		}
		return &item{m.SizeVT(), func() { reply.Memberships = append(reply.Memberships, m) }}, nil
	}, reply)
	if err != nil {
		return nil, fmt.Errorf("query memberships: %w", err)
	}
	return reply, nil
}

// devices gives a user's devices, and none for a conversation that the user has muted.
func (s *server) devices(q *nodev1.GetDevices, user keys.UUID) (*nodev1.Reply, error) {
	app, _ := s.app()
	found := &eventv1.Devices{}
	if _, err := row.Read(s.reader, keys.Devices(s.home(), app, user), found); err != nil {
		return nil, fmt.Errorf("query devices: %w", err)
	}
	if slices.Contains(found.Muted, q.GetConversation()) {
		return &nodev1.Reply{Devices: &eventv1.Devices{}}, nil
	}
	return &nodev1.Reply{Devices: &eventv1.Devices{Devices: found.Devices}}, nil
}

// name answers who holds a name. A free one is Reply.Exists = false.
func (s *server) name(q *nodev1.Query) (*nodev1.Reply, error) {
	if _, ok := q.GetBody().(*nodev1.Query_GetName); !ok {
		return nil, unknown()
	}
	app, okApp := s.app()
	kind, held, okName := name.Split(s.request.Id)
	if !okApp || !okName || !s.sameApplication() || document.CheckText(held, name.CharactersMax) != nil {
		return &nodev1.Reply{}, nil
	}
	n, err := row.Find[eventv1.Name](s.reader, keys.Name(s.home(), app, kind, held))
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	return &nodev1.Reply{Name: n, Exists: n != nil}, nil
}

func noUser() error { return code.New(code.UserNotFound, "user does not exist") }
