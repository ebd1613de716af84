package fcm

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"parley/actors/push/delivery"
	eventv1 "parley/proto/event/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var signing = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// google is the service and its token server, over TLS.
type google struct {
	t      *testing.T
	server *httptest.Server

	mu       sync.Mutex
	tokens   int                           // given so far; the last one is the only good one
	refuse   func(w http.ResponseWriter)   // answers the token request; nil = well
	answers  []func(w http.ResponseWriter) // of the next messages; none = well
	messages []map[string]any
	protocol string
}

func newGoogle(t *testing.T) (*google, *Sender) {
	t.Helper()
	g := &google{t: t}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", g.token)
	mux.HandleFunc("POST /v1/projects/p-1/messages:send", g.message)
	g.server = httptest.NewUnstartedServer(mux)
	g.server.EnableHTTP2 = true
	g.server.StartTLS()
	t.Cleanup(g.server.Close)
	o := DefaultOptions()
	o.URL, o.TokenURL = g.server.URL+"/", g.server.URL+"/token"
	o.Client.Timeout, o.Client.RootCAs = time.Minute, x509.NewCertPool()
	o.Client.RootCAs.AddCert(g.server.Certificate())
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return g, s
}

// token checks the assertion as Google does.
func (g *google) token(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refuse != nil {
		g.refuse(w)
		return
	}
	claims := jwt.MapClaims{}
	token, err := jwt.ParseWithClaims(r.PostFormValue("assertion"), claims, func(*jwt.Token) (any, error) { return &signing().PublicKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithAudience(g.server.URL+"/token"), jwt.WithIssuer("push@p-1.example"), jwt.WithExpirationRequired())
	if err != nil || token.Header["kid"] != "k-1" || claims["scope"] != "https://www.googleapis.com/auth/firebase.messaging" ||
		r.PostFormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest)
		return
	}
	g.tokens++
	fmt.Fprintf(w, `{"access_token":"at-%d","expires_in":3600,"token_type":"Bearer"}`, g.tokens)
}

func (g *google) message(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.protocol = r.Proto
	if r.Header.Get("Authorization") != fmt.Sprintf("Bearer at-%d", g.tokens) {
		refusing(http.StatusUnauthorized, "UNAUTHENTICATED", "", "")(w)
		return
	}
	var m map[string]any
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		g.t.Error(err)
	}
	g.messages = append(g.messages, m["message"].(map[string]any))
	if len(g.answers) > 0 {
		g.answers[0](w)
		g.answers = g.answers[1:]
		return
	}
	fmt.Fprint(w, `{"name":"projects/p-1/messages/1"}`)
}

