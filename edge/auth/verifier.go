package auth

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"

	"parley/actors/api"
	"parley/edge/limit"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// Verifier checks tokens. It is safe for use from any goroutine and owns none.
type Verifier struct {
	directory Directory
	options   Options
	parser    *jwt.Parser
	metrics   metrics

	// Remembered, bounded. A token's signature is checked once per key, not once per request.
	tokens *limit.Recent[[sha256.Size]byte, *verified]
	keys   *limit.Recent[string, *rsa.PublicKey] // by PEM
}

// verified is a token whose signature was found good under the application's keys.
type verified struct {
	claims    *Claims
	keys      [2]string // PEM, as the application had them then
	userUntil time.Time // until then the user is taken to exist
}

// New makes a Verifier that looks applications and users up in directory.
func New(directory Directory, o Options) (*Verifier, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	v := &Verifier{
		directory: directory,
		options:   o,
		// Claims are validated here, not by the library: exp may be a string, and the codes differ.
		parser:  jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding()),
		metrics: newMetrics(),
		tokens:  limit.NewRecent[[sha256.Size]byte, *verified](o.TokensKept, nil),
		keys:    limit.NewRecent[string, *rsa.PublicKey](o.TokensKept, nil),
	}
	for _, m := range []*prometheus.CounterVec{v.metrics.verified, v.metrics.refused} {
		if err := o.Registerer.Register(m); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// Verify checks a token and says who it speaks for. A refusal is code.MissingToken,
// code.InvalidToken or code.ExpiredToken; when the cluster can not be asked, code.Unavailable.
func (v *Verifier) Verify(ctx context.Context, token string) (*Claims, error) {
	claims, err := v.verify(ctx, token)
	if err != nil {
		err = refusal(err)
		if coded, ok := code.Of(err); ok {
			v.metrics.refused.WithLabelValues(string(coded.Code)).Inc()
		}
		return nil, err
	}
	return claims, nil
}

func (v *Verifier) verify(ctx context.Context, token string) (*Claims, error) {
	switch {
	case token == "":
		return nil, code.New(code.MissingToken, "A bearer token is needed: Authorization: Bearer <jwt>.")
	case len(token) > v.options.TokenBytesMax:
		return nil, invalid("it is longer than %d bytes", v.options.TokenBytesMax)
	case strings.Count(token, ".") != 2:
		return nil, invalid("it is not a signed JSON Web Token")
	}
	sum := sha256.Sum256([]byte(token))
	if known, ok := v.tokens.Get(sum); ok {
		fresh, err := v.again(ctx, known)
		if err != nil || fresh != nil {
			return v.remember(sum, known, fresh, err)
		}
	}
	fresh, err := v.first(ctx, token)
	if err == nil {
		v.metrics.verified.WithLabelValues("signature").Inc()
	}
	return v.remember(sum, nil, fresh, err)
}

func (v *Verifier) remember(sum [sha256.Size]byte, was, is *verified, err error) (*Claims, error) {
	if err != nil {
		return nil, err
	}
	if was != is {
		v.tokens.Put(sum, is)
	}
	return is.claims, nil
}

// again accepts a token seen before, as long as its key is still the application's, its time is
// not over and its user exists. nil, nil means that it must be verified from the beginning.
func (v *Verifier) again(ctx context.Context, known *verified) (*verified, error) {
	application, err := v.directory.Application(ctx, known.claims.ApplicationID)
	if err != nil {
		return nil, err
	}
	if known.keys != keysOf(application) {
		return nil, nil
	}
	now := v.options.Now()
	if err := known.claims.current(now, &v.options); err != nil {
		return nil, err
	}
	v.metrics.verified.WithLabelValues("remembered").Inc()
	if known.claims.Admin() || now.Before(known.userUntil) {
		return known, nil
	}
	claims := *known.claims
	return v.withUser(ctx, &verified{claims: &claims, keys: known.keys})
}

// first verifies a token that was not seen before.
func (v *Verifier) first(ctx context.Context, token string) (*verified, error) {
	var body payload
	fresh := &verified{}
	keyOf := func(t *jwt.Token) (any, error) {
		if _, ok := t.Header["crit"]; ok {
			return nil, invalid("its header has a crit extension")
		}
		var err error
		if fresh.claims, err = body.claims(&v.options); err != nil {
			return nil, invalid("%s", err)
		}
		application, err := v.directory.Application(ctx, fresh.claims.ApplicationID)
		if err != nil {
			return nil, err
		}
		fresh.keys = keysOf(application)
		return v.keySet(fresh.keys)
	}
	if _, err := v.parser.ParseWithClaims(token, &body, keyOf); err != nil {
		return nil, err
	}
	if err := fresh.claims.current(v.options.Now(), &v.options); err != nil {
		return nil, err
	}
	return v.withUser(ctx, fresh)
}

// keysOf are the keys that may have signed: the present one and, during a rotation, the one
// before it.
func keysOf(a *eventv1.Application) [2]string {
	return [2]string{a.GetPublicKey(), a.GetPreviousPublicKey()}
}

func (v *Verifier) keySet(texts [2]string) (jwt.VerificationKeySet, error) {
	var set jwt.VerificationKeySet
	for _, text := range texts {
		if text == "" {
			continue
		}
		if key, err := v.publicKey(text); err == nil {
			set.Keys = append(set.Keys, key)
		}
	}
	if len(set.Keys) == 0 {
		return set, invalid("its application has no usable public key")
	}
	return set, nil
}

func (v *Verifier) publicKey(text string) (*rsa.PublicKey, error) {
	if key, ok := v.keys.Get(text); ok {
		return key, nil
	}
	key, err := ParsePublicKey(text)
	if err == nil {
		v.keys.Put(text, key)
	}
	return key, err
}

// withUser finds the user that the token's sub names. The question is asked as an administrator
// of the token's own application, so no other application's users can be found.
func (v *Verifier) withUser(ctx context.Context, t *verified) (*verified, error) {
	if t.claims.Admin() {
		return t, nil
	}
	asker := &nodev1.Principal{ApplicationId: t.claims.ApplicationID, Admin: true}
	user, err := v.directory.GetUser(ctx, asker, api.UserRef{Name: t.claims.UserName})
	if err != nil {
		return nil, err
	}
	t.claims.UserID = user.GetId()
	t.userUntil = v.options.Now().Add(v.options.UserFresh)
	return t, nil
}

// GetExpirationTime and its siblings make payload a jwt.Claims. The library is told not to
// validate, so they say nothing.
func (p *payload) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuedAt implements jwt.Claims.
func (p *payload) GetIssuedAt() (*jwt.NumericDate, error) { return nil, nil }

// GetNotBefore implements jwt.Claims.
func (p *payload) GetNotBefore() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuer implements jwt.Claims.
func (p *payload) GetIssuer() (string, error) { return "", nil }

// GetSubject implements jwt.Claims.
func (p *payload) GetSubject() (string, error) { return "", nil }

// GetAudience implements jwt.Claims.
func (p *payload) GetAudience() (jwt.ClaimStrings, error) { return nil, nil }

// invalid is the refusal of a token for a reason that its bearer may know.
func invalid(format string, args ...any) error {
	e := code.New(code.InvalidToken, format, args...)
	e.Message = "The token is not valid: " + e.Message + "."
	return e
}

// refusal gives err its code. An unknown application or user is told as an invalid token: a
// stranger learns nothing about which of them exist.
func refusal(err error) error {
	coded, ok := code.Of(err)
	switch {
	case !ok && errors.Is(err, context.DeadlineExceeded), !ok && errors.Is(err, context.Canceled):
		return code.New(code.Unavailable, "The token could not be checked in time; try again.")
	case !ok && errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return invalid("it must be signed RS256 by the application's key")
	case !ok:
		return invalid("it can not be decoded")
	}
	switch coded.Code {
	case code.ApplicationNotFound:
		return invalid("it names an application that does not exist, or the signature does not fit")
	case code.UserNotFound, code.ValidationFail:
		return invalid("its sub names no user of the application")
	}
	return coded
}
