package apns

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
	"software.sslmate.com/src/go-pkcs12"

	"parley/actors/push/delivery"
	eventv1 "parley/proto/event/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// apple is one of Apple's environments, over HTTP/2. It takes client certificates of its own authority.
type apple struct {
	t      *testing.T
	server *httptest.Server
	answer func(w http.ResponseWriter) // nil = well

	last *http.Request
	body []byte
}

func newApple(t *testing.T, clients *x509.CertPool) *apple {
	t.Helper()
	a := &apple{t: t}
	a.server = httptest.NewUnstartedServer(a)
	a.server.EnableHTTP2 = true
	a.server.TLS = &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients}
	a.server.StartTLS()
	t.Cleanup(a.server.Close)
	return a
}

// ServeHTTP implements http.Handler.
func (a *apple) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.last = r
	a.body, _ = io.ReadAll(r.Body)
	if a.answer != nil {
		a.answer(w)
	}
}

type world struct {
	production, sandbox *apple
	sender              *Sender
	now                 time.Time
	authority           *x509.Certificate
	authorityKey        *ecdsa.PrivateKey
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{now: time.Now()}
	w.authority, w.authorityKey = issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true}, nil, nil)
	clients := x509.NewCertPool()
	clients.AddCert(w.authority)
	w.production, w.sandbox = newApple(t, clients), newApple(t, clients)
	o := DefaultOptions()
	o.URL, o.SandboxURL, o.Now = w.production.server.URL, w.sandbox.server.URL, func() time.Time { return w.now }
	o.Client.Timeout, o.Client.RootCAs = time.Minute, x509.NewCertPool()
	o.Client.RootCAs.AddCert(w.production.server.Certificate())
	o.Client.RootCAs.AddCert(w.sandbox.server.Certificate())
	var err error
	if w.sender, err = New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.sender.Close)
	return w
}

