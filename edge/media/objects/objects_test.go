package objects_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"go.uber.org/goleak"

	"parley/edge/media/objects"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open makes a store over a real HTTP server; front may spoil requests, and tunes its options.
func open(t *testing.T, front func(http.Handler) http.Handler, tunes ...func(*objects.Options)) *objects.Store {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("images"); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(front(gofakes3.New(backend).Server()))
	o := objects.DefaultOptions()
	o.Endpoint, o.Bucket, o.AccessKey, o.SecretKey = server.URL, "images", "key", "secret"
	for _, tune := range tunes {
		tune(&o)
	}
	s, err := objects.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return s
}

func plain(h http.Handler) http.Handler { return h }

func get(t *testing.T, s *objects.Store, name string) string {
	t.Helper()
	r, err := s.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestObjectsComeAndGo(t *testing.T) {
	s := open(t, plain)
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "app/one"); !errors.Is(err, objects.ErrAbsent) {
		t.Errorf("absent: %v", err)
	}
	big := strings.Repeat("x", 3<<20)
	for _, content := range []string{"a", big, "b"} {
		if err := s.Put(t.Context(), "app/one", strings.NewReader(content), int64(len(content))); err != nil {
			t.Fatal(err)
		}
		if got := get(t, s, "app/one"); got != content {
			t.Fatalf("%d bytes came back of %d", len(got), len(content))
		}
	}
	for range 2 { // the second time there is nothing
		if err := s.Delete(t.Context(), "app/one"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Get(t.Context(), "app/one"); !errors.Is(err, objects.ErrAbsent) {
		t.Errorf("deleted: %v", err)
	}
}

// TestRetries: one bad answer is not the end, and a retried upload is whole.
func TestRetries(t *testing.T) {
	var bad atomic.Int32
	bad.Store(1)
	s := open(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && bad.Add(-1) >= 0 {
				_, _ = io.CopyN(io.Discard, r.Body, 10)
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			h.ServeHTTP(w, r)
		})
	})
	content := strings.Repeat("y", 100_000)
	if err := s.Put(t.Context(), "n", strings.NewReader(content), int64(len(content))); err != nil {
		t.Fatal(err)
	}
	if get(t, s, "n") != content || bad.Load() >= 0 {
		t.Error("the retried object is not whole")
	}
}

// TestRefusals tell a missing bucket and an ended context, and no secret.
func TestRefusals(t *testing.T) {
	s := open(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, errGet := s.Get(t.Context(), "n")
	for what, err := range map[string]error{
		"check":  s.Check(t.Context()),
		"put":    s.Put(t.Context(), "n", bytes.NewReader([]byte("z")), 1),
		"get":    errGet,
		"delete": s.Delete(t.Context(), "n"),
		"ended":  s.Put(ended, "n", bytes.NewReader([]byte("z")), 1),
	} {
		if err == nil || errors.Is(err, objects.ErrAbsent) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestOptions(t *testing.T) {
	good := objects.DefaultOptions()
	good.Bucket, good.AccessKey, good.SecretKey = "b", "k", "s"
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for says, spoil := range map[string]func(*objects.Options){
		"s3-endpoint": func(o *objects.Options) { o.Endpoint = "localhost:9000" },
		"s3-bucket":   func(o *objects.Options) { o.Bucket = "" },
		"s3-region":   func(o *objects.Options) { o.Region = "" },
		"s3-secret":   func(o *objects.Options) { o.SecretKey = "" },
		"s3-prefix":   func(o *objects.Options) { o.Prefix = "/x" },
		"timeout":     func(o *objects.Options) { o.Timeout = 0 },
	} {
		o := good
		spoil(&o)
		if _, err := objects.New(o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
}
