package auth

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/edge/limit"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
)

const (
	iterations = 210_000 // of PBKDF2-HMAC-SHA256; about 50 ms of one core
	saltBytes  = 16
	hashBytes  = 32

	// apiKeyBytesMax and apiSecretBytesMax bound what is looked up and hashed.
	apiKeyBytesMax    = 128
	apiSecretBytesMax = 512
)

// NewCredential makes the stored form of an API key and secret: salted and hashed, so that
// neither a disk nor a backup gives the secret away. createdMs is Unix milliseconds.
func NewCredential(key, secret string, createdMs int64) (*eventv1.Credential, error) {
	if key == "" || secret == "" || len(key) > apiKeyBytesMax || len(secret) > apiSecretBytesMax {
		return nil, fmt.Errorf("an API key has 1 to %d bytes, a secret 1 to %d", apiKeyBytesMax, apiSecretBytesMax)
	}
	salt := make([]byte, saltBytes)
	if _, err := rand.Read(salt); err != nil {
		return nil, fmt.Errorf("make salt: %w", err)
	}
	hash, err := pbkdf2.Key(sha256.New, secret, salt, iterations, hashBytes)
	if err != nil {
		return nil, fmt.Errorf("hash secret: %w", err)
	}
	return &eventv1.Credential{Key: key, Salt: salt, Hash: hash, Iterations: iterations, CreatedMs: createdMs}, nil
}

// Keys checks API keys and secrets. It is safe for use from any goroutine and owns none.
type Keys struct {
	directory Directory
	outcomes  *prometheus.CounterVec

	// known remembers pairs that were right: the value is the stored hash they fitted, so a
	// replaced secret is forgotten with it. The keys are keyed hashes, useless outside.
	known *limit.Recent[[sha256.Size]byte, string]
	seal  [sha256.Size]byte

	derive  chan struct{} // capacity 1: guessing may burn one core, not all
	waiting chan struct{} // capacity DerivationMax: deriving or waiting to
}

// NewKeys makes a Keys that looks credentials up in directory.
func NewKeys(directory Directory, o Options) (*Keys, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	k := &Keys{
		directory: directory,
		outcomes:  newMetrics().secrets,
		known:     limit.NewRecent[[sha256.Size]byte, string](o.SecretsKept, nil),
		derive:    make(chan struct{}, 1),
		waiting:   make(chan struct{}, o.DerivationMax),
	}
	if _, err := rand.Read(k.seal[:]); err != nil {
		return nil, fmt.Errorf("make seal: %w", err)
	}
	return k, o.Registerer.Register(k.outcomes)
}

// Verify checks a pair. A wrong or unknown pair is code.InvalidCredentials; too many checks at
// once are code.RateLimited.
func (k *Keys) Verify(ctx context.Context, key, secret string) error {
	outcome, err := k.verify(ctx, key, secret)
	k.outcomes.WithLabelValues(outcome).Inc()
	return err
}

func (k *Keys) verify(ctx context.Context, key, secret string) (outcome string, err error) {
	if key == "" || secret == "" || len(key) > apiKeyBytesMax || len(secret) > apiSecretBytesMax {
		return "refused", errCredentials()
	}
	stored, err := k.directory.Credential(ctx, key)
	if err != nil && !code.Has(err, code.InvalidCredentials) && !code.Has(err, code.NotFound) {
		return "unavailable", err
	}
	if err != nil || stored == nil {
		// An unknown key costs what a wrong secret costs, so that time does not tell them apart.
		stored = &eventv1.Credential{Salt: k.seal[:saltBytes], Iterations: iterations}
	}
	pair := k.fingerprint(key, secret)
	if hash, ok := k.known.Get(pair); ok && hash == string(stored.Hash) {
		return "remembered", nil
	}
	hash, err := k.hash(ctx, secret, stored)
	if err != nil {
		return "busy", err
	}
	if subtle.ConstantTimeCompare(hash, stored.Hash) != 1 {
		return "refused", errCredentials()
	}
	k.known.Put(pair, string(stored.Hash))
	return "derived", nil
}

func (k *Keys) fingerprint(key, secret string) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, k.seal[:])
	mac.Write([]byte(key))
	mac.Write([]byte{0})
	mac.Write([]byte(secret))
	mac.Sum(sum[:0])
	return sum
}

func (k *Keys) hash(ctx context.Context, secret string, stored *eventv1.Credential) ([]byte, error) {
	busy := code.New(code.RateLimited, "Too many API secrets are being checked; try again.")
	busy.RetryAfter = time.Second
	select {
	case k.waiting <- struct{}{}:
		defer func() { <-k.waiting }()
	default:
		return nil, busy
	}
	select {
	case k.derive <- struct{}{}:
		defer func() { <-k.derive }()
	case <-ctx.Done():
		return nil, busy
	}
	return pbkdf2.Key(sha256.New, secret, stored.Salt, int(stored.Iterations), hashBytes)
}

func errCredentials() error {
	return code.New(code.InvalidCredentials, "The API key or secret is wrong.")
}
