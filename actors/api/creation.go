package api

import (
	"context"
	"strconv"
	"time"

	"parley/proto/code"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// creation is the saga that makes a conversation or a user: reserve the name, create, and let the
// outbox confirm the name. It may stop anywhere: with the same key a retry finds what was made,
// or goes on.
type creation struct {
	principal *nodev1.Principal
	key       string
	prefix    id.Prefix
	names     kindOfName
	// name and command make the parts of one attempt at an id.
	name    func(thing string) string
	command func(thing, name string) *nodev1.Command
}

const (
	// givenUpMax bounds the attempts of one call whose ids others, who wanted the name, declared dead.
	givenUpMax = 4
	// idsMax bounds the ids of one key, over all calls.
	idsMax = 64
)

// create makes a thing, or gives the one that the key stands for. When it answers, the millisecond of
// the creation has passed: what is created after the answer is listed after it.
func (s *Service) create(ctx context.Context, c *creation) (*nodev1.Reply, error) {
	reply, err := s.made(ctx, c)
	if err != nil {
		return nil, err
	}
	created := max(reply.GetConversation().GetCreatedMs(), reply.GetUser().GetCreatedMs())
	timer := time.NewTimer(min(time.Until(time.UnixMilli(created+1)), time.Millisecond)) // a clock elsewhere may be ahead
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done(): // it is made
	}
	return reply, nil
}

// made runs the saga. An attempt that somebody declared dead is repeated under another id.
func (s *Service) made(ctx context.Context, c *creation) (*nodev1.Reply, error) {
	if c.key != "" {
		return s.createOnce(ctx, c)
	}
	for range givenUpMax {
		reply, givenUp, err := s.attempt(ctx, c, id.New(c.prefix))
		if !givenUp || err != nil {
			return reply, err
		}
	}
	return nil, code.New(code.Unavailable, "many want this name at once; try again")
}

// createOnce makes at most one thing for a key. The key stands for a row of ids, each derived: the
// first that was not declared dead is the thing, or will be. Only a dead one lets a call go on to
// the next, and dead is for ever, so all calls with the key end at the same thing. The row is read
// before any name is touched: a retry may ask for another name, and gets the first result.
func (s *Service) createOnce(ctx context.Context, c *creation) (*nodev1.Reply, error) {
	attempts := 0
	for n := 0; n < idsMax && attempts < givenUpMax; n++ {
		next := c.id(n)
		found, err := s.lookup(ctx, c.names, c.principal.GetApplicationId(), next)
		if err != nil {
			return nil, err
		}
		switch {
		case found.alive:
			found.reply.Duplicate = true
			return found.reply, nil
		case found.never:
			continue
		case found.known:
			return nil, code.New(code.IdempotencyConflict, "what this key made has been deleted; use a new key for a new one")
		}
		attempts++
		reply, givenUp, err := s.attempt(ctx, c, next)
		if !givenUp || err != nil {
			return reply, err
		}
	}
	return nil, code.New(code.Unavailable, "many want this name at once; try again")
}

// id is the nth id of the key.
func (c *creation) id(n int) string {
	creator := c.principal.GetUserId()
	if n > 0 {
		creator += "\x00" + strconv.Itoa(n)
	}
	return id.Derive(c.prefix, c.principal.GetApplicationId(), creator, c.key)
}

// attempt is one pass of the saga. givenUp: the id was declared dead before the thing was created.
func (s *Service) attempt(ctx context.Context, c *creation, next string) (reply *nodev1.Reply, givenUp bool, err error) {
	app := c.principal.GetApplicationId()
	r := &reservation{application: app, names: c.names, name: c.name(next), owner: next}
	if err := s.reserve(ctx, r); err != nil {
		return nil, false, err
	}
	reply, err = s.command(ctx, target{c.names.kind, app, next}, c.command(next, r.name))
	if err != nil {
		s.abandon(ctx, c, r, err)
		return nil, false, err
	}
	return reply, c.names.thing(reply).never, nil
}

// abandon frees the name of a creation that was refused for sure, when nobody else can know its id.
// All other names stay until somebody meets them and asks the owner.
func (s *Service) abandon(ctx context.Context, c *creation, r *reservation, refused error) {
	if c.key != "" || code.Has(refused, code.Unknown) {
		return
	}
	if err := s.release(ctx, r, r.token); err != nil {
		s.options.Logger.Warn("a name stays reserved until somebody asks for it", "kind", r.names.of, "owner", r.owner, "error", err)
	}
}

// generated is the name of a thing that was given none: NAM- and the thing's own UUID.
func generated(prefix id.Prefix, thing string) string {
	return string(id.Name) + thing[len(prefix):]
}
