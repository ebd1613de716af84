package auth

import (
	"context"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
)

func newKeys(t *testing.T, pairs map[string]string) (*Keys, *directory) {
	t.Helper()
	d := &directory{credentials: map[string]*eventv1.Credential{}}
	for key, secret := range pairs {
		c, err := NewCredential(key, secret, 1)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(c.Hash), secret) || c.Key != key {
			t.Fatalf("credential = %v", c)
		}
		d.credentials[key] = c
	}
	k, err := NewKeys(d, DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	return k, d
}

func TestAPISecrets(t *testing.T) {
	k, _ := newKeys(t, map[string]string{"k1": "s1", "k2": "s2"})
	for _, tc := range []struct {
		key, secret string
		ok          bool
	}{
		{"k1", "s1", true}, {"k1", "s1", true}, {"k2", "s2", true},
		{"k1", "s2", false}, {"k1", "", false}, {"", "s1", false}, {"", "", false},
		{"k3", "s1", false}, {"k1", "s1 ", false}, {"K1", "s1", false},
		{strings.Repeat("k", 200), "s1", false}, {"k1", strings.Repeat("s", 600), false},
	} {
		err := k.Verify(t.Context(), tc.key, tc.secret)
		if tc.ok && err != nil || !tc.ok && !code.Has(err, code.InvalidCredentials) {
			t.Errorf("Verify(%.8s, %.8s) = %v", tc.key, tc.secret, err)
		}
	}
	if n := testutil.ToFloat64(k.outcomes.WithLabelValues("remembered")); n != 1 {
		t.Errorf("remembered %v times, want 1", n)
	}
}

// A replaced secret is refused at once, though its pair was remembered.
func TestReplacedSecretIsForgotten(t *testing.T) {
	k, d := newKeys(t, map[string]string{"k1": "old"})
	if err := k.Verify(t.Context(), "k1", "old"); err != nil {
		t.Fatal(err)
	}
	var err error
	if d.credentials["k1"], err = NewCredential("k1", "new", 2); err != nil {
		t.Fatal(err)
	}
	if err := k.Verify(t.Context(), "k1", "old"); !code.Has(err, code.InvalidCredentials) {
		t.Errorf("old secret: %v", err)
	}
	if err := k.Verify(t.Context(), "k1", "new"); err != nil {
		t.Errorf("new secret: %v", err)
	}
}

// Guessing waits in a bounded line: what does not fit is told so, with advice.
func TestGuessingIsBounded(t *testing.T) {
	k, _ := newKeys(t, map[string]string{"k1": "s1"})
	for range cap(k.waiting) {
		k.waiting <- struct{}{}
	}
	err := k.Verify(t.Context(), "k1", "s1")
	if e, ok := code.Of(err); !ok || e.Code != code.RateLimited || e.RetryAfter == 0 {
		t.Errorf("with a full line: %v", err)
	}
	<-k.waiting
	k.derive <- struct{}{} // somebody is being checked
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.Verify(ctx, "k1", "s1"); !code.Has(err, code.RateLimited) {
		t.Errorf("caller gone: %v", err)
	}
	<-k.derive
	if err := k.Verify(t.Context(), "k1", "s1"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestCredentialBounds(t *testing.T) {
	for _, pair := range [][2]string{{"", "s"}, {"k", ""}, {strings.Repeat("k", 129), "s"}, {"k", strings.Repeat("s", 513)}} {
		if _, err := NewCredential(pair[0], pair[1], 1); err == nil {
			t.Errorf("%.8q %.8q is accepted", pair[0], pair[1])
		}
	}
}
