package api

import (
	"context"
	"slices"
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
func (a *API) AddMember(ctx context.Context, p *nodev1.Principal, conv, clientID string, ref UserRef, add *nodev1.AddMember) (*nodev1.Reply, error) {
	if !isConversation(conv) {
		return nil, errConversation()
	}
	ctx, cancel := a.deadline(ctx)
	defer cancel()
	if ref == (UserRef{}) {
		ref.ID = p.GetUserId()
	}
	// As the node: what members show of a user is more than what the asker may read of it.
	joiner, err := a.GetUser(ctx, system(p), ref)
	if err != nil {
		return nil, err
	}
	add = proto.CloneOf(add)
	add.User = profile.AuthorOf(joiner)
	add.NewMemberId = id.New(id.Member)
	if clientID != "" {
		add.NewMemberId = id.Derive(id.Member, p.GetApplicationId(), p.GetUserId()+"\x00"+conv, clientID)
	}
	return a.changeMember(ctx, conv, joiner.Id, &nodev1.Command{
		Principal: p, ClientId: clientID, Body: &nodev1.Command_AddMember{AddMember: add},
	})
}

// changeMember asks a conversation to change the membership of a user. The answer waits, bounded, for
// the user's own index, so that who was told of a change also finds it there; the change itself
// is committed before.
func (a *API) changeMember(ctx context.Context, conv, usr string, c *nodev1.Command) (*nodev1.Reply, error) {
	app := c.Principal.GetApplicationId()
	home := keys.Of(app, conv, a.options.Shards)
	indexed, waits := a.options.Acks.Await(home, outbox.Link{Application: app, Source: conv, Target: usr})
	if waits {
		defer indexed.Stop()
	}
	reply, err := a.command(ctx, conversation(c.Principal, conv), c)
	if err != nil {
		return nil, err
	}
	switch sequence := reply.GetEvent().GetEvent().GetSequence(); {
	case reply.Duplicate:
	case waits:
		a.awaitIndex(ctx, indexed, sequence)
	default:
		a.lookForIndex(ctx, outbox.Link{Application: app, Source: conv, Target: usr}, sequence)
	}
	return reply, nil
}

// The pauses between looks at a user's index, doubling, and how many there are.
const (
	indexPause = 5 * time.Millisecond
	indexLooks = 5
)

// lookForIndex waits like awaitIndex where the acks are heard by another node: it asks the index
// itself, a few times. It sees a user's youngest conversations only; others are not waited for.
func (a *API) lookForIndex(ctx context.Context, l outbox.Link, sequence uint64) {
	p := node(l.Application)
	pause := time.NewTimer(indexPause)
	defer pause.Stop()
	for look := range indexLooks {
		reply, err := a.query(ctx, user(p, l.Target), &nodev1.Query{Principal: p, Body: &nodev1.Query_ListMemberships{
			ListMemberships: &nodev1.ListMemberships{Page: &nodev1.Page{Size: 10, Descending: true}},
		}})
		if err != nil || slices.ContainsFunc(reply.Memberships, func(m *eventv1.Membership) bool {
			return m.ConversationId == l.Source && m.Sequence >= sequence
		}) {
			return
		}
		pause.Reset(indexPause << look)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
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

// UpdateMember implements Members.
func (a *API) UpdateMember(ctx context.Context, p *nodev1.Principal, conv, clientID string, u *nodev1.UpdateMember) (*nodev1.Reply, error) {
	if !isConversation(conv) {
		return nil, errConversation()
	}
	ctx, cancel := a.deadline(ctx)
	defer cancel()
	c := &nodev1.Command{Principal: p, ClientId: clientID, Body: &nodev1.Command_UpdateMember{UpdateMember: u}}
	usr := p.GetUserId()
	if u.MemberId != actor.Me {
		m, err := a.GetMember(ctx, system(p), conv, u.MemberId)
		if err != nil { // the conversation says what the asker is told
			return a.inConversation(ctx, conv, c)
		}
		usr = m.GetUser().GetUserId()
	}
	return a.changeMember(ctx, conv, usr, c)
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
	ctx, cancel := a.deadline(ctx)
	defer cancel()
	return gather(page, BytesMax, func(page *nodev1.Page) (*nodev1.Reply, error) {
		return a.ofConversation(ctx, conv, &nodev1.Query{
			Principal: p, Body: &nodev1.Query_ListMembers{ListMembers: &nodev1.ListMembers{Page: page, ExcludeLeft: excludeLeft}},
		})
	})
}
