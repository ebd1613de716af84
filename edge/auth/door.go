package auth

import (
	"context"
	"net/http"

	"parley/edge/limit"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
)

// Guesses are the token buckets of addresses that try tokens; *limit.Limits is one.
type Guesses interface {
	// Allow takes cost out of a bucket, Spent says whether it is empty; both refuse with a code.
	Allow(s limit.Scope, key string, cost float64) error
	Spent(s limit.Scope, key string) error
}

// Door is where users come in on the sockets of every client generation: one way to look at the token of
// whoever wants a session. How a refusal is told is each protocol's own. It is safe for use from any
// goroutine and owns none.
type Door struct {
	verifier *Verifier
	guesses  Guesses
}

// NewDoor makes a Door.
func NewDoor(v *Verifier, g Guesses) *Door { return &Door{v, g} }

// Admit says whose a token is that may open a session, or go on with one, and gives its user as it was
// just read. Who tries tokens is slowed down, by its address: too many bad ones are refused unread.
// Refusals are coded.
func (d *Door) Admit(ctx context.Context, token, address string) (*Claims, *eventv1.User, error) {
	if err := d.guesses.Spent(limit.Guess, address); err != nil {
		return nil, nil, err
	}
	claims, user, err := d.admit(ctx, token)
	if e, ok := code.Of(err); ok && e.HTTPStatus() == http.StatusUnauthorized {
		if spent := d.guesses.Allow(limit.Guess, address, 1); spent != nil {
			return nil, nil, spent
		}
	}
	return claims, user, err
}

func (d *Door) admit(ctx context.Context, token string) (*Claims, *eventv1.User, error) {
	claims, user, err := d.verifier.Login(ctx, token)
	if err != nil {
		return nil, nil, err
	}
	if claims.Admin() {
		return nil, nil, code.New(code.Permission, "a session needs a user's token (with sub); this one is the application's")
	}
	if err := claims.Allows(http.MethodPost, "/v1/sessions"); err != nil {
		return nil, nil, err
	}
	return claims, user, nil
}
