package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	actor "parley/actors/conversation"
	profile "parley/actors/user"
	"parley/cluster/shard"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// bringing is the saga that makes a conversation or user under an id that the caller brings: reserve
// the name under a token that no earlier attempt had, then make the thing. It may stop anywhere and be
// repeated; what was made is found by its idempotency key, the sum of its content.
type bringing struct {
	application, thing, name string

	names   kindOfName
	command func(token uint64) *nodev1.Command
}

// sum is the idempotency key of what is made from a message.
func sum(m interface{ MarshalVT() ([]byte, error) }) (string, error) {
	b, err := m.MarshalVT()
	if err != nil {
		return "", code.New(code.Internal, "internal error")
	}
	digest := sha256.Sum256(b)
	return actor.ImportKey + hex.EncodeToString(digest[:]), nil
}

func (s *Service) bring(ctx context.Context, b *bringing) (*nodev1.Reply, error) {
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	t := target{b.names.kind, b.application, b.thing}
	found, err := s.lookup(ctx, b.names, b.application, b.thing)
	if err != nil {
		return nil, err
	}
	if found.known && !found.never {
		return s.command(ctx, t, b.command(found.fence)) // the same, or refused: the grain knows
	}
	r := &reservation{application: b.application, names: b.names, name: b.name, owner: b.thing, token: found.fence + 1}
	if err := s.reserve(ctx, r); err != nil {
		return nil, err
	}
	return s.command(ctx, t, b.command(r.token))
}

// mustAdminister lets administrators pass.
func mustAdminister(p *nodev1.Principal) error {
	if p.GetAdmin() {
		return nil
	}
	return code.New(code.Permission, "only an administrator may import")
}

// ImportUser implements Imports.
func (s *Service) ImportUser(ctx context.Context, p *nodev1.Principal, u *eventv1.User) (*eventv1.User, error) {
	if err := mustAdminister(p); err != nil {
		return nil, err
	}
	if !isUser(u.GetId()) {
		return nil, code.Invalid("id", "must be a user id")
	}
	if err := profile.CheckProfile(u); err != nil {
		return nil, err
	}
	key, err := sum(u)
	if err != nil {
		return nil, err
	}
	reply, err := s.bring(ctx, &bringing{
		application: p.GetApplicationId(), thing: u.Id, name: u.Name, names: userNames,
		command: func(token uint64) *nodev1.Command {
			wanted := proto.CloneOf(u)
			wanted.IdempotencyKey = key
			return &nodev1.Command{Principal: p, Body: &nodev1.Command_ImportUser{ImportUser: &nodev1.ImportUser{User: wanted, NameToken: token}}}
		},
	})
	return reply.GetUser(), err
}

// ImportConversation implements Imports.
func (s *Service) ImportConversation(ctx context.Context, p *nodev1.Principal, c *eventv1.Conversation) (*nodev1.Reply, error) {
	if err := mustAdminister(p); err != nil {
		return nil, err
	}
	if !isConversation(c.GetId()) {
		return nil, code.Invalid("id", "must be a conversation id")
	}
	if err := actor.CheckProfile(c); err != nil {
		return nil, err
	}
	key, err := sum(c)
	if err != nil {
		return nil, err
	}
	return s.bring(ctx, &bringing{
		application: p.GetApplicationId(), thing: c.Id, name: c.Name, names: conversationNames,
		command: func(token uint64) *nodev1.Command {
			wanted := proto.CloneOf(c)
			wanted.IdempotencyKey = key
			return &nodev1.Command{Principal: p, Body: &nodev1.Command_ImportConversation{
				ImportConversation: &nodev1.ImportConversation{Conversation: wanted, NameToken: token},
			}}
		},
	})
}

// ImportMembers implements Imports.
func (s *Service) ImportMembers(ctx context.Context, p *nodev1.Principal, conv string, members []*eventv1.Member) (*nodev1.Reply, error) {
	if err := mayImport(p, conv); err != nil {
		return nil, err
	}
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	members = slices.Clone(members)
	g, reading := errgroup.WithContext(ctx)
	g.SetLimit(s.options.Parallel)
	for i, m := range members {
		g.Go(func() (err error) {
			members[i], err = s.withUser(reading, p, m)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for {
		n := fitting(members)
		reply, err := s.command(ctx, conversation(p, conv), &nodev1.Command{
			Principal: p, Body: &nodev1.Command_ImportMembers{ImportMembers: &nodev1.ImportMembers{Members: members[:n]}},
		})
		if members = members[n:]; err != nil || len(members) == 0 {
			return reply, err
		}
	}
}

// fitting is how many of the members, at least one, one write can hold with the profiles of their users.
func fitting(members []*eventv1.Member) int {
	n, size := 0, 0
	for n < len(members) {
		if size += members[n].SizeVT(); n > 0 && size > shard.WriteBytesMax/2 {
			break
		}
		n++
	}
	return n
}

// withUser gives m the profile of its user. One that has left may be of a user that is gone: it keeps
// the name that it came with.
func (s *Service) withUser(ctx context.Context, p *nodev1.Principal, m *eventv1.Member) (*eventv1.Member, error) {
	u, err := s.GetUser(ctx, p, UserRef{ID: m.GetUser().GetUserId()})
	if code.Has(err, code.UserNotFound) && m.GetState() == eventv1.MemberState_MEMBER_STATE_LEFT {
		return m, nil
	}
	if code.Has(err, code.UserNotFound) {
		return nil, code.New(code.UserNotFound, "user %q of member %q does not exist; import it first", m.GetUser().GetUserId(), m.GetId())
	}
	if err != nil {
		return nil, err
	}
	m = proto.CloneOf(m)
	m.User = profile.AuthorOf(u)
	return m, nil
}

// ImportEvents implements Imports.
func (s *Service) ImportEvents(ctx context.Context, p *nodev1.Principal, conv string, events []*nodev1.ImportedEvent) (*nodev1.Reply, error) {
	if err := mayImport(p, conv); err != nil {
		return nil, err
	}
	return s.command(ctx, conversation(p, conv), &nodev1.Command{
		Principal: p, Body: &nodev1.Command_ImportEvents{ImportEvents: &nodev1.ImportEvents{Events: events}},
	})
}

// FinishImport implements Imports.
func (s *Service) FinishImport(ctx context.Context, p *nodev1.Principal, conv string, f *nodev1.FinishImport) (*nodev1.Reply, error) {
	if err := mayImport(p, conv); err != nil {
		return nil, err
	}
	return s.command(ctx, conversation(p, conv), &nodev1.Command{Principal: p, Body: &nodev1.Command_FinishImport{FinishImport: f}})
}

func mayImport(p *nodev1.Principal, conv string) error {
	if err := mustAdminister(p); err != nil {
		return err
	}
	if !isConversation(conv) {
		return errConversation()
	}
	return nil
}
