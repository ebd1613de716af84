package query

import (
	"fmt"
	"slices"

	"parley/actors/conversation/document"
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
	default:
		return nil, unknown()
	}
}

// known reads the user that is asked about.
func (s *server) known() (*eventv1.User, keys.UUID, error) {
	app, ok := s.app()
	user, err := id.Parse(id.User, s.request.Id)
	if !ok || err != nil || !s.sameApplication() {
		return nil, user, noUser()
	}
	u := &eventv1.User{}
	if err := s.read(keys.User(s.home(), app, user), u, noUser()); err != nil {
		return nil, user, err
	}
	if u.Never || u.DeletedMs != 0 {
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

// memberships lists a user's index by conversation id, INVITED and JOINED ones unless states are
// named.
func (s *server) memberships(q *nodev1.ListMemberships, user keys.UUID) (*nodev1.Reply, error) {
	p, err := pageOf(q.GetPage())
	if err != nil {
		return nil, err
	}
	if err := p.within(16); err != nil {
		return nil, err
	}
	states := q.GetStates()
	if len(states) == 0 {
		states = []eventv1.MemberState{eventv1.MemberState_MEMBER_STATE_INVITED, eventv1.MemberState_MEMBER_STATE_JOINED}
	}
	app, _ := s.app()
	prefix := keys.Memberships(s.home(), app, user)
	lo, hi := under(prefix)
	reply := &nodev1.Reply{}
	err = p.walk(s.reader, prefix, lo, hi, func(_, value []byte) (taken, full bool, err error) {
		m := &eventv1.Membership{}
		if err := m.UnmarshalVT(value); err != nil || !slices.Contains(states, m.State) {
			return false, false, err
		}
		reply.Memberships = append(reply.Memberships, m)
		return true, false, nil
	}, reply)
	if err != nil {
		return nil, fmt.Errorf("query memberships: %w", err)
	}
	return reply, nil
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
	n := &eventv1.Name{}
	err := s.read(keys.Name(s.home(), app, kind, held), n, errFree)
	if err == errFree {
		return &nodev1.Reply{}, nil
	}
	return &nodev1.Reply{Name: n, Exists: err == nil}, err
}

var errFree = code.New(code.NotFound, "name is free")

func noUser() error { return code.New(code.UserNotFound, "user does not exist") }
