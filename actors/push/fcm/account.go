package fcm

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"parley/actors/push/delivery"
)

const (
	scope     = "https://www.googleapis.com/auth/firebase.messaging"
	grantType = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	// assertionLasts is the longest that Google takes.
	assertionLasts = time.Hour
	// renewBefore is how long before its end an access token is replaced.
	renewBefore = 2 * time.Minute
)

// account is a service account with its present access token.
type account struct {
	project, email, keyID string
	key                   *rsa.PrivateKey
	failure               *delivery.Failure // the credential cannot be read

	fetching chan struct{} // capacity 1: who fetches the token; others wait for it

	mu      sync.Mutex // guards what follows
	token   string
	expires time.Time
}

// newAccount reads the JSON of a service account. Where its own token_uri points does not matter: it
// is the caller's, and the node would go wherever it says.
func newAccount(secret []byte) *account {
	a := &account{fetching: make(chan struct{}, 1)}
	var in struct {
		Type    string `json:"type"`
		Project string `json:"project_id"`
		Email   string `json:"client_email"`
		KeyID   string `json:"private_key_id"`
		Key     string `json:"private_key"`
	}
	if err := json.Unmarshal(secret, &in); err != nil {
		a.failure = delivery.Fail(delivery.Unauthorized, "the service account is not valid JSON")
		return a
	}
	a.project, a.email, a.keyID = in.Project, in.Email, in.KeyID
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(in.Key))
	if a.key = key; err != nil || in.Project == "" || in.Email == "" {
		a.failure = delivery.Fail(delivery.Unauthorized, "the service account needs project_id, client_email and private_key (PEM)")
	}
	return a
}

func (a *account) present(now time.Time) (string, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.token, a.token != "" && now.Before(a.expires.Add(-renewBefore))
}

// forget drops a token that was refused, unless another has come meanwhile.
func (a *account) forget(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token == token {
		a.token = ""
	}
}

// token gives an access token, and fetches one when there is none. One fetch serves all that wait.
func (s *Sender) token(ctx context.Context, a *account) (string, *delivery.Failure) {
	if a.failure != nil {
		return "", a.failure
	}
	if token, ok := a.present(s.options.Now()); ok {
		return token, nil
	}
	select {
	case a.fetching <- struct{}{}:
		defer func() { <-a.fetching }()
	case <-ctx.Done():
		return "", delivery.Fail(delivery.Retry, "no access token came in time")
	}
	if token, ok := a.present(s.options.Now()); ok {
		return token, nil
	}
	return s.fetch(ctx, a)
}

// fetch exchanges a signed assertion for an access token (RFC 7523).
func (s *Sender) fetch(ctx context.Context, a *account) (string, *delivery.Failure) {
	now := s.options.Now()
	assertion := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": a.email, "scope": scope, "aud": s.options.TokenURL, "iat": now.Unix(), "exp": now.Add(assertionLasts).Unix(),
	})
	assertion.Header["kid"] = a.keyID
	signed, err := assertion.SignedString(a.key)
	if err != nil {
		return "", delivery.Fail(delivery.Unauthorized, "the service account's key cannot sign")
	}
	form := url.Values{"grant_type": {grantType}, "assertion": {signed}}.Encode()
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	answer, err := delivery.Post(ctx, s.client, s.options.TokenURL, header, []byte(form))
	if err != nil {
		return "", delivery.FailureOf(err)
	}
	if delivery.Busy(answer.Status) {
		return "", delivery.Later(answer.Status, answer.Header, now)
	}
	var out struct {
		Token   string `json:"access_token"`
		Seconds int64  `json:"expires_in"`
		Error   string `json:"error"`
	}
	if err := json.Unmarshal(answer.Body, &out); err != nil || answer.Status != http.StatusOK || out.Token == "" {
		if out.Error == "" {
			out.Error = fmt.Sprintf("status %d", answer.Status)
		}
		return "", delivery.Fail(delivery.Unauthorized, "Google gives no access token: %s", out.Error)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.token, a.expires = out.Token, now.Add(time.Duration(min(max(out.Seconds, 0), 1<<20))*time.Second)
	return a.token, nil
}
