// Package auth says who is asking and what the asker's token allows.
//
// Two kinds of proof exist. A JSON Web Token, signed RS256 with an application's private key,
// speaks for the application (an administrator, no sub) or for one of its users (sub is the
// user's name); it is always a bearer token and never a cookie, so a foreign page can not make
// a browser present it. An API key and secret speak for the operator, who owns the applications.
//
// A token's header is trusted for one thing only: that it must say RS256. Which key verifies it
// follows from the application it names; kid, jku, jwk and x5u are ignored, crit is refused.
package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/actors/api"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// Directory is what verification asks of the cluster. api.Cluster satisfies it.
type Directory interface {
	// Application gives the application with its keys, cheaply: it is asked for every token.
	Application(ctx context.Context, id string) (*eventv1.Application, error)
	// GetUser finds the user that a token's sub names.
	GetUser(ctx context.Context, p *nodev1.Principal, ref api.UserRef) (*eventv1.User, error)
	// Credential finds an operator's API key.
	Credential(ctx context.Context, key string) (*eventv1.Credential, error)
}

// Options are the tunables of a Verifier and of Keys. Start from DefaultOptions.
type Options struct {
	TokenBytesMax int           // a longer token is refused unread
	LifetimeMax   time.Duration // exp - iat may be this much, inclusive
	LifetimeNoExp time.Duration // a token without exp ends this long after iat
	Leeway        time.Duration // by how much iat and nbf may lie in the future
	TokensBytes   int           // of memory for verified tokens, at most twice that
	KeysKept      int           // public keys remembered, at most twice as many
	UserFresh     time.Duration // how long a user found by name is taken to still exist; 0 = it is looked up every time
	SecretsKept   int           // verified API secrets remembered
	DerivationMax int           // API secrets being checked or waiting for it; more are refused
	Now           func() time.Time
	Registerer    prometheus.Registerer
}

// DefaultOptions are right for production.
func DefaultOptions() Options {
	return Options{
		TokenBytesMax: 8 << 10,
		LifetimeMax:   24 * time.Hour,
		LifetimeNoExp: 15 * time.Minute,
		Leeway:        time.Minute,
		TokensBytes:   8 << 20, // of those that official SDKs have, more than ten thousand
		KeysKept:      1024,
		UserFresh:     0, // a deleted user's token must not act, not even for a moment
		SecretsKept:   256,
		DerivationMax: 32,
		Now:           time.Now,
		Registerer:    prometheus.NewRegistry(),
	}
}

// Validate says what is wrong with o.
func (o Options) Validate() error {
	switch {
	case o.TokenBytesMax < 512:
		return fmt.Errorf("TokenBytesMax %d: at least 512", o.TokenBytesMax)
	case o.LifetimeMax <= 0 || o.LifetimeNoExp <= 0 || o.LifetimeNoExp > o.LifetimeMax:
		return errors.New("LifetimeMax and LifetimeNoExp must be positive, the latter not the larger")
	case o.Leeway < 0 || o.Leeway > time.Minute:
		return fmt.Errorf("Leeway %v: 0 to 1m", o.Leeway)
	case o.TokensBytes < 1 || o.KeysKept < 1 || o.SecretsKept < 1 || o.DerivationMax < 1:
		return errors.New("TokensBytes, KeysKept, SecretsKept and DerivationMax must be positive")
	case o.UserFresh < 0:
		return fmt.Errorf("UserFresh %v: not negative", o.UserFresh)
	case o.Now == nil || o.Registerer == nil:
		return errors.New("Now and Registerer are needed")
	}
	return nil
}

// metrics counts what was decided. Refusals are labelled by their code, which is a closed set.
type metrics struct {
	verified *prometheus.CounterVec // how: remembered, signature
	refused  *prometheus.CounterVec // code
	secrets  *prometheus.CounterVec // outcome: remembered, derived, refused, busy, unavailable
}

func newMetrics() metrics {
	return metrics{
		verified: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_edge_tokens_verified_total",
			Help: "Tokens accepted, by whether the signature had to be checked.",
		}, []string{"how"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_edge_tokens_refused_total",
			Help: "Tokens refused, by error code.",
		}, []string{"code"}),
		secrets: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_edge_api_secrets_total",
			Help: "API key and secret checks, by outcome.",
		}, []string{"outcome"}),
	}
}
