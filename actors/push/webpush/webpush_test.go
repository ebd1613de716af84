package webpush

import (
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"parley/actors/push/delivery"
	eventv1 "parley/proto/event/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a push service of a browser's, over TLS, with a subscription.
type service struct {
	t        *testing.T
	server   *httptest.Server
	answer   func(w http.ResponseWriter)
	requests atomic.Int64

	receiver *ecdh.PrivateKey
	auth     []byte
	last     *http.Request
	body     []byte
}

func newService(t *testing.T) (*service, *Sender) {
	t.Helper()
	s := &service{t: t, answer: func(w http.ResponseWriter) { w.WriteHeader(http.StatusCreated) }, auth: make([]byte, 16)}
	var err error
	if s.receiver, err = ecdh.P256().GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	_, _ = rand.Read(s.auth)
	s.server = httptest.NewUnstartedServer(s)
	s.server.EnableHTTP2 = true
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	o := DefaultOptions()
	o.Hosts = []string{strings.TrimPrefix(s.server.URL, "https://")}
	o.Client.Timeout, o.Client.RootCAs = time.Minute, x509.NewCertPool()
	o.Client.RootCAs.AddCert(s.server.Certificate())
	sender, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sender.Close)
	return s, sender
}

// ServeHTTP implements http.Handler.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.requests.Add(1)
	s.last = r
	s.body, _ = io.ReadAll(r.Body)
	s.answer(w)
}

func (s *service) device() *eventv1.Device {
	return &eventv1.Device{Id: "browser", Platform: eventv1.Platform_PLATFORM_WEB, Token: s.server.URL + "/wpush/v2/secret",
		P256Dh: s.receiver.PublicKey().Bytes(), Auth: s.auth}
}

func credential(t *testing.T) *eventv1.PushCredential {
	t.Helper()
	secret, public, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return &eventv1.PushCredential{Id: "c1", Platform: eventv1.Platform_PLATFORM_WEB, Kind: eventv1.PushKind_PUSH_KIND_VAPID,
		Secret: secret, PublicKey: public, Subject: "mailto:ops@example.com"}
}

func notification() *delivery.Notification {
	return &delivery.Notification{Payload: []byte(`{"event_type":"text"}`), Immediate: true, CollapseID: "abc", Expires: time.Now().Add(time.Hour)}
}

func send(t *testing.T, s *Sender, c *eventv1.PushCredential, d *eventv1.Device) *delivery.Failure {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return delivery.FailureOf(s.Send(ctx, c, d, notification()))
}

func TestABrowserReadsTheNotification(t *testing.T) {
	s, sender := newService(t)
	c := credential(t)
	if f := send(t, sender, c, s.device()); f != nil {
		t.Fatal(f)
	}
	if text := unseal(t, s.body, s.receiver, s.auth); text != `{"nexmo":{"event_type":"text"}}` {
		t.Errorf("the browser reads %s", text)
	}
	h := s.last.Header
	if s.last.ProtoMajor != 2 || s.last.Method != http.MethodPost || s.last.URL.Path != "/wpush/v2/secret" {
		t.Errorf("%s %s %s", s.last.Proto, s.last.Method, s.last.URL.Path)
	}
	if ttl, err := strconv.Atoi(h.Get("TTL")); err != nil || ttl < 3500 || ttl > 3600 {
		t.Errorf("TTL %q", h.Get("TTL"))
	}
	for name, want := range map[string]string{"Content-Encoding": "aes128gcm", "Urgency": "high", "Topic": "abc"} {
		if got := h.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	checkProof(t, h.Get("Authorization"), s.server.URL, c.PublicKey)
}

// checkProof does what a push service does (RFC 8292): the token is signed by the key beside it.
func checkProof(t *testing.T, header, origin, public string) {
	t.Helper()
	token, key, ok := strings.Cut(strings.TrimPrefix(header, "vapid t="), ", k=")
	if !ok || key != public {
		t.Fatalf("Authorization %q", header)
	}
	point, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	verifying, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{}
	_, err = jwt.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return verifying, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithAudience(origin), jwt.WithExpirationRequired())
	if err != nil {
		t.Fatal(err)
	}
	if exp, _ := claims.GetExpirationTime(); time.Until(exp.Time) > 24*time.Hour || claims["sub"] != "mailto:ops@example.com" {
		t.Errorf("claims %v", claims)
	}
}

