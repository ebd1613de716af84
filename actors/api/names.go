package api

import (
	"context"
	"math"
	"time"

	actor "parley/actors/conversation"
	"parley/actors/name"
	"parley/actors/query"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// kindOfName is whose names they are, with what owners of the kind are.
type kindOfName struct {
	of    string // as package name calls it
	kind  nodev1.Kind
	taken code.Code
}

// entity is the id of the grain that keeps a name of this kind.
func (k kindOfName) entity(of string) string { return name.EntityID(k.of, of) }

var (
	userNames         = kindOfName{name.OfUser, nodev1.Kind_KIND_USER, code.UserName}
	conversationNames = kindOfName{name.OfConversation, nodev1.Kind_KIND_CONVERSATION, code.ConversationName}
)

// reservation is one attempt to give a name to an owner. Package name says what the token is for.
type reservation struct {
	application string
	names       kindOfName
	name, owner string
	token       uint64
}

func (r *reservation) grain() target {
	return target{nodev1.Kind_KIND_NAME, r.application, r.names.entity(r.name)}
}

// heldBy is the reservation of the same name that stands in the way.
func (r *reservation) heldBy(n *eventv1.Name) *reservation {
	return &reservation{r.application, r.names, r.name, n.GetOwnerId(), n.GetToken()}
}

const (
	// reserveAttempts bounds how often a name whose owner does not bear it is freed and asked for
	// again: each round somebody else may win it.
	reserveAttempts = 4
	// patience is how long a reservation may be without its owner before it is taken for the
	// remains of a creation or renaming that stopped half way. Either takes milliseconds.
	patience = 500 * time.Millisecond
)

// reserve holds a name for an owner that exists or is about to be created. A name that is held is
// asked for at its holder: when that does not bear it, and durably will not under that reservation,
// the name is freed and asked for again. So the name of a thing that was deleted or renamed is
// free at once, and what stopped half way holds no name for ever.
func (s *Service) reserve(ctx context.Context, r *reservation) error {
	for range reserveAttempts {
		other, err := s.tryReserve(ctx, r)
		if err != nil || other == nil {
			return err
		}
		freed, err := s.settle(ctx, other)
		if err != nil {
			return err
		}
		if !freed {
			return code.New(r.names.taken, "the name %q is in use", r.name)
		}
	}
	return code.New(code.Unavailable, "the name %q changes hands too fast; try again", r.name)
}

// tryReserve reserves a name, or gives the reservation that stands in the way. One that another
// has just made is given a moment to get its owner: to ask that owner now would end the other's
// creation or renaming.
func (s *Service) tryReserve(ctx context.Context, r *reservation) (*reservation, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for pause := 2 * time.Millisecond; ; pause *= 2 {
		reply, err := s.command(ctx, r.grain(), &nodev1.Command{
			Principal: node(r.application),
			Body:      &nodev1.Command_ReserveName{ReserveName: &nodev1.ReserveName{OwnerId: r.owner, Token: r.token}},
		})
		if err != nil || !reply.Exists {
			return nil, err
		}
		other := r.heldBy(reply.GetName())
		young := time.Since(time.UnixMilli(reply.GetName().GetReservedMs())) < patience
		if reply.GetName().GetConfirmed() || !young || pause > patience {
			return other, nil
		}
		holder, err := s.lookup(ctx, other.names, other.application, other.owner)
		if err != nil || !holder.mayCome(other) {
			return other, err
		}
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, code.New(code.Unavailable, "the name %q is being taken by another; try again", r.name)
		}
	}
}

// settle asks the owner of a reservation whether it bears the name. When it does not, it durably
// will not under this token, and the name is freed.
func (s *Service) settle(ctx context.Context, r *reservation) (freed bool, err error) {
	reply, err := s.command(ctx, target{r.names.kind, r.application, r.owner}, &nodev1.Command{
		Principal: node(r.application), Body: &nodev1.Command_Probe{Probe: &nodev1.Probe{Name: r.name, Token: r.token}},
	})
	if err != nil {
		return false, err
	}
	owner := r.names.thing(reply)
	switch {
	case owner.never:
		return true, s.release(ctx, r, owner.fence) // an import may still make it, under a later token
	case !owner.alive:
		return true, s.release(ctx, r, math.MaxUint64)
	case owner.name == r.name:
		return false, nil
	default:
		return true, s.release(ctx, r, owner.fence)
	}
}

