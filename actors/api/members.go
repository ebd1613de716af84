package api

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"parley/actors/outbox"
	"parley/persistence/keys"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// AddMember implements Members. The answer waits, bounded, for the joiner's own index, so that
// who was told of a join also finds it there; the join itself is committed before.
func (a *API) AddMember(ctx context.Context, p *nodev1.Principal, conv, clientID string, ref UserRef, add *nodev1.AddMember) (*nodev1.Reply, error) {
	if !isConversation(conv) {
		return nil, errConversation()
	}
	ctx, cancel := a.deadline(ctx)
	defer cancel()
	if ref == (UserRef{}) {
		ref.ID = p.GetUserId()
	}
	joiner, err := a.GetUser(ctx, p, ref)
	if err != nil {
		return nil, err
	}
	add = proto.CloneOf(add)
	add.User = author(joiner)
	add.NewMemberId = id.New(id.Member)
	if clientID != "" {
		add.NewMemberId = id.Derive(id.Member, p.GetApplicationId(), p.GetUserId()+"\x00"+conv, clientID)
	}
	home := keys.Of(p.GetApplicationId(), conv, a.options.Shards)
	indexed, waits := a.options.Acks.Await(home, outbox.Link{Application: p.GetApplicationId(), Source: conv, Target: joiner.Id})
	if waits {
		defer indexed.Stop()
	}
	reply, err := a.command(ctx, conversation(p, conv), &nodev1.Command{
		Principal: p, ClientId: clientID, Body: &nodev1.Command_AddMember{AddMember: add},
	})
	if err != nil {
		return nil, err
	}
	if waits && !reply.Duplicate {
		a.awaitIndex(ctx, indexed, reply.GetEvent().GetEvent().GetSequence())
	}
	return reply, nil
}

// awaitIndex waits until the membership that an event made has reached the user's index.
func (a *API) awaitIndex(ctx context.Context, w *outbox.Waiter, sequence uint64) {
	timer := time.NewTimer(a.options.IndexWait)
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

func author(u *eventv1.User) *eventv1.Author {
	return &eventv1.Author{UserId: u.Id, Name: u.Name, DisplayName: u.DisplayName, ImageUrl: u.ImageUrl, CustomData: customData(u)}
}

// UpdateMember implements Members.
func (a *API) UpdateMember(ctx context.Context, p *nodev1.Principal, conv, clientID string, u *nodev1.UpdateMember) (*nodev1.Reply, error) {
	return a.inConversation(ctx, conv, &nodev1.Command{
		Principal: p, ClientId: clientID, Body: &nodev1.Command_UpdateMember{UpdateMember: u},
	})
}

// GetMember implements Members.
func (a *API) GetMember(ctx context.Context, p *nodev1.Principal, conv, member string) (*eventv1.Member, error) {
	reply, err := a.ofConversation(ctx, conv, &nodev1.Query{
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
func (a *API) ListMembers(ctx context.Context, p *nodev1.Principal, conv string, page *nodev1.Page, excludeLeft bool) (*nodev1.Reply, error) {
	return a.ofConversation(ctx, conv, &nodev1.Query{
		Principal: p, Body: &nodev1.Query_ListMembers{ListMembers: &nodev1.ListMembers{Page: page, ExcludeLeft: excludeLeft}},
	})
}
