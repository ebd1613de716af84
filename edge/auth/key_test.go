package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"
)

func TestPublicKeysThatAreRefused(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, public, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty":       "",
		"not PEM":     "ssh-rsa AAAA",
		"1024 bits":   publicPEM(t, &small.PublicKey),
		"EC":          publicPEM(t, &ec.PublicKey),
		"private key": private,
		"garbage":     string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")})),
	} {
		if _, err := ParsePublicKey(text); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := ParsePublicKey(public); err != nil {
		t.Errorf("generated key: %v", err)
	}
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&pairs()[0].PublicKey)})
	if _, err := ParsePublicKey(string(pkcs1)); err != nil {
		t.Errorf("PKCS#1: %v", err)
	}
}

func TestOptionsAreValidated(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"tiny tokens":    func(o *Options) { o.TokenBytesMax = 1 },
		"no lifetime":    func(o *Options) { o.LifetimeMax = 0 },
		"long leeway":    func(o *Options) { o.Leeway = time.Hour },
		"no memory":      func(o *Options) { o.TokensBytes = 0 },
		"negative fresh": func(o *Options) { o.UserFresh = -1 },
		"no clock":       func(o *Options) { o.Now = nil },
	} {
		o := DefaultOptions()
		change(&o)
		if _, err := New(&directory{}, o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := DefaultOptions().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
}
