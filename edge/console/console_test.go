package console

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func serve(t *testing.T, session func(context.Context) (Session, error)) http.Handler {
	t.Helper()
	h, err := New(Options{Session: session, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(h http.Handler, target string, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	r.RemoteAddr = "127.0.0.1:50000"
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestPageAndItsFiles(t *testing.T) {
	h := serve(t, nil)
	page := get(h, "http://127.0.0.1:4280/demo", nil)
	if page.Code != http.StatusOK || !strings.HasPrefix(page.Header().Get("Content-Type"), "text/html") {
		t.Fatalf("page: %d %s", page.Code, page.Header().Get("Content-Type"))
	}
	links := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page.Body.String(), -1)
	if len(links) < 2 {
		t.Fatalf("the page links only %v", links)
	}
	for _, link := range links {
		if !strings.HasPrefix(link[1], "/") {
			t.Errorf("%s is not on this server", link[1])
		}
		if !strings.HasPrefix(link[1], "/demo/") {
			continue // other pages of the server
		}
		if w := get(h, "http://127.0.0.1:4280"+link[1], nil); w.Code != http.StatusOK {
			t.Errorf("%s: %d", link[1], w.Code)
		}
	}
}

// Modules import each other by relative paths; a typing error there shows only in a browser.
func TestImportsResolve(t *testing.T) {
	h := serve(t, nil).(*handler)
	imports := regexp.MustCompile(`from "\./([^"]+)"`)
	for name, f := range h.files {
		for _, m := range imports.FindAllStringSubmatch(string(f.content), -1) {
			if _, ok := h.files["/"+m[1]]; !ok {
				t.Errorf("%s imports %s, which does not exist", name, m[1])
			}
		}
		if f.mime == "" {
			t.Errorf("%s has no content type", name)
		}
	}
}

// The policy forbids inline code; then the page must have none.
func TestPageObeysItsPolicy(t *testing.T) {
	h := serve(t, nil).(*handler)
	html := string(h.files["/index.html"].content)
	for _, bad := range []string{" style=", " onclick=", " onload=", "<style", "javascript:", "http://", "https://"} {
		if strings.Contains(html, bad) {
			t.Errorf("index.html contains %q", bad)
		}
	}
	if regexp.MustCompile(`<script[^>]*>[^<]`).MatchString(html) {
		t.Error("index.html has an inline script")
	}
	for name, f := range h.files {
		if strings.Contains(string(f.content), "innerHTML") {
			t.Errorf("%s uses innerHTML: text of users must never become markup", name)
		}
	}
	if csp := get(h, "http://127.0.0.1/demo", nil).Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("policy %q", csp)
	}
}

func TestUnchangedFilesAreNotSentAgain(t *testing.T) {
	h := serve(t, nil)
	tag := get(h, "http://127.0.0.1/demo/style.css", nil).Header().Get("ETag")
	again := get(h, "http://127.0.0.1/demo/style.css", func(r *http.Request) { r.Header.Set("If-None-Match", tag) })
	if tag == "" || again.Code != http.StatusNotModified {
		t.Errorf("tag %q, then %d", tag, again.Code)
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	h := serve(t, nil)
	for _, target := range []string{"/demo/nothing.js", "/demo/../console.go", "/demo/page/index.html"} {
		if w := get(h, "http://127.0.0.1"+target, nil); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", target, w.Code)
		}
	}
	w := get(h, "http://127.0.0.1/demo", func(r *http.Request) { r.Method = http.MethodPost })
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestSessionIsForThisMachineOnly(t *testing.T) {
	given := Session{ApplicationID: "a", ConversationID: "CON-1", Users: []User{{ID: "USR-1", Name: "alice", Token: "t"}}}
	h := serve(t, func(context.Context) (Session, error) { return given, nil })
	header := func(k, v string) func(*http.Request) { return func(r *http.Request) { r.Header.Set(k, v) } }
	for _, c := range []struct {
		name, target string
		change       func(*http.Request)
		want         int
	}{
		{"page", "http://127.0.0.1:4280/demo/session", header("Sec-Fetch-Site", "same-origin"), 200},
		{"localhost", "http://localhost:4280/demo/session", nil, 200},
		{"ipv6", "http://[::1]:4280/demo/session", func(r *http.Request) { r.RemoteAddr = "[::1]:1" }, 200},
		{"own origin", "http://localhost:4280/demo/session", header("Origin", "http://localhost:4280"), 200},
		{"other machine", "http://127.0.0.1:4280/demo/session", func(r *http.Request) { r.RemoteAddr = "10.0.0.7:1" }, 403},
		{"rebound name", "http://evil.example:4280/demo/session", nil, 403},
		{"other site", "http://127.0.0.1:4280/demo/session", header("Sec-Fetch-Site", "cross-site"), 403},
		{"other port", "http://127.0.0.1:4280/demo/session", header("Sec-Fetch-Site", "same-site"), 403},
		{"other origin", "http://127.0.0.1:4280/demo/session", header("Origin", "http://evil.example"), 403},
	} {
		w := get(h, c.target, c.change)
		if w.Code != c.want {
			t.Errorf("%s: %d, want %d", c.name, w.Code, c.want)
		}
		if w.Code != 200 && strings.Contains(w.Body.String(), `"token"`) {
			t.Errorf("%s: tokens given away", c.name)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers %v", c.name, w.Header())
		}
	}
	var got Session
	if err := json.Unmarshal(get(h, "http://127.0.0.1/demo/session", nil).Body.Bytes(), &got); err != nil || got.Users[0] != given.Users[0] {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestSessionAbsentAndFailing(t *testing.T) {
	if w := get(serve(t, nil), "http://127.0.0.1/demo/session", nil); w.Code != http.StatusNoContent {
		t.Errorf("absent: %d", w.Code)
	}
	failing := serve(t, func(context.Context) (Session, error) { return Session{}, errors.New("secret cause") })
	if w := get(failing, "http://127.0.0.1/demo/session", nil); w.Code != 500 || strings.Contains(w.Body.String(), "secret cause") {
		t.Errorf("failing: %d %s", w.Code, w.Body)
	}
}

func TestOptionsNeedALogger(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("accepted without a logger")
	}
}
