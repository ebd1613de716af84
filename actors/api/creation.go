package api

import (
	"context"

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

// givenUpMax bounds the attempts of one creation that others, who wanted its name, declared dead.
const givenUpMax = 4

// create runs the saga. Without a key, an attempt that somebody declared dead is repeated under
// another id; with a key the id is what the key stands for, and the caller is told.
func (a *API) create(ctx context.Context, c *creation) (reply *nodev1.Reply, err error) {
	if c.key != "" {
		thing := id.Derive(c.prefix, c.principal.GetApplicationId(), c.principal.GetUserId(), c.key)
		// Before any name is touched: a retry may ask for another name, and gets the first result.
		first, err := a.find(ctx, target{c.names.kind, c.principal.GetApplicationId(), thing})
		if first != nil || err != nil {
			return first, err
		}
		return a.attempt(ctx, c, thing)
	}
	for range givenUpMax {
		reply, err = a.attempt(ctx, c, id.New(c.prefix))
		if !code.Has(err, code.IdempotencyConflict) {
			return reply, err
		}
	}
	return nil, code.New(code.Unavailable, "many want this name at once; try again")
}

// attempt is one pass of the saga.
func (a *API) attempt(ctx context.Context, c *creation, thing string) (*nodev1.Reply, error) {
	app, name := c.principal.GetApplicationId(), c.name(thing)
	if err := a.reserve(ctx, app, c.names, name, thing); err != nil {
		return nil, err
	}
	reply, err := a.command(ctx, target{c.names.kind, app, thing}, c.command(thing, name))
	if err != nil {
		a.undo(ctx, app, c.names, name, thing, err)
	}
	return reply, err
}

// generated is the name of a thing that was given none: NAM- and the thing's own UUID.
func generated(prefix id.Prefix, thing string) string {
	return string(id.Name) + thing[len(prefix):]
}
