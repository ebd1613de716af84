package api

import (
	"context"
	"time"

	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// kindOfName is the first part of a name grain's id, with what owners of the kind are.
type kindOfName struct {
	prefix string
	kind   nodev1.Kind
	taken  code.Code
}

var (
	userNames         = kindOfName{"user/", nodev1.Kind_KIND_USER, code.UserName}
	conversationNames = kindOfName{"conversation/", nodev1.Kind_KIND_CONVERSATION, code.ConversationName}
)

func (k kindOfName) target(application, name string) target {
	return target{nodev1.Kind_KIND_NAME, application, k.prefix + name}
}

const (
	// reserveAttempts bounds how often a name whose owner is gone is freed and asked for again:
	// each round somebody else may win it.
	reserveAttempts = 4
	// patience is how long a reservation may be without its owner before it is taken for the
	// remains of a creation that stopped half way. A creation takes milliseconds.
	patience = 500 * time.Millisecond
)

// reserve holds a name for an owner that exists or is about to be created. A name that is held is
// asked for at its holder: when that is gone, or durably says that it will never be, the name is
// freed and asked for again. So a deleted thing's name is free at once, and a creation that
// stopped half way holds no name for ever.
func (a *API) reserve(ctx context.Context, application string, k kindOfName, name, owner string) error {
	by := &nodev1.Principal{ApplicationId: application, Admin: true}
	for range reserveAttempts {
		held, err := a.tryReserve(ctx, by, k, name, owner)
		if err != nil || held == nil {
			return err
		}
		alive, err := a.probe(ctx, by, k.kind, held.OwnerId)
		if err != nil {
			return err
		}
		if alive {
			return code.New(k.taken, "the name %q is in use", name)
		}
		if err := a.release(ctx, application, k, name, held.OwnerId); err != nil {
			return err
		}
	}
	return code.New(code.Unavailable, "the name %q changes hands too fast; try again", name)
}

// tryReserve reserves a name, or gives the reservation that stands in the way. One that another
// creation has just made is given a moment to get its owner: to ask that owner now would end
// the other creation.
func (a *API) tryReserve(ctx context.Context, by *nodev1.Principal, k kindOfName, name, owner string) (*eventv1.Name, error) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for pause := 2 * time.Millisecond; ; pause *= 2 {
		reply, err := a.command(ctx, k.target(by.ApplicationId, name), &nodev1.Command{
			Principal: by, Body: &nodev1.Command_ReserveName{ReserveName: &nodev1.ReserveName{OwnerId: owner}},
		})
		if err != nil || !reply.Exists {
			return nil, err
		}
		held := reply.GetName()
		young := time.Since(time.UnixMilli(held.GetReservedMs())) < patience
		if held.GetConfirmed() || !young || pause > patience {
			return held, nil
		}
		if first, err := a.find(ctx, target{k.kind, by.ApplicationId, held.GetOwnerId()}); err != nil || first != nil {
			return held, err
		}
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, code.New(code.Unavailable, "the name %q is being taken by another; try again", name)
		}
	}
}

// find reads a conversation or user as the node itself, nil when there is none.
func (a *API) find(ctx context.Context, t target) (*nodev1.Reply, error) {
	q := &nodev1.Query{Principal: &nodev1.Principal{ApplicationId: t.application, Admin: true}}
	if t.kind == nodev1.Kind_KIND_USER {
		q.Body = &nodev1.Query_GetUser{GetUser: &nodev1.GetUser{}}
	} else {
		q.Body = &nodev1.Query_GetConversation{GetConversation: &nodev1.GetConversation{}}
	}
	reply, err := a.query(ctx, t, q)
	if code.Has(err, code.ConversationNotFound) || code.Has(err, code.UserNotFound) || code.Has(err, code.NotFound) {
		return nil, nil
	}
	return reply, err
}

// probe asks a thing whether it exists; one that does not answers so for ever after.
func (a *API) probe(ctx context.Context, by *nodev1.Principal, kind nodev1.Kind, thing string) (bool, error) {
	reply, err := a.command(ctx, target{kind, by.ApplicationId, thing}, &nodev1.Command{
		Principal: by, Body: &nodev1.Command_Probe{Probe: &nodev1.Probe{}},
	})
	if err != nil {
		return false, err
	}
	return reply.Exists, nil
}

// release frees a name that owner holds; a name that somebody else holds stays.
func (a *API) release(ctx context.Context, application string, k kindOfName, name, owner string) error {
	_, err := a.command(ctx, k.target(application, name), &nodev1.Command{
		Principal: &nodev1.Principal{ApplicationId: application, Admin: true},
		Body:      &nodev1.Command_ReleaseName{ReleaseName: &nodev1.ReleaseName{OwnerId: owner}},
	})
	return err
}

// undo releases the name of a creation or rename that was refused for sure. When the outcome is
// unknown the name stays: whoever meets it asks its owner.
func (a *API) undo(ctx context.Context, application string, k kindOfName, name, owner string, refused error) {
	if code.Has(refused, code.Unknown) {
		return
	}
	if err := a.release(ctx, application, k, name, owner); err != nil {
		a.options.Logger.Warn("a name stays reserved until somebody asks for it", "kind", k.prefix, "owner", owner, "error", err)
	}
}

// owner finds who holds a name, "" for nobody.
func (a *API) owner(ctx context.Context, p *nodev1.Principal, k kindOfName, name string) (string, error) {
	reply, err := a.query(ctx, k.target(p.GetApplicationId(), name), &nodev1.Query{
		Principal: system(p), Body: &nodev1.Query_GetName{GetName: &nodev1.GetName{}},
	})
	if code.Has(err, code.NotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return reply.GetName().GetOwnerId(), nil
}
