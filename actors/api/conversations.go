package api

import (
	"context"

	"google.golang.org/protobuf/proto"

	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// CreateConversation implements Conversations.
func (a *API) CreateConversation(ctx context.Context, p *nodev1.Principal, key string, c *eventv1.Conversation) (*eventv1.Conversation, *eventv1.Head, error) {
	ctx, cancel := a.deadline(ctx)
	defer cancel()
	reply, err := a.create(ctx, &creation{
		principal: p, key: key, prefix: id.Conversation, names: conversationNames,
		name: func(thing string) string {
			if c.Name == "" {
				return generated(id.Conversation, thing)
			}
			return c.Name
		},
		command: func(thing, name string) *nodev1.Command {
			c := proto.CloneOf(c)
			c.Id, c.Name, c.ApplicationId, c.CreatorUser, c.IdempotencyKey = thing, name, p.GetApplicationId(), p.GetUserId(), key
			return &nodev1.Command{Principal: p, ClientId: key, Body: &nodev1.Command_CreateConversation{
				CreateConversation: &nodev1.CreateConversation{Conversation: c},
			}}
		},
	})
	if err != nil {
		return nil, nil, err
	}
	return reply.Conversation, orZero(reply.Head), nil
}

func orZero(h *eventv1.Head) *eventv1.Head {
	if h == nil {
		return &eventv1.Head{}
	}
	return h
}

// UpdateConversation implements Conversations. A new name is reserved first; the old one is freed
// by the outbox.
func (a *API) UpdateConversation(ctx context.Context, p *nodev1.Principal, conv string, u *nodev1.UpdateConversation) (*eventv1.Conversation, *eventv1.Head, error) {
	if !isConversation(conv) {
		return nil, nil, errConversation()
	}
	ctx, cancel := a.deadline(ctx)
	defer cancel()
	renamed, err := a.renames(ctx, p, conv, u)
	if err != nil {
		return nil, nil, err
	}
	if renamed {
		if err := a.reserve(ctx, p.GetApplicationId(), conversationNames, u.GetName(), conv); err != nil {
			return nil, nil, err
		}
	}
	reply, err := a.command(ctx, conversation(p, conv), &nodev1.Command{
		Principal: p, Body: &nodev1.Command_UpdateConversation{UpdateConversation: u},
	})
	if err != nil {
		if still, rerr := a.renames(ctx, p, conv, u); renamed && rerr == nil && still {
			a.undo(ctx, p.GetApplicationId(), conversationNames, u.GetName(), conv, err)
		}
		return nil, nil, err
	}
	return reply.Conversation, orZero(reply.Head), nil
}

// renames says whether u gives the conversation a name that it does not have.
func (a *API) renames(ctx context.Context, p *nodev1.Principal, conv string, u *nodev1.UpdateConversation) (bool, error) {
	if u.Name == nil {
		return false, nil
	}
	now, err := a.GetConversation(ctx, p, conv, false)
	if err != nil {
		return false, err
	}
	return now.GetConversation().GetName() != u.GetName(), nil
}

// DeleteConversation implements Conversations. The name is free at once: whoever asks for it
// before the outbox has freed it finds its owner gone.
func (a *API) DeleteConversation(ctx context.Context, p *nodev1.Principal, conv string) error {
	if !isConversation(conv) {
		return errConversation()
	}
	_, err := a.command(ctx, conversation(p, conv), &nodev1.Command{
		Principal: p, Body: &nodev1.Command_DeleteConversation{DeleteConversation: &nodev1.DeleteConversation{}},
	})
	return err
}

// GetConversation implements Conversations.
func (a *API) GetConversation(ctx context.Context, p *nodev1.Principal, conv string, withMembers bool) (*nodev1.Reply, error) {
	if !isConversation(conv) {
		return nil, errConversation()
	}
	return a.query(ctx, conversation(p, conv), &nodev1.Query{
		Principal: p, Body: &nodev1.Query_GetConversation{GetConversation: &nodev1.GetConversation{WithMembers: withMembers}},
	})
}

// ResolveConversation implements Conversations.
func (a *API) ResolveConversation(ctx context.Context, p *nodev1.Principal, idOrName string) (string, error) {
	if isConversation(idOrName) {
		return idOrName, nil
	}
	owner, err := a.owner(ctx, p, conversationNames, idOrName)
	if err == nil && owner == "" {
		err = errConversation()
	}
	return owner, err
}

// ListConversations implements Conversations.
func (a *API) ListConversations(ctx context.Context, p *nodev1.Principal, page *nodev1.Page, fromMs, toMs int64) (*nodev1.Reply, error) {
	return a.listEverywhere(ctx, p, page, func(page *nodev1.Page) *nodev1.Query {
		return &nodev1.Query{Principal: p, Body: &nodev1.Query_ListConversations{
			ListConversations: &nodev1.ListConversations{Page: page, FromMs: fromMs, ToMs: toMs},
		}}
	})
}
