package rest_test

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"parley/actors/runtime"
	"parley/edge/auth"
	"parley/edge/limit"
	"parley/edge/rest"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
	"parley/test/solo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	apiKey    = "a1b2c3d4"
	apiSecret = "canary-api-secret"
)

// sessions is who is connected, by user.
type sessions map[string][]string

func (s sessions) Sessions(_ context.Context, _, user string) ([]string, error) { return s[user], nil }

// refresher implements rest.Refresher: the user of the token has the session, or not.
type refresher struct {
	sessions sessions
	verifier *auth.Verifier
}

func (r refresher) RenewSession(ctx context.Context, renew *nodev1.RenewSession) error {
	claims, err := r.verifier.Verify(ctx, renew.Token)
	if err == nil && !slices.Contains(r.sessions[claims.UserID], renew.Session) {
		err = code.New(code.SessionNotFound, "no such session")
	}
	return err
}

// world is a real node in memory behind a real HTTP server, with one application.
type world struct {
	t        testing.TB
	url      string
	log      *bytes.Buffer
	handler  *rest.Handler
	sessions sessions
	app      tenant
	stop     func() // ends the server, when every request has been answered and logged
}

// tenant is an application and its private key.
type tenant struct {
	id  string
	key *rsa.PrivateKey
}

type settings struct {
	options func(*rest.Options)
	limits  func(*limit.Options)
	targets rest.Targets // nil = the public internet
}

func newWorld(t testing.TB, s settings) *world {
	t.Helper()
	w := &world{t: t, log: &bytes.Buffer{}, sessions: sessions{}}
	o := solo.Options(t, vfs.NewMem())
	o.API.IndexWait = solo.Patience // who has joined lists its conversations at once
	node := solo.Open(t, o)
	t.Cleanup(func() { solo.Close(t, node) })
	credential, err := auth.NewCredential(apiKey, apiSecret, 1)
	must(t, err)
	_, err = node.API().PutCredential(t.Context(), credential, true)
	must(t, err)
	w.serve(node, s)
	w.app = w.newTenant(0)
	return w
}

