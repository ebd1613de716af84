package solo

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"parley/proto/id"
)

// keys are the same for all tests of a process: making one is slow.
var keys = sync.OnceValues(func() (list [3]*rsa.PrivateKey, err error) {
	for i := range list {
		if list[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return list, err
		}
	}
	return list, nil
})

// Key is the nth of three RSA keys.
func Key(t testing.TB, n int) *rsa.PrivateKey {
	t.Helper()
	list, err := keys()
	if err != nil {
		t.Fatal(err)
	}
	return list[n]
}

// PublicKey is the public half of a key as applications have it (PEM).
func PublicKey(t testing.TB, key *rsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// Claims are parts of a token.
type Claims = map[string]any

// Token signs an administrator's token of an application, good for an hour. What change has stands
// in place of that; nil takes a claim away.
func Token(t testing.TB, application string, key *rsa.PrivateKey, change Claims) string {
	t.Helper()
	now := time.Now().Unix()
	claims := jwt.MapClaims{"application_id": application, "iat": now, "exp": now + 3600, "jti": id.New("")}
	for name, value := range change {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}