// release frees a name that r's owner holds under a token up to this one.
func (s *Service) release(ctx context.Context, r *reservation, upTo uint64) error {
	_, err := s.command(ctx, r.grain(), &nodev1.Command{
		Principal: node(r.application),
		Body:      &nodev1.Command_ReleaseName{ReleaseName: &nodev1.ReleaseName{OwnerId: r.owner, Token: upTo}},
	})
	return err
}

// thing is what stands behind an owner's id.
type thing struct {
	reply *nodev1.Reply
	known bool // created, or given up before it was
	never bool // given up
	alive bool
	name  string
	fence uint64
}

// mayCome says whether the reservation waits for its owner's creation or renaming.
func (o *thing) mayCome(r *reservation) bool {
	return !o.known || (o.alive || o.never) && o.name != r.name && o.fence < r.token
}

// thing reads a reply of an owner.
func (k kindOfName) thing(reply *nodev1.Reply) *thing {
	if k.kind == nodev1.Kind_KIND_USER {
		u := reply.GetUser()
		return &thing{
			reply: reply, known: u != nil, never: u.GetNever(), alive: u != nil && !u.Never && u.DeletedMs == 0,
			name: u.GetName(), fence: u.GetNameFence(),
		}
	}
	c := reply.GetConversation()
	return &thing{
		reply: reply, known: c != nil, never: c.GetState() == eventv1.ConversationState_CONVERSATION_STATE_NEVER,
		alive: actor.BearsName(c),
		name:  c.GetName(), fence: c.GetNameFence(),
	}
}

// lookup reads a conversation or user as the node itself: tombstones too.
func (s *Service) lookup(ctx context.Context, k kindOfName, application, owner string) (*thing, error) {
	q := &nodev1.Query{Principal: node(application)}
	if k.kind == nodev1.Kind_KIND_USER {
		q.Body = &nodev1.Query_GetUser{GetUser: &nodev1.GetUser{Gone: true}}
	} else {
		q.Body = &nodev1.Query_GetConversation{GetConversation: &nodev1.GetConversation{Gone: true}}
	}
	reply, err := s.query(ctx, target{k.kind, application, owner}, q)
	if err != nil {
		return nil, err
	}
	return k.thing(reply), nil
}

// owner finds who bears a name, "" for nobody.
func (s *Service) owner(ctx context.Context, application string, k kindOfName, name string) (string, error) {
	holder, _, err := s.bearer(ctx, application, k, name)
	return holder, err
}

// bearer is owner, with what was read of it as the node itself. A reservation alone is not enough: its
// owner may have another name by now, or not yet this one.
func (s *Service) bearer(ctx context.Context, application string, k kindOfName, name string) (string, *nodev1.Reply, error) {
	req := &nodev1.GrainRequest{Kind: nodev1.Kind_KIND_NAME, ApplicationId: application, Id: k.entity(name), Query: &nodev1.Query{
		Principal: node(application), Body: &nodev1.Query_GetName{GetName: &nodev1.GetName{}},
	}}
	bears := func(holder string) (*nodev1.Reply, error) {
		found, err := s.lookup(ctx, k, application, holder)
		if err != nil || !found.alive || found.name != name {
			return nil, err
		}
		return found.reply, nil
	}
	if holder := s.nearbyHolder(req); holder != "" {
		if reply, err := bears(holder); err != nil || reply != nil {
			return holder, reply, err // whoever bears a name has it reserved: nobody else can
		}
	}
	reply, err := s.ask(ctx, req)
	if err != nil || !reply.Exists {
		return "", nil, err
	}
	holder := reply.GetName().GetOwnerId()
	if reply, err = bears(holder); err != nil || reply == nil {
		return "", nil, err
	}
	return holder, reply, nil
}

// nearbyHolder is who holds a name as far as this node knows, without asking the name's leader; "" for
// nobody.
func (s *Service) nearbyHolder(req *nodev1.GrainRequest) string {
	if s.options.Nearby == nil {
		return ""
	}
	return query.Serve(s.options.Nearby, s.options.Shards, req).GetReply().GetName().GetOwnerId()
}
