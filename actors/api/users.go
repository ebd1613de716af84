package api

import (
	"context"
	"encoding/json"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"parley/persistence/keys"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// CreateUser implements Users.
func (a *API) CreateUser(ctx context.Context, p *nodev1.Principal, key string, u *eventv1.User) (*eventv1.User, error) {
	ctx, cancel := a.deadline(ctx)
	defer cancel()
	reply, err := a.create(ctx, &creation{
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

// UpdateUser implements Users.
func (a *API) UpdateUser(ctx context.Context, p *nodev1.Principal, usr string, u *nodev1.UpdateUser) (*eventv1.User, error) {
	if !isUser(usr) {
		return nil, errUser()
	}
	ctx, cancel := a.deadline(ctx)
	defer cancel()
	renamed, err := a.renamesUser(ctx, p, usr, u)
	if err != nil {
		return nil, err
	}
	if renamed {
		if err := a.reserve(ctx, p.GetApplicationId(), userNames, u.GetName(), usr); err != nil {
			return nil, err
		}
	}
	reply, err := a.command(ctx, user(p, usr), &nodev1.Command{Principal: p, Body: &nodev1.Command_UpdateUser{UpdateUser: u}})
	if err != nil {
		if still, rerr := a.renamesUser(ctx, p, usr, u); renamed && rerr == nil && still {
			a.undo(ctx, p.GetApplicationId(), userNames, u.GetName(), usr, err)
		}
		return nil, err
	}
	return reply.User, nil
}

// renamesUser says whether u gives the user a name that it does not have.
func (a *API) renamesUser(ctx context.Context, p *nodev1.Principal, usr string, u *nodev1.UpdateUser) (bool, error) {
	if u.Name == nil {
		return false, nil
	}
	now, err := a.GetUser(ctx, p, UserRef{ID: usr})
	if err != nil {
		return false, err
	}
	return now.GetName() != u.GetName(), nil
}

// DeleteUser implements Users.
func (a *API) DeleteUser(ctx context.Context, p *nodev1.Principal, usr string) error {
	if !isUser(usr) {
		return errUser()
	}
	_, err := a.command(ctx, user(p, usr), &nodev1.Command{Principal: p, Body: &nodev1.Command_DeleteUser{DeleteUser: &nodev1.DeleteUser{}}})
	return err
}

// GetUser implements Users. An administrator and the user see all of it, others what the grain shows.
func (a *API) GetUser(ctx context.Context, p *nodev1.Principal, ref UserRef) (*eventv1.User, error) {
	if ref.ID == "" && ref.Name != "" {
		owner, err := a.owner(ctx, p, userNames, ref.Name)
		if err != nil {
			return nil, err
		}
		ref.ID = owner
	}
	if !isUser(ref.ID) {
		return nil, errUser()
	}
	reply, err := a.query(ctx, user(p, ref.ID), &nodev1.Query{Principal: p, Body: &nodev1.Query_GetUser{GetUser: &nodev1.GetUser{}}})
	if err != nil {
		return nil, err
	}
	if reply.User == nil {
		return nil, errUser()
	}
	return reply.User, nil
}

// ListUsers implements Users. With a name the list has at most one entry, found by its name.
func (a *API) ListUsers(ctx context.Context, p *nodev1.Principal, page *nodev1.Page, name string) (*nodev1.Reply, error) {
	if name == "" {
		return a.listEverywhere(ctx, p, page, func(page *nodev1.Page) *nodev1.Query {
			return &nodev1.Query{Principal: p, Body: &nodev1.Query_ListUsers{ListUsers: &nodev1.ListUsers{Page: page}}}
		})
	}
	reply := &nodev1.Reply{}
	if len(page.GetAfter()) > 0 {
		return reply, nil // there is nothing after the one
	}
	u, err := a.GetUser(ctx, p, UserRef{Name: name})
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
func (a *API) ListMemberships(ctx context.Context, p *nodev1.Principal, usr string, page *nodev1.Page, states []eventv1.MemberState) (*nodev1.Reply, error) {
	if !isUser(usr) {
		return nil, errUser()
	}
	ctx, cancel := a.deadline(ctx)
	defer cancel()
	reply, err := a.query(ctx, user(p, usr), &nodev1.Query{Principal: p, Body: &nodev1.Query_ListMemberships{
		ListMemberships: &nodev1.ListMemberships{Page: page, States: states},
	}})
	if err != nil {
		return nil, err
	}
	found := make([]*eventv1.Conversation, len(reply.Memberships))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(a.options.Parallel)
	for i, m := range reply.Memberships {
		g.Go(func() error {
			c, err := a.GetConversation(gctx, system(p), m.ConversationId, false)
			if code.Has(err, code.ConversationNotFound) {
				return nil
			}
			found[i] = c.GetConversation()
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return present(reply, found), nil
}

// present keeps the memberships whose conversation is still there.
func present(r *nodev1.Reply, found []*eventv1.Conversation) *nodev1.Reply {
	out := &nodev1.Reply{Next: r.Next}
	for i, c := range found {
		if c == nil {
			continue
		}
		out.Conversations = append(out.Conversations, c)
		out.Memberships = append(out.Memberships, r.Memberships[i])
		if i < len(r.Positions) {
			out.Positions = append(out.Positions, r.Positions[i])
		}
	}
	return out
}

// customData is the part of a user's properties that members show.
func customData(u *eventv1.User) []byte {
	var properties struct {
		CustomData json.RawMessage `json:"custom_data"`
	}
	if len(u.Properties) == 0 || json.Unmarshal(u.Properties, &properties) != nil {
		return nil
	}
	return properties.CustomData
}
