package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"parley/actors/api"
	"parley/edge/auth"
)

const (
	apiKeyBytes    = 4  // shown as 8 hexadecimal digits, as the hosted API's were
	apiSecretBytes = 24 // 192 bits: not to be guessed
)

// Credentials are an API key and its secret. Fresh says that they were made by this start, which
// is the only one that knows the secret.
type Credentials struct {
	APIKey    string
	APISecret string
	Fresh     bool
}

// firstCredentials makes sure that the cluster has credentials: the wanted ones or new ones at
// the first start, else those that are there. Then nothing is known of the secret.
func firstCredentials(ctx context.Context, cluster api.Applications, wanted Credentials) (Credentials, error) {
	offer := wanted
	if offer.APIKey == "" {
		offer = Credentials{APIKey: random(apiKeyBytes), APISecret: random(apiSecretBytes), Fresh: true}
	}
	stored, err := auth.NewCredential(offer.APIKey, offer.APISecret, time.Now().UnixMilli())
	if err != nil {
		return Credentials{}, fmt.Errorf("first credentials: %w", err)
	}
	kept, err := cluster.PutCredential(ctx, stored, true)
	if err != nil {
		return Credentials{}, fmt.Errorf("first credentials: %w", err)
	}
	if string(kept.Hash) == string(stored.Hash) {
		return offer, nil
	}
	return Credentials{APIKey: kept.Key}, nil
}

// random cannot fail: crypto/rand ends the process when the system has no randomness.
func random(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}
