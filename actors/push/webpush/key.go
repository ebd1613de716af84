package webpush

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"parley/actors/push/delivery"
	eventv1 "parley/proto/event/v1"
)

const (
	// proofLasts is how long a proof is good for; push services refuse more than a day. It is used for
	// half of that time.
	proofLasts = 12 * time.Hour
	// originsMax bounds the push services for which a proof is kept.
	originsMax = 64
)

// key is an application's own, by which push services know it again.
type key struct {
	subject string
	private *ecdsa.PrivateKey
	public  string            // base64url of the uncompressed point
	failure *delivery.Failure // the credential cannot be read

	mu     sync.Mutex // guards proofs
	proofs map[string]proof
}

// proof is a signed statement for one push service.
type proof struct {
	header string
	made   time.Time
}

// GenerateKey makes an application's key: what is kept of it, and what browsers subscribe with.
func GenerateKey() (secret []byte, public string, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", fmt.Errorf("generate a key: %w", err)
	}
	if secret, err = x509.MarshalPKCS8PrivateKey(private); err != nil {
		return nil, "", fmt.Errorf("generate a key: %w", err)
	}
	public, err = publicOf(private)
	return secret, public, err
}

// ImportKey takes a key in the form in which tools for Web Push give it, base64url of the 32 bytes of
// the scalar, and gives what GenerateKey gives.
func ImportKey(text string) (secret []byte, public string, err error) {
	scalar, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, "", errors.New("must be base64url without padding")
	}
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		return nil, "", errors.New("must be a private key of P-256, 32 bytes")
	}
	if secret, err = x509.MarshalPKCS8PrivateKey(private); err != nil {
		return nil, "", fmt.Errorf("import a key: %w", err)
	}
	public, err = publicOf(private)
	return secret, public, err
}

func publicOf(private *ecdsa.PrivateKey) (string, error) {
	point, err := private.PublicKey.Bytes()
	if err != nil {
		return "", fmt.Errorf("encode a public key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(point), nil
}

func newKey(c *eventv1.PushCredential) *key {
	k := &key{subject: c.Subject, proofs: make(map[string]proof)}
	parsed, err := x509.ParsePKCS8PrivateKey(c.Secret)
	private, ok := parsed.(*ecdsa.PrivateKey)
	if err == nil && ok && private.Curve == elliptic.P256() {
		k.private = private
		k.public, err = publicOf(private)
	}
	if k.private == nil || err != nil {
		k.failure = delivery.Fail(delivery.Unauthorized, "the key is not one of P-256 in PKCS#8")
	}
	return k
}

// proof gives the Authorization header for a push service (RFC 8292, 2 and 3).
func (k *key) proof(endpoint *url.URL, now time.Time) (string, *delivery.Failure) {
	if k.failure != nil {
		return "", k.failure
	}
	origin := endpoint.Scheme + "://" + endpoint.Host
	k.mu.Lock()
	defer k.mu.Unlock()
	if p, ok := k.proofs[origin]; ok && now.Sub(p.made) < proofLasts/2 {
		return p.header, nil
	}
	claims := jwt.MapClaims{"aud": origin, "exp": now.Add(proofLasts).Unix()}
	if k.subject != "" {
		claims["sub"] = k.subject
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodES256, claims).SignedString(k.private)
	if err != nil {
		return "", delivery.Fail(delivery.Unauthorized, "the key cannot sign")
	}
	if len(k.proofs) >= originsMax {
		clear(k.proofs) // rare, and each costs one signature to have again
	}
	p := proof{"vapid t=" + signed + ", k=" + k.public, now}
	k.proofs[origin] = p
	return p.header, nil
}