// refusing answers with an error in Google's form.
func refusing(status int, name, errorCode, field string) func(http.ResponseWriter) {
	details := ""
	if errorCode != "" {
		details = fmt.Sprintf(`{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":%q}`, errorCode)
	}
	if field != "" {
		details += fmt.Sprintf(`,{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":%q}]}`, field)
	}
	return func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", "11")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":{"code":%d,"status":%q,"details":[%s]}}`, status, name, details)
	}
}

func serviceAccount(t *testing.T) *eventv1.PushCredential {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(signing())
	if err != nil {
		t.Fatal(err)
	}
	secret, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": "p-1", "client_email": "push@p-1.example", "private_key_id": "k-1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"token_uri":   "http://169.254.169.254/", // never asked: it is the uploader's word
	})
	if err != nil {
		t.Fatal(err)
	}
	return &eventv1.PushCredential{Id: "c-1", Kind: eventv1.PushKind_PUSH_KIND_SERVICE_ACCOUNT, Secret: secret}
}

func send(t *testing.T, s *Sender, c *eventv1.PushCredential) *delivery.Failure {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	n := &delivery.Notification{Payload: []byte(`{"id":1}`), Event: []byte(`{"id":2}`), Immediate: true, Expires: time.Now().Add(time.Hour)}
	return delivery.FailureOf(s.Send(ctx, c, &eventv1.Device{Token: "device-1"}, n))
}

func TestSend(t *testing.T) {
	g, s := newGoogle(t)
	c := serviceAccount(t)
	var group errgroup.Group
	for range 16 {
		group.Go(func() error {
			if f := send(t, s, c); f != nil {
				return f
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if g.tokens != 1 || len(g.messages) != 16 || g.protocol != "HTTP/2.0" {
		t.Errorf("%d access tokens for %d messages over %s", g.tokens, len(g.messages), g.protocol)
	}
	m := g.messages[0]
	data, android := m["data"].(map[string]any), m["android"].(map[string]any)
	if m["token"] != "device-1" || data["nexmo"] != `{"id":1}` || data["event"] != `{"id":2}` || android["priority"] != "HIGH" {
		t.Errorf("message %v", m)
	}
	if ttl, err := time.ParseDuration(android["ttl"].(string)); err != nil || ttl < 3500*time.Second || ttl > time.Hour {
		t.Errorf("ttl %v", android["ttl"])
	}
}

func TestVerdicts(t *testing.T) {
	g, s := newGoogle(t)
	c := serviceAccount(t)
	for _, tc := range []struct {
		what    string
		answer  func(http.ResponseWriter)
		verdict delivery.Verdict
		reason  string
		after   time.Duration
	}{
		{"unregistered", refusing(404, "NOT_FOUND", "UNREGISTERED", ""), delivery.Dead, "UNREGISTERED", 0},
		{"not found", refusing(404, "NOT_FOUND", "", ""), delivery.Dead, "NOT_FOUND", 0},
		{"not found by somebody else", func(w http.ResponseWriter) { http.Error(w, "<html>", 404) }, delivery.Refused, "status 404", 0},
		{"malformed token", refusing(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.token"), delivery.Dead, "INVALID_ARGUMENT", 0},
		{"malformed message", refusing(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "message.data"), delivery.Refused, "INVALID_ARGUMENT", 0},
		{"another project's token", refusing(403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH", ""), delivery.Refused, "SENDER_ID_MISMATCH", 0},
		{"no right to send", refusing(403, "PERMISSION_DENIED", "", ""), delivery.Unauthorized, "PERMISSION_DENIED", 0},
		{"quota", refusing(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", ""), delivery.Retry, "status 429", 11 * time.Second},
		{"unavailable", refusing(503, "UNAVAILABLE", "UNAVAILABLE", ""), delivery.Retry, "status 503", 11 * time.Second},
		{"internal", func(w http.ResponseWriter) { w.WriteHeader(500) }, delivery.Retry, "status 500", 0},
		{"no JSON", func(w http.ResponseWriter) { http.Error(w, "<html>", 418) }, delivery.Refused, "status 418", 0},
	} {
		g.answers = append(g.answers, tc.answer)
		if f := send(t, s, c); f == nil || f.Verdict != tc.verdict || f.Reason != tc.reason || f.RetryAfter != tc.after {
			t.Errorf("%s: %+v", tc.what, f)
		}
	}
}

func TestARevokedAccessTokenIsReplacedOnce(t *testing.T) {
	g, s := newGoogle(t)
	c := serviceAccount(t)
	g.answers = append(g.answers, refusing(401, "UNAUTHENTICATED", "", ""))
	if f := send(t, s, c); f != nil || g.tokens != 2 {
		t.Errorf("%v after %d access tokens", f, g.tokens)
	}
	g.answers = append(g.answers, refusing(401, "UNAUTHENTICATED", "", ""), refusing(401, "UNAUTHENTICATED", "", ""))
	if f := send(t, s, c); f == nil || f.Verdict != delivery.Unauthorized || g.tokens != 3 {
		t.Errorf("%v after %d access tokens", f, g.tokens)
	}
}

func TestCredentialsThatAreNotGood(t *testing.T) {
	g, s := newGoogle(t)
	for what, c := range map[string]*eventv1.PushCredential{
		"a server key": {Id: "1", Kind: eventv1.PushKind_PUSH_KIND_SERVER_KEY, Secret: []byte("AAAA-canary")},
		"no JSON":      {Id: "2", Kind: eventv1.PushKind_PUSH_KIND_SERVICE_ACCOUNT, Secret: []byte("{canary")},
		"no key":       {Id: "3", Kind: eventv1.PushKind_PUSH_KIND_SERVICE_ACCOUNT, Secret: []byte(`{"project_id":"p-1","client_email":"e","private_key":"canary"}`)},
	} {
		if f := send(t, s, c); f == nil || f.Verdict != delivery.Unauthorized || strings.Contains(f.Reason, "canary") {
			t.Errorf("%s: %v", what, f)
		}
	}
	c := serviceAccount(t)
	g.refuse = func(w http.ResponseWriter) { http.Error(w, `{"error":"invalid_grant"}`, http.StatusBadRequest) }
	if f := send(t, s, c); f == nil || f.Verdict != delivery.Unauthorized || !strings.Contains(f.Reason, "invalid_grant") {
		t.Errorf("a refused grant: %v", f)
	}
	g.refuse = func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) }
	if f := send(t, s, c); f == nil || f.Verdict != delivery.Retry {
		t.Errorf("a token server that fails: %v", f)
	}
	g.refuse = nil
	if f := send(t, s, c); f != nil {
		t.Errorf("a token server that is well again: %v", f)
	}
	g.server.Close()
	if f := send(t, s, c); f == nil || f.Verdict != delivery.Retry || strings.Contains(f.Reason, "p-1") {
		t.Errorf("a service that is gone: %v", f)
	}
}
