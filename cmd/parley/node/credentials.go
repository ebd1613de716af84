package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"parley/edge/auth"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
)

const (
	apiKeyBytes    = 4  // shown as 8 hexadecimal digits, as the hosted API's were
	apiSecretBytes = 24 // 192 bits: not to be guessed

	credentialsEvery = 250 * time.Millisecond // between two attempts of a start
)

// Credentials are an API key and its secret. Fresh says that they were made by this start, which
// is the only one that knows the secret.
type Credentials struct {
	APIKey    string
	APISecret string
	Fresh     bool
}

// keeper is where credentials are kept: api.Applications.
type keeper interface {
	PutCredential(ctx context.Context, c *eventv1.Credential, onlyIfNone bool) (*eventv1.Credential, error)
}

// firstCredentials makes sure that the cluster has credentials: the wanted ones or new ones at
// the first start, else those that are there. Then nothing is known of the secret. While the
// cluster has no leader it waits, as long as ctx lasts.
func firstCredentials(ctx context.Context, cluster keeper, wanted Credentials) (Credentials, error) {
	offer := wanted
	if offer.APIKey == "" {
		offer = Credentials{APIKey: random(apiKeyBytes), APISecret: random(apiSecretBytes), Fresh: true}
	}
	stored, err := auth.NewCredential(offer.APIKey, offer.APISecret, time.Now().UnixMilli())
	if err != nil {
		return Credentials{}, fmt.Errorf("first credentials: %w", err)
	}
	kept, err := putFirst(ctx, cluster, stored)
	if err != nil {
		return Credentials{}, fmt.Errorf("first credentials: %w", err)
	}
	if string(kept.Hash) == string(stored.Hash) {
		return offer, nil
	}
	return Credentials{APIKey: kept.Key}, nil
}

// putFirst asks again while the answer is that nobody leads at the moment, or that the outcome is
// not known: storing the same credential twice is storing it once.
func putFirst(ctx context.Context, cluster keeper, offer *eventv1.Credential) (*eventv1.Credential, error) {
	again := time.NewTicker(credentialsEvery)
	defer again.Stop()
	for {
		kept, err := cluster.PutCredential(ctx, offer, true)
		if !code.Has(err, code.Unavailable) && !code.Has(err, code.Unknown) {
			return kept, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// random cannot fail: crypto/rand ends the process when the system has no randomness.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}
