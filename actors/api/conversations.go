package api

import (
	"context"

	"google.golang.org/protobuf/proto"

	actor "parley/actors/conversation"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// CreateConversation implements Conversations.
func (s *Service) CreateConversation(ctx context.Context, p *nodev1.Principal, key string, c *eventv1.Conversation) (*eventv1.Conversation, *eventv1.Head, error) {
	if err := checkConversation(c); err != nil {
		return nil, nil, err // before a name is reserved
	}
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	reply, err := s.create(ctx, &creation{
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

// checkConversation checks what is asked for; a name may still be missing.
func checkConversation(c *eventv1.Conversation) error {
	if c.Name != "" {
		return actor.CheckProfile(c)
	}
	c = proto.CloneOf(c)
	c.Name = string(id.Name)
	return actor.CheckProfile(c)
}

func orZero(h *eventv1.Head) *eventv1.Head {
	if h == nil {
		return &eventv1.Head{}
	}
	return h
}

// UpdateConversation implements Conversations. A new name is reserved first; the old one is freed
// by the outbox.
func (s *Service) UpdateConversation(ctx context.Context, p *nodev1.Principal, conv string, u *nodev1.UpdateConversation) (*eventv1.Conversation, *eventv1.Head, error) {
	if !isConversation(conv) {
		return nil, nil, errConversation()
	}
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	reply, err := s.rename(ctx, &renaming{
		application: p.GetApplicationId(), names: conversationNames, thing: conv, name: u.Name,
		allowed: func(found *thing) bool { return actor.CanChange(p, found.reply.GetConversation()) },
		update: func(ctx context.Context, token uint64) (*nodev1.Reply, error) {
			u := proto.CloneOf(u)
			u.NameToken = token
			return s.command(ctx, conversation(p, conv), &nodev1.Command{
				Principal: p, Body: &nodev1.Command_UpdateConversation{UpdateConversation: u},
			})
		},
	})
	if err != nil {
		return nil, nil, err
	}
	return reply.Conversation, orZero(reply.Head), nil
}

// DeleteConversation implements Conversations. The name is free at once: whoever asks for it
// before the outbox has freed it finds its owner gone.
func (s *Service) DeleteConversation(ctx context.Context, p *nodev1.Principal, conv string) error {
	if !isConversation(conv) {
		return errConversation()
	}
	_, err := s.command(ctx, conversation(p, conv), &nodev1.Command{
		Principal: p, Body: &nodev1.Command_DeleteConversation{DeleteConversation: &nodev1.DeleteConversation{}},
	})
	return err
}

// GetConversation implements Conversations.
func (s *Service) GetConversation(ctx context.Context, p *nodev1.Principal, conv string, withMembers bool) (*nodev1.Reply, error) {
	if !isConversation(conv) {
		return nil, errConversation()
	}
	reply, err := s.query(ctx, conversation(p, conv), &nodev1.Query{
		Principal: p, Body: &nodev1.Query_GetConversation{GetConversation: &nodev1.GetConversation{WithMembers: withMembers}},
	})
	if err != nil || len(reply.Next) == 0 {
		return reply, err
	}
	rest, err := s.ListMembers(ctx, p, conv, &nodev1.Page{After: reply.Next}, false)
	if err != nil {
		return nil, err
	}
	extend(reply, rest)
	return reply, nil
}

// ResolveConversation implements Conversations.
func (s *Service) ResolveConversation(ctx context.Context, p *nodev1.Principal, idOrName string) (string, error) {
	if isConversation(idOrName) {
		return idOrName, nil
	}
	owner, err := s.owner(ctx, p.GetApplicationId(), conversationNames, idOrName)
	switch {
	case err != nil:
		return "", err
	case owner == "":
		return "", errConversation()
	case p.GetAdmin():
		return owner, nil
	}
	// A name can be guessed: it is an answer to those alone who may read what bears it.
	if _, err := s.GetConversation(ctx, p, owner, false); err != nil {
		return "", err
	}
	return owner, nil
}

// ListConversations implements Conversations.
func (s *Service) ListConversations(ctx context.Context, p *nodev1.Principal, page *nodev1.Page, fromMs, toMs int64) (*nodev1.Reply, error) {
	return s.listEverywhere(ctx, page, func(page *nodev1.Page) *nodev1.Query {
		return &nodev1.Query{Principal: p, Body: &nodev1.Query_ListConversations{
			ListConversations: &nodev1.ListConversations{Page: page, FromMs: fromMs, ToMs: toMs},
		}}
	})
}