func TestVerdicts(t *testing.T) {
	s, sender := newService(t)
	c := credential(t)
	for _, tc := range []struct {
		status  int
		verdict delivery.Verdict
		after   time.Duration
	}{
		{http.StatusCreated, 0, 0}, {http.StatusAccepted, 0, 0}, {http.StatusOK, 0, 0},
		{http.StatusNotFound, delivery.Dead, 0}, {http.StatusGone, delivery.Dead, 0},
		{http.StatusTooManyRequests, delivery.Retry, 7 * time.Second}, {http.StatusServiceUnavailable, delivery.Retry, 7 * time.Second},
		{http.StatusUnauthorized, delivery.Refused, 0}, {http.StatusForbidden, delivery.Refused, 0},
		{http.StatusRequestEntityTooLarge, delivery.Refused, 0}, {http.StatusBadRequest, delivery.Refused, 0},
		{http.StatusTemporaryRedirect, delivery.Refused, 0},
	} {
		s.answer = func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "7")
			w.Header().Set("Location", s.server.URL+"/elsewhere")
			w.WriteHeader(tc.status)
		}
		before := s.requests.Load()
		f := send(t, sender, c, s.device())
		var verdict delivery.Verdict
		var after time.Duration
		if f != nil {
			verdict, after = f.Verdict, f.RetryAfter
		}
		if verdict != tc.verdict || after != tc.after || s.requests.Load() != before+1 {
			t.Errorf("%d: %v, %d requests", tc.status, f, s.requests.Load()-before)
		}
	}
}

// A subscription is a client's word: what it may make the node do is bounded by Hosts.
func TestOnlyTrustedServicesAreAsked(t *testing.T) {
	s, sender := newService(t)
	host := strings.TrimPrefix(s.server.URL, "https://")
	c := credential(t)
	for _, endpoint := range []string{
		"https://169.254.169.254/latest/meta-data", "http://" + host + "/plain", "https://localhost/", "https://evil.example/" + host,
		"https://" + host + "@evil.example/", "https://[::1]/", "file:///etc/passwd", "https://127.0.0.1:1/", "::",
	} {
		d := s.device()
		d.Token = endpoint
		if f := send(t, sender, c, d); f == nil || f.Verdict != delivery.Refused || strings.Contains(f.Reason, endpoint) {
			t.Errorf("%s: %v", endpoint, f)
		}
	}
	if n := s.requests.Load(); n != 0 {
		t.Errorf("%d requests were sent", n)
	}
	o := DefaultOptions()
	sender, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	for endpoint, trusted := range map[string]bool{
		"https://fcm.googleapis.com/fcm/send/x": true, "https://FCM.googleapis.com:443/x": true, "https://fcm.googleapis.com:8443/x": false,
		"https://updates.push.services.mozilla.com/wpush/v2/x": true, "https://push.services.mozilla.com/": false,
		"https://web.push.apple.com/x": true, "https://evilpush.apple.com/x": false, "https://wns2-by3p.notify.windows.com/w/?token=x": true,
		"https://fcm.googleapis.com.evil.example/": false,
	} {
		u, err := url.Parse(endpoint)
		if err != nil {
			t.Fatal(err)
		}
		if got := sender.trusts(u); got != trusted {
			t.Errorf("%s: trusted %v", endpoint, got)
		}
	}
}

func TestKeysOfEveryForm(t *testing.T) {
	s, sender := newService(t)
	c := credential(t)
	c.Secret = []byte("nonsense")
	if f := send(t, sender, c, s.device()); f == nil || f.Verdict != delivery.Unauthorized || strings.Contains(f.Reason, "nonsense") {
		t.Errorf("a key that is none: %v", f)
	}
	secret, public, err := ImportKey(exampleSender)
	if err != nil {
		t.Fatal(err)
	}
	imported := &eventv1.PushCredential{Id: "c2", Secret: secret, PublicKey: public, Subject: "mailto:ops@example.com"}
	if f := send(t, sender, imported, s.device()); f != nil {
		t.Error(f)
	}
	checkProof(t, s.last.Header.Get("Authorization"), s.server.URL, public)
	for _, text := range []string{"", "AA", "no base64!", strings.Repeat("_", 43)} {
		if _, _, err := ImportKey(text); err == nil {
			t.Errorf("%q was imported", text)
		}
	}
}

// A subscription with a host that does not exist is refused; one whose host is not reached may pass.
func TestAHostThatDoesNotExist(t *testing.T) {
	for noHost, want := range map[bool]delivery.Verdict{true: delivery.Refused, false: delivery.Retry} {
		f := delivery.Fail(delivery.Retry, "not reached")
		f.NoHost = noHost
		if got := unsent(f); got.Verdict != want {
			t.Errorf("no host %v: %v", noHost, got)
		}
	}
}
