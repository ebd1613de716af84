package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"parley/proto/code"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// Claims are what a verified token says. They are shared by all requests of that token: read only.
type Claims struct {
	ApplicationID string
	UserID        string // USR-…; empty for an administrator
	UserName      string // the token's sub; empty for an administrator
	TokenID       string // jti
	IssuedAt      time.Time
	NotBefore     time.Time // zero = at once
	ExpiresAt     time.Time // never zero: a token without exp ends 15 minutes after iat
	ACL           *ACL      // nil: an administrator without a list, who may do everything
	// SignedBy is the key that the token was found to be signed with. Once the application has other
	// keys, whoever acts on the token must not go on.
	SignedBy Fingerprint
}

// Admin says whether the token speaks for the application itself.
func (c *Claims) Admin() bool { return c.UserName == "" }

// Principal is the asker as the cluster wants to know it.
func (c *Claims) Principal() *nodev1.Principal {
	return &nodev1.Principal{
		ApplicationId: c.ApplicationID, UserId: c.UserID, UserName: c.UserName, Admin: c.Admin(),
	}
}

// Allows gives nil when the token's list covers the method and the path, and otherwise a
// code.Permission that names both. path is decoded and clean, as ACL.Allows wants it.
func (c *Claims) Allows(method, path string) error {
	switch {
	case c.ACL == nil && c.Admin():
		return nil
	case c.ACL == nil:
		return code.New(code.Permission, "The token of a user needs an acl claim; it has none, so %s %s is refused.", method, clip(path))
	case c.ACL.Allows(method, path):
		return nil
	}
	return code.New(code.Permission, "The token's acl does not cover %s %s.", method, clip(path))
}

// payload is the token's JSON as it is signed. Members that may have several forms stay raw.
type payload struct {
	ApplicationID json.RawMessage `json:"application_id"`
	IssuedAt      json.RawMessage `json:"iat"`
	TokenID       json.RawMessage `json:"jti"`
	ExpiresAt     json.RawMessage `json:"exp"`
	NotBefore     json.RawMessage `json:"nbf"`
	Subject       json.RawMessage `json:"sub"`
	ACL           json.RawMessage `json:"acl"`
}

// errNotString says that a claim has another JSON type than string, or is empty.
var errNotString = errors.New("must be a string that is not empty")

// claims turns a payload into Claims, without the user's id. Its errors name the claim.
func (p *payload) claims(o *Options) (*Claims, error) {
	c := &Claims{}
	var err error
	if c.ApplicationID, err = text(p.ApplicationID); err != nil {
		return nil, fmt.Errorf("application_id %w", err)
	}
	if _, err = id.Parse(id.Application, c.ApplicationID); err != nil {
		return nil, errors.New("application_id must be a lower-case UUID")
	}
	if c.TokenID, err = text(p.TokenID); err != nil {
		return nil, fmt.Errorf("jti %w", err)
	}
	// An absent sub makes an administrator; a sub of any other kind must not.
	if p.Subject != nil {
		if c.UserName, err = text(p.Subject); err != nil {
			return nil, fmt.Errorf("sub %w", err)
		}
	}
	if p.ACL != nil {
		if c.ACL, err = parseACL(p.ACL); err != nil {
			return nil, fmt.Errorf("acl %w", err)
		}
	}
	return c, p.times(c, o)
}

func (p *payload) times(c *Claims, o *Options) error {
	var err error
	if p.IssuedAt == nil {
		return errors.New("iat is missing")
	}
	if c.IssuedAt, err = numericDate(p.IssuedAt); err != nil {
		return fmt.Errorf("iat %w", err)
	}
	if p.NotBefore != nil {
		if c.NotBefore, err = numericDate(p.NotBefore); err != nil {
			return fmt.Errorf("nbf %w", err)
		}
	}
	c.ExpiresAt = c.IssuedAt.Add(o.LifetimeNoExp)
	if p.ExpiresAt == nil {
		return nil
	}
	if c.ExpiresAt, err = numericDate(p.ExpiresAt); err != nil {
		return fmt.Errorf("exp %w", err)
	}
	if c.ExpiresAt.Sub(c.IssuedAt) > o.LifetimeMax {
		return fmt.Errorf("exp may be at most %d seconds after iat", int(o.LifetimeMax.Seconds()))
	}
	return nil
}

// current refuses claims whose time has not come or is over.
func (c *Claims) current(now time.Time, o *Options) error {
	switch {
	case !now.Before(c.ExpiresAt):
		return code.New(code.ExpiredToken, "The token expired at %s.", c.ExpiresAt.UTC().Format(time.RFC3339))
	case c.IssuedAt.After(now.Add(o.Leeway)):
		return code.New(code.InvalidToken, "The token's iat lies in the future.")
	case c.NotBefore.After(now.Add(o.Leeway)):
		return code.New(code.InvalidToken, "The token is not valid yet (nbf).")
	}
	return nil
}

func text(raw json.RawMessage) (string, error) {
	var s string
	if raw == nil {
		return "", errors.New("is missing")
	}
	if raw[0] != '"' || json.Unmarshal(raw, &s) != nil || s == "" {
		return "", errNotString
	}
	return s, nil
}

// numericDate reads seconds since 1970, as a JSON number or as a string that holds one: older
// command line tools wrote strings.
func numericDate(raw json.RawMessage) (time.Time, error) {
	digits := string(bytes.TrimSpace(raw))
	if s, err := text(raw); err == nil {
		digits = s
	}
	seconds, err := strconv.ParseFloat(digits, 64)
	// ParseFloat also reads "inf", "0x1p4" and "1_0", which no token needs.
	if err != nil || !numeric(digits) || math.Abs(seconds) > 1e11 {
		return time.Time{}, errors.New("must be a number of seconds since 1970")
	}
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9)), nil
}

func numeric(s string) bool {
	for _, r := range s {
		if (r < '0' || r > '9') && r != '.' && r != '-' && r != '+' && r != 'e' && r != 'E' {
			return false
		}
	}
	return s != ""
}
