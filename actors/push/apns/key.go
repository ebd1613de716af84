package apns

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"net/http"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"software.sslmate.com/src/go-pkcs12"

	"parley/actors/push/delivery"
	eventv1 "parley/proto/event/v1"
)

// tokenLasts is how long a provider token is used: Apple refuses those older than an hour, and those
// that are renewed more often than every 20 minutes.
const tokenLasts = 40 * time.Minute

// key is a credential, parsed at its first use.
type key struct {
	credential *eventv1.PushCredential

	once    sync.Once
	signing *ecdsa.PrivateKey // of a token credential
	bundle  string            // that a certificate is for
	client  *http.Client      // with the certificate; nil for token credentials
	failure *delivery.Failure // the credential cannot be read

	mu     sync.Mutex // guards what follows
	signed string
	made   time.Time
}

// clientOf gives the connections over which a credential speaks: a certificate has its own.
func (s *Sender) clientOf(k *key) (*http.Client, *delivery.Failure) {
	k.once.Do(func() { k.parse(s.options.Client) })
	switch {
	case k.failure != nil:
		return nil, k.failure
	case k.client != nil:
		return k.client, nil
	default:
		return s.client, nil
	}
}

func (k *key) parse(o delivery.ClientOptions) {
	if k.credential.Kind == eventv1.PushKind_PUSH_KIND_TOKEN {
		signing, err := jwt.ParseECPrivateKeyFromPEM(k.credential.Secret)
		if k.signing = signing; err != nil || k.credential.KeyId == "" || k.credential.TeamId == "" {
			k.failure = delivery.Fail(delivery.Unauthorized, "a token credential needs the key (PEM, .p8), key_id and team_id")
		}
		return
	}
	certificate, err := readCertificate(k.credential.Secret, k.credential.Password)
	if err != nil {
		k.failure = delivery.Fail(delivery.Unauthorized, "the certificate cannot be read: %v", err)
		return
	}
	k.bundle = bundleOf(certificate.Leaf)
	k.client = delivery.NewClient(o, certificate)
}

func (k *key) close() {
	k.once.Do(func() { k.failure = delivery.Fail(delivery.Retry, "closed") })
	if k.client != nil {
		k.client.CloseIdleConnections()
	}
}

// topic is the app that a notification is for: what the device says, what the credential says, or
// what its certificate is for.
func (k *key) topic(d *eventv1.Device) string {
	for _, t := range []string{d.Topic, k.credential.Topic} {
		if t != "" {
			return t
		}
	}
	return k.bundle
}

// token gives the provider token; empty for a certificate.
func (k *key) token(now time.Time) (string, *delivery.Failure) {
	if k.signing == nil {
		return "", nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.signed != "" && now.Sub(k.made) < tokenLasts {
		return k.signed, nil
	}
	t := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": k.credential.TeamId, "iat": now.Unix()})
	t.Header["kid"] = k.credential.KeyId
	signed, err := t.SignedString(k.signing)
	if err != nil {
		return "", delivery.Fail(delivery.Unauthorized, "the key cannot sign; Apple's are of P-256")
	}
	k.signed, k.made = signed, now
	return signed, nil
}

func (k *key) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.signed = ""
}

// readCertificate takes a certificate with its key, in PEM or PKCS#12.
func readCertificate(secret []byte, password string) (*tls.Certificate, error) {
	if bytes.Contains(secret, []byte("-----BEGIN")) {
		c, err := tls.X509KeyPair(secret, secret)
		if err != nil {
			return nil, err
		}
		c.Leaf, err = x509.ParseCertificate(c.Certificate[0])
		return &c, err
	}
	private, leaf, chain, err := pkcs12.DecodeChain(secret, password)
	if err != nil {
		return nil, err
	}
	c := &tls.Certificate{PrivateKey: private, Leaf: leaf, Certificate: [][]byte{leaf.Raw}}
	for _, above := range chain {
		c.Certificate = append(c.Certificate, above.Raw)
	}
	return c, nil
}

// userID is the attribute in which Apple writes the bundle id (RFC 4519, 2.39).
var userID = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}

func bundleOf(leaf *x509.Certificate) string {
	for _, name := range leaf.Subject.Names {
		if text, ok := name.Value.(string); ok && name.Type.Equal(userID) {
			return text
		}
	}
	return ""
}
