package api

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	actor "parley/actors/conversation"
	"parley/actors/outbox"
	profile "parley/actors/user"
	"parley/persistence/keys"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// AddMember implements Members.
func (s *Service) AddMember(ctx context.Context, p *nodev1.Principal, conv, clientID string, ref UserRef, add *nodev1.AddMember) (*nodev1.Reply, error) {
	if !isConversation(conv) {
		return nil, errConversation()
	}
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	if ref == (UserRef{}) {
		ref.ID = p.GetUserId()
	}
	// As the node: what members show of a user is more than what the asker may read of it.
	joiner, err := s.GetUser(ctx, system(p), ref)
	if err != nil {
		return nil, err
	}
	add = proto.CloneOf(add)
	add.User = profile.AuthorOf(joiner)
	add.NewMemberId = id.New(id.Member)
	if clientID != "" {
		add.NewMemberId = id.Derive(id.Member, p.GetApplicationId(), p.GetUserId()+"\x00"+conv, clientID)
	}
	return s.changeMember(ctx, conv, joiner.Id, &nodev1.Command{
		Principal: p, ClientId: clientID, Body: &nodev1.Command_AddMember{AddMember: add},
	})
}

// changeMember asks a conversation to change the membership of a user. The answer waits, bounded, for
// the user's own index, so that who was told of a change also finds it there; the change itself
// is committed before.
func (s *Service) changeMember(ctx context.Context, conv, usr string, c *nodev1.Command) (*nodev1.Reply, error) {
	app := c.Principal.GetApplicationId()
	home := keys.ShardOf(app, conv, s.options.Shards)
	indexed, waits := s.options.Acks.Await(home, outbox.Link{Application: app, Source: conv, Target: usr})
	if waits {
		defer indexed.Stop()
	}
	reply, err := s.command(ctx, conversation(c.Principal, conv), c)
	if err != nil {
		return nil, err
	}
	switch {
	case reply.Duplicate:
	case waits:
		s.awaitIndex(ctx, indexed, reply.GetEvent().GetEvent().GetSequence())
	default:
		s.bringIndex(ctx, app, usr, reply)
	}
	return reply, nil
}

// bringIndex brings a change of a membership to the user's index where the acks of the outbox are heard by
// another node. The outbox brings it as well, and whoever comes second changes nothing.
func (s *Service) bringIndex(ctx context.Context, app, usr string, change *nodev1.Reply) {
	if len(change.Memberships) == 0 {
		return // the answer of a node whose build says less
	}
	ctx, cancel := context.WithTimeout(ctx, s.options.IndexWait)
	defer cancel()
	p := node(app)
	_, err := s.command(ctx, user(p, usr), &nodev1.Command{Principal: p, Body: &nodev1.Command_IndexMembership{
		IndexMembership: &nodev1.IndexMembership{
			Membership: change.Memberships[0], Event: change.GetEvent().GetEvent(), Author: change.GetEvent().GetAuthor(),
		}}})
	if err != nil {
		s.options.Logger.Debug("a membership is left to the outbox", "conversation", change.Memberships[0].GetConversationId(), "error", err)
	}
}

// awaitIndex waits until the membership that an event made has reached the user's index.
func (s *Service) awaitIndex(ctx context.Context, w *outbox.Waiter, sequence uint64) {
	timer := time.NewTimer(s.options.IndexWait)
	defer timer.Stop()
	for {
		select {
		case row := <-w.Acked:
			if row.Row.GetCommand().GetIndexMembership().GetMembership().GetSequence() >= sequence {
				return
			}
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// UpdateMember implements Members.
func (s *Service) UpdateMember(ctx context.Context, p *nodev1.Principal, conv, clientID string, u *nodev1.UpdateMember) (*nodev1.Reply, error) {
	if !isConversation(conv) {
		return nil, errConversation()
	}
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	c := &nodev1.Command{Principal: p, ClientId: clientID, Body: &nodev1.Command_UpdateMember{UpdateMember: u}}
	usr := p.GetUserId()
	if u.MemberId != actor.Me {
		m, err := s.GetMember(ctx, system(p), conv, u.MemberId)
		if err != nil { // the conversation says what the asker is told
			return s.inConversation(ctx, conv, c)
		}
		usr = m.GetUser().GetUserId()
	}
	return s.changeMember(ctx, conv, usr, c)
}

// GetMember implements Members.
func (s *Service) GetMember(ctx context.Context, p *nodev1.Principal, conv, member string) (*eventv1.Member, error) {
	reply, err := s.ofConversation(ctx, conv, &nodev1.Query{
		Principal: p, Body: &nodev1.Query_GetMember{GetMember: &nodev1.GetMember{MemberId: member}},
	})
	if err != nil {
		return nil, err
	}
	if reply.Member == nil {
		return nil, code.New(code.MemberNotFound, "Member does not exist.")
	}
	return reply.Member, nil
}

// ListMembers implements Members.
func (s *Service) ListMembers(ctx context.Context, p *nodev1.Principal, conv string, page *nodev1.Page, excludeLeft bool) (*nodev1.Reply, error) {
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	return gather(page, BytesMax, func(page *nodev1.Page) (*nodev1.Reply, error) {
		return s.ofConversation(ctx, conv, &nodev1.Query{
			Principal: p, Body: &nodev1.Query_ListMembers{ListMembers: &nodev1.ListMembers{Page: page, ExcludeLeft: excludeLeft}},
		})
	})
}