// issue makes a certificate of an authority; of itself without one.
func issue(t *testing.T, c, authority *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key := newKey(t)
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(1), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if authority == nil {
		authority, by, c.KeyUsage = c, key, x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, c, authority, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made, key
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func pemOf(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func tokenCredential(t *testing.T) (*eventv1.PushCredential, *ecdsa.PrivateKey) {
	t.Helper()
	key := newKey(t)
	return &eventv1.PushCredential{Id: "token", Kind: eventv1.PushKind_PUSH_KIND_TOKEN, Secret: pemOf(t, key), KeyId: "K1", TeamId: "T1", Topic: "com.example.chat"}, key
}

func (w *world) send(t *testing.T, c *eventv1.PushCredential, d *eventv1.Device) *delivery.Failure {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	n := &delivery.Notification{Payload: []byte(`{"event_type":"text"}`), CollapseID: "abc", Expires: w.now.Add(time.Hour)}
	return delivery.FailureOf(w.sender.Send(ctx, c, d, n))
}

func TestSendByToken(t *testing.T) {
	w := newWorld(t)
	c, key := tokenCredential(t)
	if f := w.send(t, c, &eventv1.Device{Token: "00ab"}); f != nil {
		t.Fatal(f)
	}
	r := w.production.last
	var body map[string]any
	if err := json.Unmarshal(w.production.body, &body); err != nil {
		t.Fatal(err)
	}
	if aps := body["aps"].(map[string]any); len(body) != 2 || aps["content-available"] != 1.0 || body["nexmo"].(map[string]any)["event_type"] != "text" {
		t.Errorf("body %s", w.production.body)
	}
	if r.ProtoMajor != 2 || r.URL.Path != "/3/device/00ab" || r.Method != http.MethodPost {
		t.Errorf("%s %s %s", r.Proto, r.Method, r.URL.Path)
	}
	for name, want := range map[string]string{"apns-topic": "com.example.chat", "apns-push-type": "background", "apns-priority": "5", "apns-collapse-id": "abc"} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	first := checkToken(t, r, key)
	// The token is used again until it is 40 minutes old.
	for _, step := range []struct {
		later time.Duration
		same  bool
	}{{39 * time.Minute, true}, {2 * time.Minute, false}} {
		w.now = w.now.Add(step.later)
		if f := w.send(t, c, &eventv1.Device{Token: "00ab"}); f != nil {
			t.Fatal(f)
		}
		if same := w.production.last.Header.Get("Authorization") == first; same != step.same {
			t.Errorf("the same token %v later: %v", step.later, same)
		}
	}
}

func checkToken(t *testing.T, r *http.Request, key *ecdsa.PrivateKey) string {
	t.Helper()
	header := r.Header.Get("Authorization")
	claims := jwt.MapClaims{}
	token, err := jwt.ParseWithClaims(strings.TrimPrefix(header, "bearer "), claims, func(*jwt.Token) (any, error) { return &key.PublicKey, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer("T1"))
	if err != nil || token.Header["kid"] != "K1" || claims["iat"] == nil {
		t.Fatalf("%q: %v %v", header, claims, err)
	}
	return header
}

func TestEnvironmentAndTopic(t *testing.T) {
	w := newWorld(t)
	c, _ := tokenCredential(t)
	sandboxed, _ := tokenCredential(t)
	sandboxed.Id, sandboxed.Sandbox, sandboxed.Topic = "sandboxed", true, ""
	for _, tc := range []struct {
		c      *eventv1.PushCredential
		d      *eventv1.Device
		at     *apple
		topic  string
		failed bool // for want of a topic, which the next device may have
	}{
		{c, &eventv1.Device{Token: "aa"}, w.production, "com.example.chat", false},
		{c, &eventv1.Device{Token: "aa", Environment: "sandbox", Topic: "com.example.beta"}, w.sandbox, "com.example.beta", false},
		{sandboxed, &eventv1.Device{Token: "aa", Topic: "com.example.beta"}, w.sandbox, "com.example.beta", false},
		{sandboxed, &eventv1.Device{Token: "aa", Topic: "x", Environment: "production"}, w.production, "x", false},
		{sandboxed, &eventv1.Device{Token: "aa"}, w.sandbox, "", true},
	} {
		w.production.last, w.sandbox.last = nil, nil
		f := w.send(t, tc.c, tc.d)
		if failed := f != nil && f.Verdict == delivery.Refused; failed != tc.failed {
			t.Errorf("%v: %v", tc.d, f)
		}
		if !tc.failed && (tc.at.last == nil || tc.at.last.Header.Get("apns-topic") != tc.topic) {
			t.Errorf("%v: went elsewhere", tc.d)
		}
	}
}

func TestSendByCertificate(t *testing.T) {
	w := newWorld(t)
	subject := pkix.Name{CommonName: "Apple Push Services", ExtraNames: []pkix.AttributeTypeAndValue{{Type: userID, Value: "com.example.certified"}}}
	leaf, key := issue(t, &x509.Certificate{Subject: subject}, w.authority, w.authorityKey)
	inPEM := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}), pemOf(t, key)...)
	file, err := pkcs12.Modern.Encode(key, leaf, []*x509.Certificate{w.authority}, "secret")
	if err != nil {
		t.Fatal(err)
	}
	old, err := pkcs12.LegacyDES.Encode(key, leaf, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]*eventv1.PushCredential{
		"PEM":                    {Id: "1", Secret: inPEM},
		"PKCS#12":                {Id: "2", Secret: file, Password: "secret"},
		"PKCS#12 of former days": {Id: "3", Secret: old},
	} {
		c.Kind = eventv1.PushKind_PUSH_KIND_CERTIFICATE
		if f := w.send(t, c, &eventv1.Device{Token: "aa"}); f != nil {
			t.Errorf("%s: %v", what, f)
			continue
		}
		r := w.production.last
		if len(r.TLS.VerifiedChains) == 0 || !r.TLS.PeerCertificates[0].Equal(leaf) || r.Header.Get("Authorization") != "" {
			t.Errorf("%s: the certificate did not come", what)
		}
		if got := r.Header.Get("apns-topic"); got != "com.example.certified" {
			t.Errorf("%s: topic %q", what, got)
		}
	}
	for what, c := range map[string]*eventv1.PushCredential{
		"a wrong password":  {Id: "4", Kind: eventv1.PushKind_PUSH_KIND_CERTIFICATE, Secret: file, Password: "canary"},
		"no file":           {Id: "5", Kind: eventv1.PushKind_PUSH_KIND_CERTIFICATE, Secret: []byte("canary")},
		"PEM without a key": {Id: "6", Kind: eventv1.PushKind_PUSH_KIND_CERTIFICATE, Secret: inPEM[:len(inPEM)-40]},
		"no signing key":    {Id: "7", Kind: eventv1.PushKind_PUSH_KIND_TOKEN, Secret: []byte("canary"), KeyId: "K", TeamId: "T"},
		"no team":           {Id: "8", Kind: eventv1.PushKind_PUSH_KIND_TOKEN, Secret: pemOf(t, key), KeyId: "K"},
	} {
		if f := w.send(t, c, &eventv1.Device{Token: "aa", Topic: "x"}); f == nil || f.Verdict != delivery.Unauthorized || strings.Contains(f.Reason, "canary") {
			t.Errorf("%s: %v", what, f)
		}
	}
}

func TestVerdicts(t *testing.T) {
	w := newWorld(t)
	c, _ := tokenCredential(t)
	for _, tc := range []struct {
		status  int
		reason  string
		verdict delivery.Verdict
		after   time.Duration
	}{
		{400, "BadDeviceToken", delivery.Dead, 0}, {410, "Unregistered", delivery.Dead, 0}, {410, "ExpiredToken", delivery.Dead, 0}, {410, "", delivery.Dead, 0},
		{400, "DeviceTokenNotForTopic", delivery.Refused, 0}, {400, "BadTopic", delivery.Unauthorized, 0},
		{403, "InvalidProviderToken", delivery.Unauthorized, 0}, {403, "BadCertificate", delivery.Unauthorized, 0},
		{403, "ExpiredProviderToken", delivery.Retry, 0}, {429, "TooManyProviderTokenUpdates", delivery.Retry, 5 * time.Second},
		{429, "TooManyRequests", delivery.Retry, 5 * time.Second}, {500, "InternalServerError", delivery.Retry, 5 * time.Second},
		{503, "Shutdown", delivery.Retry, 5 * time.Second}, {413, "PayloadTooLarge", delivery.Refused, 0}, {405, "", delivery.Refused, 0},
	} {
		w.production.answer = func(rw http.ResponseWriter) {
			rw.Header().Set("Retry-After", "5")
			rw.WriteHeader(tc.status)
			if tc.reason != "" {
				_ = json.NewEncoder(rw).Encode(map[string]string{"reason": tc.reason})
			}
		}
		if f := w.send(t, c, &eventv1.Device{Token: "aa"}); f == nil || f.Verdict != tc.verdict || f.RetryAfter != tc.after || tc.reason != "" && f.Reason != tc.reason {
			t.Errorf("%d %s: %+v", tc.status, tc.reason, f)
		}
	}
	// What a device chose is not the credential's fault.
	for reason, want := range map[string]delivery.Verdict{"TopicDisallowed": delivery.Refused, "BadCertificateEnvironment": delivery.Refused, "InvalidProviderToken": delivery.Unauthorized} {
		w.production.answer = func(rw http.ResponseWriter) {
			rw.WriteHeader(403)
			_ = json.NewEncoder(rw).Encode(map[string]string{"reason": reason})
		}
		if f := w.send(t, c, &eventv1.Device{Token: "aa", Topic: "x", Environment: "production"}); f == nil || f.Verdict != want {
			t.Errorf("%s: %+v", reason, f)
		}
	}
	// A token that Apple finds too old is not used again.
	w.production.answer = func(rw http.ResponseWriter) {
		rw.WriteHeader(403)
		_ = json.NewEncoder(rw).Encode(map[string]string{"reason": "ExpiredProviderToken"})
	}
	_ = w.send(t, c, &eventv1.Device{Token: "aa"})
	before := w.production.last.Header.Get("Authorization")
	w.production.answer = nil
	if f := w.send(t, c, &eventv1.Device{Token: "aa"}); f != nil || w.production.last.Header.Get("Authorization") == before {
		t.Errorf("after a token that was too old: %v", f)
	}
}
