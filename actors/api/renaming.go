package api

import (
	"context"

	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// renaming is the saga of an update that may bring a new name: reserve it under the next token,
// update, and let the outbox confirm the new name and release the old one. It may stop anywhere:
// whoever meets the reservation settles it.
type renaming struct {
	application string
	names       kindOfName
	thing       string
	name        *string // nil: this update brings none
	// allowed says whether the asker may rename what was found, so that nobody else reserves names.
	allowed func(found *thing) bool
	// update carries the token of the reservation; 0 when nothing was reserved.
	update func(ctx context.Context, token uint64) (*nodev1.Reply, error)
}

// renameAttempts bounds how often a renaming that another one overtook begins again.
const renameAttempts = 4

func (s *Service) rename(ctx context.Context, r *renaming) (reply *nodev1.Reply, err error) {
	for range renameAttempts {
		reply, err = s.tryRename(ctx, r)
		if !code.Has(err, code.Unavailable) || ctx.Err() != nil {
			return reply, err
		}
	}
	return nil, err
}

// tryRename reserves a name that is new to the thing. All else the update itself answers, which
// refuses a new name without a token of its own.
func (s *Service) tryRename(ctx context.Context, r *renaming) (*nodev1.Reply, error) {
	if r.name == nil {
		return r.update(ctx, 0)
	}
	found, err := s.lookup(ctx, r.names, r.application, r.thing)
	if err != nil {
		return nil, err
	}
	if !found.alive || found.name == *r.name || !r.allowed(found) {
		return r.update(ctx, 0)
	}
	reserved := &reservation{r.application, r.names, *r.name, r.thing, found.fence + 1}
	if err := s.reserve(ctx, reserved); err != nil {
		return nil, err
	}
	reply, err := r.update(ctx, reserved.token)
	if err != nil {
		s.undo(ctx, reserved, err)
	}
	return reply, err
}

// undo settles the reservation of a renaming that was refused for sure. Another renaming of the
// same thing to the same name may have succeeded: then the name stays. When the outcome is unknown
// it stays, too: whoever meets it asks its owner.
func (s *Service) undo(ctx context.Context, r *reservation, refused error) {
	if code.Has(refused, code.Unknown) {
		return
	}
	if _, err := s.settle(ctx, r); err != nil {
		s.options.Logger.Warn("a name stays reserved until somebody asks for it", "kind", r.names.of, "owner", r.owner, "error", err)
	}
}
