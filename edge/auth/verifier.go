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

// verifiedBytes is what a token takes in memory beside its strings and its list, roughly: itself, its
// claims, and its place in a map.
const verifiedBytes = 360

// bytes is what t takes in memory, roughly. The keys are not its own.
func (t *verified) bytes() int {
	c := t.claims
	n := verifiedBytes + len(c.ApplicationID) + len(c.UserID) + len(c.UserName) + len(c.TokenID)
	if c.ACL != nil {
		n += c.ACL.bytes()
	}
	return n
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
		tokens:  limit.NewWeighed(o.TokensBytes, func(_ [sha256.Size]byte, t *verified) int { return t.bytes() }),
		keys:    limit.NewRecent[string, *rsa.PublicKey](o.KeysKept, nil),
	}
	held := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "parley_edge_tokens_bytes",
		Help: "Verified tokens kept in memory.",
	}, func() float64 { return float64(v.tokens.Weight()) })
	for _, m := range []prometheus.Collector{v.metrics.verified, v.metrics.refused, held} {
		if err := o.Registerer.Register(m); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// Verify checks a token and says who it speaks for. A refusal is code.MissingToken,
// code.InvalidToken or code.ExpiredToken; when the cluster can not be asked, code.Unavailable.
func (v *Verifier) Verify(ctx context.Context, token string) (*Claims, error) {
	found, err := v.verify(ctx, token)
	if err != nil {
		return nil, v.refuse(err)
	}
	return found.claims, nil
}

// Login is Verify for a caller that needs the token's user besides: verifying has read it, and a
// crowd that comes back need not have it read twice. It is nil for an administrator's token.
func (v *Verifier) Login(ctx context.Context, token string) (*Claims, *eventv1.User, error) {
	found, err := v.verify(ctx, token)
	if err == nil && found.user == nil && !found.claims.Admin() {
		found, err = v.withUser(ctx, found.verified)
	}
	if err != nil {
		return nil, nil, v.refuse(err)
	}
	return found.claims, found.user, nil
}

// refuse gives a refusal its code and counts it.
func (v *Verifier) refuse(err error) error {
	err = refusal(err)
	if coded, ok := code.Of(err); ok {
		v.metrics.refused.WithLabelValues(string(coded.Code)).Inc()
	}
	return err
}

// found is a verified token with its user as it was just read; nil if it need not be read.
type found struct {
	*verified
	user *eventv1.User
}

func (v *Verifier) verify(ctx context.Context, token string) (found, error) {
	switch {
	case token == "":
		return found{}, code.New(code.MissingToken, "A bearer token is needed: Authorization: Bearer <jwt>.")
	case len(token) > v.options.TokenBytesMax:
		return found{}, invalid("it is longer than %d bytes", v.options.TokenBytesMax)
	case strings.Count(token, ".") != 2, strings.ContainsAny(token, "\r\n"): // base64 would pass over the ends of lines
		return found{}, invalid("it is not a signed JSON Web Token")
	}
	sum := sha256.Sum256([]byte(token))
	if known, ok := v.tokens.Get(sum); ok {
		again, err := v.again(ctx, known)
		if err != nil || again.verified != nil {
			return v.remember(sum, known, again, err)
		}
	}
	first, err := v.first(ctx, token)
	if err == nil {
		v.metrics.verified.WithLabelValues("signature").Inc()
	}
	return v.remember(sum, nil, first, err)
}

func (v *Verifier) remember(sum [sha256.Size]byte, was *verified, is found, err error) (found, error) {
	if err != nil {
		return found{}, err
	}
	if was != is.verified {
		v.tokens.Put(sum, is.verified)
	}
	return is, nil
}

// again accepts a token seen before, as long as its key is still the application's, its time is
// not over and its user exists. Nothing found means that it must be verified from the beginning.
func (v *Verifier) again(ctx context.Context, known *verified) (found, error) {
	application, err := v.directory.Application(ctx, known.claims.ApplicationID)
	if err != nil {
		return found{}, err
	}
	if known.keys != keysOf(application) {
		return found{}, nil
	}
	now := v.options.Now()
	if err := known.claims.current(now, &v.options); err != nil {
		return found{}, err
	}
	v.metrics.verified.WithLabelValues("remembered").Inc()
	if known.claims.Admin() || now.Before(known.userUntil) {
		return found{verified: known}, nil
	}
	return v.withUser(ctx, known)
}

// first verifies a token that was not seen before.
func (v *Verifier) first(ctx context.Context, token string) (found, error) {
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
	parsed, err := v.parser.ParseWithClaims(token, &body, keyOf)
	if err != nil {
		return found{}, err
	}
	fresh.claims.SignedBy = v.signedBy(parsed, fresh.keys)
	if err := fresh.claims.current(v.options.Now(), &v.options); err != nil {
		return found{}, err
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

// signedBy says which of the keys has signed a token that one of them has.
func (v *Verifier) signedBy(t *jwt.Token, texts [2]string) Fingerprint {
	present, before := texts[0], texts[1]
	if before != "" {
		signed := t.Raw[:strings.LastIndexByte(t.Raw, '.')]
		if key, err := v.publicKey(before); err == nil && t.Method.Verify(signed, t.Signature, key) == nil {
			return sha256.Sum256([]byte(before))
		}
	}
	return sha256.Sum256([]byte(present))
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

// withUser finds the user that the token's sub names.
func (v *Verifier) withUser(ctx context.Context, t *verified) (found, error) {
	if t.claims.Admin() {
		return found{verified: t}, nil
	}
	user, err := v.user(ctx, t.claims)
	if err != nil {
		return found{}, err
	}
	claims := *t.claims
	claims.UserID = user.GetId()
	return found{&verified{&claims, t.keys, v.options.Now().Add(v.options.UserFresh)}, user}, nil
}

// user asks as an administrator of the token's own application, so no other application's users can
// be found. A user that was found before is asked for by its id, which is one read and not two: whoever
// bears a name has it reserved, so nobody else is meant by it.
func (v *Verifier) user(ctx context.Context, c *Claims) (*eventv1.User, error) {
	asker := &nodev1.Principal{ApplicationId: c.ApplicationID, Admin: true}
	if c.UserID != "" {
		user, err := v.directory.GetUser(ctx, asker, api.UserRef{ID: c.UserID})
		if err == nil && user.GetName() == c.UserName || err != nil && !code.Has(err, code.UserNotFound) {
			return user, err
		}
	}
	return v.directory.GetUser(ctx, asker, api.UserRef{Name: c.UserName})
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
