package client

import (
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// tokenLife is how long a token lasts that a command makes for itself.
const tokenLife = 15 * time.Minute

// userPaths are what a chat user's client needs. The star stands for the API's version.
var userPaths = []string{"/*/users/**", "/*/conversations/**", "/*/sessions/**", "/*/devices/**", "/*/image/**",
	"/*/media/**", "/*/applications/**", "/*/push/**", "/*/knocking/**", "/*/legs/**"}

// ParseKey reads an application's private key (PEM, PKCS#8 or PKCS#1).
func ParseKey(pem string) (*rsa.PrivateKey, error) {
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(pem))
	if err != nil {
		return nil, errors.New("not an RSA private key in PEM form (it begins with -----BEGIN PRIVATE KEY-----)")
	}
	return key, nil
}

// Sign makes a token (RS256) of the claims; iat and jti are added unless the claims have them.
func Sign(key *rsa.PrivateKey, now time.Time, claims map[string]any) (string, error) {
	full := jwt.MapClaims{"iat": now.Unix(), "jti": uuid.NewString()}
	maps.Copy(full, claims)
	token, err := jwt.NewWithClaims(jwt.SigningMethodRS256, full).SignedString(key)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	return token, nil
}

// AdminClaims may do everything in the application.
func AdminClaims(application string, now time.Time, life time.Duration) map[string]any {
	return map[string]any{"application_id": application, "exp": now.Add(life).Unix()}
}

// UserClaims are those of a chat user, named by its user name.
func UserClaims(application, user string, now time.Time, life time.Duration) map[string]any {
	paths := map[string]any{}
	for _, p := range userPaths {
		paths[p] = struct{}{}
	}
	claims := AdminClaims(application, now, life)
	claims["sub"] = user
	claims["acl"] = map[string]any{"paths": paths}
	return claims
}

// AdminToken is a short token for a command's own calls.
func (a Application) AdminToken(now time.Time) (string, error) {
	key, err := ParseKey(a.PrivateKey)
	if err != nil {
		return "", err
	}
	return Sign(key, now, AdminClaims(a.ID, now, tokenLife))
}

// ParseClaim turns the text of a key=value argument into a claim: acl and exp are JSON, as are
// iat and nbf, everything else is a string.
func ParseClaim(name, text string) (any, error) {
	switch name {
	case "acl", "exp", "iat", "nbf":
	default:
		return text, nil
	}
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return nil, fmt.Errorf("%s=%s: must be JSON: %w", name, text, err)
	}
	if name == "acl" {
		return v, checkACL(v)
	}
	n, ok := v.(float64)
	if !ok || n != float64(int64(n)) {
		return nil, fmt.Errorf("%s=%s: must be a time in whole seconds since 1970", name, text)
	}
	return int64(n), nil
}

func checkACL(v any) error {
	if m, ok := v.(map[string]any); ok {
		if _, ok := m["paths"].(map[string]any); ok {
			return nil
		}
	}
	return errors.New(`acl: must have the form {"paths":{"/*/users/**":{},"/*/conversations/**":{}}}`)
}
