package api

import (
	"context"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"parley/actors/query"
	actor "parley/actors/user"
	"parley/persistence/keys"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// CreateUser implements Users.
func (s *Service) CreateUser(ctx context.Context, p *nodev1.Principal, key string, u *eventv1.User) (*eventv1.User, error) {
	if err := checkUser(p, u); err != nil {
		return nil, err // before a name is reserved
	}
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	reply, err := s.create(ctx, &creation{
		principal: p, key: key, prefix: id.User, names: userNames,
		name: func(thing string) string {
			if u.Name == "" {
				return generated(id.User, thing)
			}
			return u.Name
		},
		command: func(thing, name string) *nodev1.Command {
			u := proto.CloneOf(u)
			u.Id, u.Name, u.ApplicationId, u.IdempotencyKey = thing, name, p.GetApplicationId(), key
			return &nodev1.Command{Principal: p, ClientId: key, Body: &nodev1.Command_CreateUser{
				CreateUser: &nodev1.CreateUser{User: u},
			}}
		},
	})
	if err != nil {
		return nil, err
	}
	return reply.User, nil
}

// checkUser checks who asks and what is asked for; a name may still be missing.
func checkUser(p *nodev1.Principal, u *eventv1.User) error {
	if !p.GetAdmin() {
		return code.New(code.Permission, "only an administrator may create, change or delete users")
	}
	if u.Name != "" {
		return actor.CheckProfile(u)
	}
	u = proto.CloneOf(u)
	u.Name = string(id.Name)
	return actor.CheckProfile(u)
}

// UpdateUser implements Users.
func (s *Service) UpdateUser(ctx context.Context, p *nodev1.Principal, usr string, u *nodev1.UpdateUser) (*eventv1.User, error) {
	if !isUser(usr) {
		return nil, errUser()
	}
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	reply, err := s.rename(ctx, &renaming{
		application: p.GetApplicationId(), names: userNames, thing: usr, name: u.Name,
		allowed: func(*thing) bool { return p.GetAdmin() },
		update: func(ctx context.Context, token uint64) (*nodev1.Reply, error) {
			u := proto.CloneOf(u)
			u.NameToken = token
			return s.command(ctx, user(p, usr), &nodev1.Command{Principal: p, Body: &nodev1.Command_UpdateUser{UpdateUser: u}})
		},
	})
	if err != nil {
		return nil, err
	}
	return reply.User, nil
}

// DeleteUser implements Users.
func (s *Service) DeleteUser(ctx context.Context, p *nodev1.Principal, usr string) error {
	if !isUser(usr) {
		return errUser()
	}
	_, err := s.command(ctx, user(p, usr), &nodev1.Command{Principal: p, Body: &nodev1.Command_DeleteUser{DeleteUser: &nodev1.DeleteUser{}}})
	return err
}

// GetUser implements Users. An administrator and the user see all of it, others what the grain shows.
func (s *Service) GetUser(ctx context.Context, p *nodev1.Principal, ref UserRef) (*eventv1.User, error) {
	if ref.ID == "" && ref.Name != "" {
		owner, reply, err := s.bearer(ctx, p.GetApplicationId(), userNames, ref.Name)
		if err != nil {
			return nil, err
		}
		if owner != "" && p.GetAdmin() {
			return reply.User, nil // read already, and nothing of it is hidden
		}
		ref.ID = owner
	}
	if !isUser(ref.ID) {
		return nil, errUser()
	}
	reply, err := s.query(ctx, user(p, ref.ID), &nodev1.Query{Principal: p, Body: &nodev1.Query_GetUser{GetUser: &nodev1.GetUser{}}})
	if err != nil {
		return nil, err
	}
	if reply.User == nil {
		return nil, errUser()
	}
	return reply.User, nil
}

// ListUsers implements Users. With a name the list has at most one entry, found by its name.
func (s *Service) ListUsers(ctx context.Context, p *nodev1.Principal, page *nodev1.Page, name string) (*nodev1.Reply, error) {
	if name == "" {
		return s.listEverywhere(ctx, page, func(page *nodev1.Page) *nodev1.Query {
			return &nodev1.Query{Principal: p, Body: &nodev1.Query_ListUsers{ListUsers: &nodev1.ListUsers{Page: page}}}
		})
	}
	reply := &nodev1.Reply{}
	if len(page.GetAfter()) > 0 {
		return reply, nil // there is nothing after the one
	}
	u, err := s.GetUser(ctx, p, UserRef{Name: name})
	if code.Has(err, code.UserNotFound) {
		return reply, nil
	}
	if err != nil {
		return nil, err
	}
	entity, err := id.Parse(id.User, u.Id)
	if err != nil {
		return nil, code.New(code.Internal, "internal error")
	}
	row := keys.Listed(keys.Meta, keys.UUID{}, keys.KindUser, u.CreatedMs, entity)
	reply.Users, reply.Positions = []*eventv1.User{u}, [][]byte{keys.ListedPosition(row)}
	return reply, nil
}

// ListMemberships implements Users. A conversation that was deleted while the list was made is
// left out.
func (s *Service) ListMemberships(ctx context.Context, p *nodev1.Principal, usr string, page *nodev1.Page, states []eventv1.MemberState) (*nodev1.Reply, error) {
	if !isUser(usr) {
		return nil, errUser()
	}
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	return gather(page, BytesMax, func(page *nodev1.Page) (*nodev1.Reply, error) {
		if page.Size == 0 {
			page.Size = query.SizeMax // each brings a conversation's metadata
		}
		reply, err := s.query(ctx, user(p, usr), &nodev1.Query{Principal: p, Body: &nodev1.Query_ListMemberships{
			ListMemberships: &nodev1.ListMemberships{Page: page, States: states},
		}})
		if err != nil {
			return nil, err
		}
		found, err := s.conversationsOf(ctx, p.GetApplicationId(), usr, reply.Memberships)
		if err != nil {
			return nil, err
		}
		return present(reply, found), nil
	})
}

// conversationsOf reads the conversation of each of a user's memberships, with its head and the
// user's own member; nil for one that is gone.
func (s *Service) conversationsOf(ctx context.Context, application, usr string, of []*eventv1.Membership) ([]*nodev1.Reply, error) {
	found := make([]*nodev1.Reply, len(of))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.options.Parallel)
	for i, m := range of {
		g.Go(func() error {
			reply, err := s.query(ctx, target{nodev1.Kind_KIND_CONVERSATION, application, m.ConversationId}, &nodev1.Query{
				Principal: node(application),
				Body:      &nodev1.Query_GetConversation{GetConversation: &nodev1.GetConversation{Gone: true, User: usr}},
			})
			if err == nil && conversationNames.thing(reply).alive {
				found[i] = reply
			}
			return err
		})
	}
	return found, g.Wait()
}

// present keeps the memberships whose conversation is still there.
func present(r *nodev1.Reply, found []*nodev1.Reply) *nodev1.Reply {
	out := &nodev1.Reply{Next: r.Next}
	for i, c := range found {
		if c == nil {
			continue
		}
		out.Conversations = append(out.Conversations, c.Conversation)
		out.Heads = append(out.Heads, c.GetHead())
		out.Members = append(out.Members, c.Member)
		out.Memberships = append(out.Memberships, r.Memberships[i])
		if i < len(r.Positions) {
			out.Positions = append(out.Positions, r.Positions[i])
		}
	}
	return out
}
