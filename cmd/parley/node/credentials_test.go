package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
)

// lateKeeper has no leader for a while, and loses the answer of what it stores.
type lateKeeper struct {
	refusals int
	kept     *eventv1.Credential
}

func (k *lateKeeper) PutCredential(_ context.Context, c *eventv1.Credential, _ bool) (*eventv1.Credential, error) {
	switch {
	case k.refusals > 0:
		k.refusals--
		return nil, code.New(code.Unavailable, "no leader")
	case k.kept == nil:
		k.kept = c
		return nil, code.New(code.Unknown, "the term ended")
	}
	return k.kept, nil
}

// TestFirstCredentialsWaitForALeader: a node that starts while the cluster elects does not end, and
// what was stored by an attempt without an answer is its own.
func TestFirstCredentialsWaitForALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		got, err := firstCredentials(ctx, &lateKeeper{refusals: 3}, Credentials{APIKey: "key", APISecret: "secret"})
		if err != nil || got.APISecret != "secret" {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// TestFirstCredentialsEndWithTheStart: a start that is called off does not ask for ever.
func TestFirstCredentialsEndWithTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := firstCredentials(ctx, &lateKeeper{refusals: 1 << 30}, Credentials{})
		if !code.Has(err, code.Unavailable) {
			t.Errorf("ended with %v", err)
		}
	})
}

// brokenKeeper will never answer otherwise.
type brokenKeeper struct{ err error }

func (k brokenKeeper) PutCredential(context.Context, *eventv1.Credential, bool) (*eventv1.Credential, error) {
	return nil, k.err
}

func TestFirstCredentialsTellWhatDoesNotPass(t *testing.T) {
	damaged := errors.New("damaged")
	if _, err := firstCredentials(t.Context(), brokenKeeper{damaged}, Credentials{}); !errors.Is(err, damaged) {
		t.Errorf("ended with %v", err)
	}
}
