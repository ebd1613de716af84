package media_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"parley/actors/blob/sweep"
	"parley/actors/runtime"
	"parley/edge/auth"
	"parley/edge/limit"
	"parley/edge/media"
	eventv1 "parley/proto/event/v1"
	"parley/test/solo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type settings struct {
	fs      vfs.FS
	app     string // of an earlier world
	options func(*media.Options)
	limits  func(*limit.Options)
	objects interface {
		media.Objects
		sweep.Objects
	}
}

// world is a real node in memory behind a real HTTP server, with one application and two users.
type world struct {
	t       *testing.T
	url     string
	log     *bytes.Buffer
	app     string
	node    *runtime.Runtime
	handler *media.Handler
	metrics *prometheus.Registry
	stop    func()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newWorld(t *testing.T, s settings) *world {
	t.Helper()
	w := &world{t: t, log: &bytes.Buffer{}, app: s.app, metrics: prometheus.NewRegistry()}
	if s.fs == nil {
		s.fs = vfs.NewMem()
	}
	o := solo.Options(t, s.fs)
	if s.objects != nil {
		o.Objects = s.objects
	}
	w.node = solo.Open(t, o)
	server := w.serve(s)
	w.stop = sync.OnceFunc(func() {
		http.DefaultClient.CloseIdleConnections()
		server.Close()
		solo.Close(t, w.node)
	})
	t.Cleanup(w.stop)
	if w.app == "" {
		w.app = w.newApplication()
	}
	return w
}

func (w *world) serve(s settings) *httptest.Server {
	authOptions, limits, options := auth.DefaultOptions(), limit.DefaultOptions(), media.DefaultOptions()
	options.SpoolDir, options.Registerer = w.t.TempDir(), w.metrics
	options.Logger = slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if s.options != nil {
		s.options(&options)
	}
	if s.limits != nil {
		s.limits(&limits)
	}
	verifier, err := auth.New(w.node.API(), authOptions)
	must(w.t, err)
	buckets, err := limit.New(limits)
	must(w.t, err)
	parts := media.Parts{Cluster: w.node.API(), Verifier: verifier, Limits: buckets}
	if s.objects != nil {
		parts.Objects = s.objects
	}
	w.handler, err = media.New(parts, options)
	must(w.t, err)
	server := httptest.NewUnstartedServer(w.handler)
	server.Config.WriteTimeout = 5 * time.Minute // as edge/server has it: it sets the deadline anew with each request
	server.Start()
	w.url = server.URL
	return server
}

// newApplication makes an application with users ann and bob.
func (w *world) newApplication() string {
	w.t.Helper()
	tenant := solo.NewTenant(w.t, w.node.API(), "")
	for _, name := range []string{"ann", "bob"} {
		tenant.User(&eventv1.User{Name: name})
	}
	return tenant.ID
}

type object = map[string]any

func token(t testing.TB, app string, change object) string {
	t.Helper()
	return solo.Token(t, app, solo.Key(t, 0), change)
}

func (w *world) as(user string) string {
	return token(w.t, w.app, object{"sub": user, "acl": object{"paths": object{"/*/image/**": object{}}}})
}

func (w *world) admin() string { return token(w.t, w.app, nil) }

// request is one to be sent.
type request struct {
	method, path, token string
	kind                string
	body                io.Reader
	header              map[string]string
}

type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	raw    []byte
}

func (w *world) send(r request) (*http.Response, error) {
	w.t.Helper()
	address := r.path
	if !strings.HasPrefix(address, "http") {
		address = w.url + address
	}
	out, err := http.NewRequestWithContext(w.t.Context(), r.method, address, r.body)
	must(w.t, err)
	if r.kind != "" {
		out.Header.Set("Content-Type", r.kind)
	}
	if r.token != "" {
		out.Header.Set("Authorization", "Bearer "+r.token)
	}
	for k, v := range r.header {
		out.Header.Set(k, v)
	}
	return http.DefaultClient.Do(out)
}

func (w *world) do(r request) *answer {
	w.t.Helper()
	in, err := w.send(r)
	must(w.t, err)
	defer in.Body.Close()
	raw, err := io.ReadAll(in.Body)
	must(w.t, err)
	return &answer{t: w.t, what: r.method + " " + r.path, status: in.StatusCode, header: in.Header, raw: raw}
}

func (w *world) call(method, path, token string) *answer {
	w.t.Helper()
	return w.do(request{method: method, path: path, token: token})
}

// field is a part of a form; a file has the name "file".
type field struct{ name, value string }

func form(t testing.TB, fields ...field) (kind string, body *bytes.Buffer) {
	t.Helper()
	body = &bytes.Buffer{}
	m := multipart.NewWriter(body)
	for _, f := range fields {
		var part io.Writer
		var err error
		if f.name == "file" {
			part, err = m.CreateFormFile("file", "x.svg") // names say nothing
		} else {
			part, err = m.CreateFormField(f.name)
		}
		must(t, err)
		_, err = io.WriteString(part, f.value)
		must(t, err)
	}
	must(t, m.Close())
	return m.FormDataContentType(), body
}

func (w *world) upload(token string, file []byte, more ...field) *answer {
	w.t.Helper()
	kind, body := form(w.t, append([]field{{"file", string(file)}}, more...)...)
	return w.do(request{method: "POST", path: "/v1/image", token: token, kind: kind, body: body})
}

// uploaded is what a client reads of an answer.
type uploaded struct {
	ID                          string `json:"id"`
	Original, Medium, Thumbnail struct {
		URL  string `json:"url"`
		ID   string `json:"id"`
		Type string `json:"type"`
		Size int    `json:"size"`
	}
}

func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: status %d, want %d: %.300s", a.what, a.status, status, a.raw)
	}
	return a
}

func (a *answer) refused(status int, code string) *answer {
	a.t.Helper()
	var p struct{ Title, Type, Code, Detail, Instance string }
	if err := json.Unmarshal(a.want(status).raw, &p); err != nil || p.Code != code || !strings.HasSuffix(p.Type, "#"+code) ||
		p.Title == "" || p.Detail == "" || len(p.Instance) != 32 {
		a.t.Errorf("%s: %v: %s, want %s", a.what, err, a.raw, code)
	}
	return a
}

func (a *answer) image() (u uploaded) {
	a.t.Helper()
	must(a.t, json.Unmarshal(a.want(200).raw, &u))
	return u
}

func (u uploaded) urls() []string { return []string{u.Original.URL, u.Medium.URL, u.Thumbnail.URL} }
