//go:build integration

package integration

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// application is a tenant made for a test, with its private key.
type application struct {
	id  string
	key *rsa.PrivateKey
}

// newApplication makes a tenant through /v2/applications.
func newApplication(t *testing.T, base string) application {
	t.Helper()
	var made struct {
		ID   string `json:"id"`
		Keys struct {
			PrivateKey string `json:"private_key"`
		} `json:"keys"`
	}
	insist(t, "make an application", func() error { // another one, if need be
		r, err := http.NewRequest(http.MethodPost, base+"/v2/applications", bytes.NewBufferString(`{"name":"integration"}`))
		if err != nil {
			return err
		}
		r.SetBasicAuth(apiKey, apiSecret)
		r.Header.Set("Content-Type", "application/json")
		return exchange(http.DefaultClient, r, http.StatusCreated, &made)
	})
	block, _ := pem.Decode([]byte(made.Keys.PrivateKey))
	if block == nil {
		t.Fatal("the application's private key is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return application{made.ID, key.(*rsa.PrivateKey)}
}

// token signs for a user, or for an administrator when user is empty.
func (a application) token(t *testing.T, user string) string {
	t.Helper()
	now := time.Now()
	claims := jwt.MapClaims{"application_id": a.id, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"jti": uuid.NewString(), "acl": map[string]any{"paths": map[string]any{"/**": map[string]any{}}}}
	if user != "" {
		claims["sub"] = user
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(a.key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// status is an answer that was not the one wanted.
type status struct {
	code int
	body string
}

func (s *status) Error() string { return fmt.Sprintf("status %d: %s", s.code, s.body) }

func exchange(c *http.Client, r *http.Request, want int, into any) error {
	answer, err := c.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != want {
		return &status{answer.StatusCode, string(body)}
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

// caller makes REST calls with one token.
type caller struct {
	http  *http.Client
	base  string
	token string
}

func (c caller) call(ctx context.Context, method, path, key string, body any, want int, into any) error {
	var payload io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(encoded)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, payload)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	return exchange(c.http, r, want, into)
}

func (c caller) must(t *testing.T, method, path string, body any, want int, into any) {
	t.Helper()
	key := ""
	if method == http.MethodPost {
		key = uuid.NewString() // with which a repetition is harmless
	}
	insist(t, method+" "+path, func() error { return c.call(context.Background(), method, path, key, body, want, into) })
}

// insist asks again while there is no answer in time, or the answer is that a node could not, or does not know
// whether it did, as happens on a busy machine.
func insist(t *testing.T, what string, ask func() error) {
	t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(startWithin); ; <-again.C {
		err := ask()
		if err == nil {
			return
		}
		var refused *status
		passes := errors.Is(err, context.DeadlineExceeded) || errors.As(err, &refused) && refused.code == http.StatusServiceUnavailable
		if !passes || time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}
