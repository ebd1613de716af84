package auth

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	eventv1 "parley/proto/event/v1"
)

const (
	rsaBitsMin = 2048 // smaller keys can be factored by those who want to
	rsaBitsMax = 8192 // larger ones make verification a way to burn our processor
)

// Fingerprint tells an application's key from its others: the SHA-256 of its PEM.
type Fingerprint [sha256.Size]byte

// Fingerprints are those of the keys that may have signed a token of a.
func Fingerprints(a *eventv1.Application) []Fingerprint {
	var list []Fingerprint
	for _, text := range keysOf(a) {
		if text != "" {
			list = append(list, sha256.Sum256([]byte(text)))
		}
	}
	return list
}

// ParsePublicKey reads an RSA public key in PEM, PKIX ("PUBLIC KEY") or PKCS#1 ("RSA PUBLIC
// KEY"), of 2048 to 8192 bits. Its errors may be told to the caller.
func ParsePublicKey(text string) (*rsa.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("must be a public key in PEM format")
	}
	key, err := parsePublic(block)
	if err != nil {
		return nil, err
	}
	if bits := key.N.BitLen(); bits < rsaBitsMin || bits > rsaBitsMax {
		return nil, fmt.Errorf("must be an RSA key of %d to %d bits; it has %d", rsaBitsMin, rsaBitsMax, bits)
	}
	if key.E < 3 || key.E%2 == 0 {
		return nil, errors.New("must have an odd public exponent of at least 3")
	}
	return key, nil
}

func parsePublic(block *pem.Block) (*rsa.PublicKey, error) {
	switch block.Type {
	case "RSA PUBLIC KEY":
		if key, err := x509.ParsePKCS1PublicKey(block.Bytes); err == nil {
			return key, nil
		}
	case "PUBLIC KEY":
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if rsaKey, ok := key.(*rsa.PublicKey); err == nil && ok {
			return rsaKey, nil
		}
	case "PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("must be the public key; a private key must never be sent")
	}
	return nil, errors.New("must be an RSA public key")
}

// GenerateKey makes an application's key pair: RSA 2048, the private key as PKCS#8 PEM, the
// public key as PKIX PEM. The private key is given to the caller once and kept nowhere.
func GenerateKey() (private, public string, err error) {
	key, err := rsa.GenerateKey(rand.Reader, rsaBitsMin)
	if err != nil {
		return "", "", fmt.Errorf("generate key: %w", err)
	}
	privateDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", fmt.Errorf("encode private key: %w", err)
	}
	public, err = EncodePublicKey(&key.PublicKey)
	if err != nil {
		return "", "", err
	}
	private = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: privateDER}))
	return private, public, nil
}

// EncodePublicKey writes a public key as PKIX PEM. What is kept or sent of a key is written by it and
// never the text that the key was read from, which may hold more than that key.
func EncodePublicKey(key *rsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", fmt.Errorf("encode public key: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}