func (w *world) serve(node *runtime.Runtime, s settings) {
	authOptions, limits, options := auth.DefaultOptions(), limit.DefaultOptions(), rest.DefaultOptions()
	authOptions.UserFresh, options.RequestTimeout = 0, solo.Patience
	options.Logger = slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if s.options != nil {
		s.options(&options)
	}
	if s.limits != nil {
		s.limits(&limits)
	}
	verifier, err := auth.New(node.API(), authOptions)
	must(w.t, err)
	keys, err := auth.NewKeys(node.API(), authOptions)
	must(w.t, err)
	buckets, err := limit.New(limits)
	must(w.t, err)
	w.handler, err = rest.New(rest.Parts{Cluster: node.API(), Verifier: verifier, Keys: keys, Limits: buckets, Sessions: w.sessions, Refresher: refresher{w.sessions, verifier}, Targets: s.targets}, options)
	must(w.t, err)
	server := httptest.NewUnstartedServer(w.handler)
	server.Config.WriteTimeout = 5 * time.Minute // as edge/server has it: it sets the deadline anew with each request
	server.Start()
	w.url = server.URL
	w.stop = sync.OnceFunc(func() {
		http.DefaultClient.CloseIdleConnections()
		server.Close()
	})
	w.t.Cleanup(w.stop)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newTenant creates an application with its own public key.
func (w *world) newTenant(pair int) tenant {
	w.t.Helper()
	key := solo.Key(w.t, pair)
	a := w.operator("POST", "/v2/applications", object{"name": "test", "keys": object{"public_key": solo.PublicKey(w.t, key)}}).want(201)
	return tenant{id: a.text("id"), key: key}
}

type object = map[string]any

// token signs an administrator's token, with claims changed as solo.Token says.
func (a tenant) token(t testing.TB, change object) string {
	t.Helper()
	return solo.Token(t, a.id, a.key, change)
}

// everything is an acl that allows all paths.
var everything = object{"paths": object{"/**": object{}}}

func (w *world) admin() string { return w.app.token(w.t, nil) }

func (w *world) as(user string) string {
	return w.app.token(w.t, object{"sub": user, "acl": everything})
}

// answer is what came back.
type answer struct {
	t      testing.TB
	what   string
	status int
	header http.Header
	raw    []byte
}

type request struct {
	method, path, token string
	body                any               // nil, string (as it is), url.Values (a form) or JSON
	header              map[string]string // an empty value stands for no such header
}

// do sends a request and reads the answer.
func (w *world) do(r request) *answer {
	w.t.Helper()
	var body io.Reader
	kind := ""
	switch b := r.body.(type) {
	case nil:
	case string:
		body, kind = strings.NewReader(b), "application/json"
	case url.Values:
		body, kind = strings.NewReader(b.Encode()), "application/x-www-form-urlencoded"
	default:
		raw, err := json.Marshal(b)
		must(w.t, err)
		body, kind = bytes.NewReader(raw), "application/json"
	}
	address := r.path
	if !strings.HasPrefix(address, "http") {
		address = w.url + address
	}
	out, err := http.NewRequestWithContext(w.t.Context(), r.method, address, body)
	must(w.t, err)
	if kind != "" {
		out.Header.Set("Content-Type", kind)
	}
	if r.token != "" {
		out.Header.Set("Authorization", "Bearer "+r.token)
	}
	for k, v := range r.header {
		if k == "Host" {
			out.Host = v
		}
		if out.Header.Set(k, v); v == "" {
			out.Header.Del(k)
		}
	}
	in, err := http.DefaultClient.Do(out)
	must(w.t, err)
	defer in.Body.Close()
	raw, err := io.ReadAll(in.Body)
	must(w.t, err)
	return &answer{t: w.t, what: r.method + " " + r.path, status: in.StatusCode, header: in.Header, raw: raw}
}

func (w *world) call(method, path, token string, body any) *answer {
	w.t.Helper()
	return w.do(request{method: method, path: path, token: token, body: body})
}

// operator sends a request with the API key and secret.
func (w *world) operator(method, path string, body any) *answer {
	w.t.Helper()
	out, _ := http.NewRequest(method, path, nil)
	out.SetBasicAuth(apiKey, apiSecret)
	return w.do(request{method: method, path: path, body: body, header: map[string]string{"Authorization": out.Header.Get("Authorization")}})
}

// want fails the test unless the status is right, and the form is that of the API.
func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: status %d, want %d: %s", a.what, a.status, status, a.raw)
	}
	kind := a.header.Get("Content-Type")
	if status == http.StatusNoContent && len(a.raw) > 0 || status != http.StatusNoContent && kind != "application/json" {
		a.t.Errorf("%s: content type %q, %d bytes", a.what, kind, len(a.raw))
	}
	return a
}

// refused wants a status and a code, in whatever form.
func (a *answer) refused(status int, code string) *answer {
	a.t.Helper()
	if got := a.want(status).text("code"); got != code {
		a.t.Errorf("%s: code %q, want %q: %s", a.what, got, code, a.raw)
	}
	return a
}

// at walks a path of members and list places, nil when it ends early.
func (a *answer) at(path ...any) any {
	a.t.Helper()
	var v any
	d := json.NewDecoder(bytes.NewReader(a.raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		a.t.Fatalf("%s: %v: %q", a.what, err, a.raw)
	}
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func (a *answer) text(path ...any) string {
	a.t.Helper()
	switch v := a.at(path...).(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

func (a *answer) list(path ...any) []any {
	a.t.Helper()
	l, ok := a.at(path...).([]any)
	if !ok {
		a.t.Fatalf("%s: no list at %v: %s", a.what, path, a.raw)
	}
	return l
}

// Steps that many stories begin with.

func (w *world) newUser(name string) string {
	w.t.Helper()
	return w.call("POST", "/v1/users", w.admin(), object{"name": name}).want(201).text("id")
}

func (w *world) newConversation(token string, body object) string {
	w.t.Helper()
	return w.call("POST", "/v1/conversations", token, body).want(201).text("id")
}

func (w *world) join(conversation, user string) string {
	w.t.Helper()
	return w.call("POST", "/v1/conversations/"+conversation+"/members", w.admin(),
		object{"state": "joined", "user": object{"id": user}, "channel": object{"type": "app"}}).want(201).text("id")
}

func (w *world) say(conversation, token, text string) *answer {
	w.t.Helper()
	return w.call("POST", "/v1/conversations/"+conversation+"/events", token, object{"type": "text", "body": object{"text": text}}).want(201)
}
