package docs

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w
}

func TestPageBringsEverythingItNeeds(t *testing.T) {
	page := get(t, "GET", "/docs")
	if page.Code != http.StatusOK {
		t.Fatalf("status %d", page.Code)
	}
	asked := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page.Body.String(), -1)
	if len(asked) < 4 {
		t.Fatalf("the page asks for %v", asked)
	}
	for _, m := range asked {
		switch {
		case strings.HasPrefix(m[1], "data:"), m[1] == "/openapi.json":
		case strings.HasPrefix(m[1], "/docs/"):
			if part := get(t, "GET", m[1]); part.Code != http.StatusOK || part.Body.Len() == 0 {
				t.Errorf("%s: status %d", m[1], part.Code)
			}
		default:
			t.Errorf("the page asks for %s", m[1])
		}
	}
}

func TestPolicyForbidsOtherOrigins(t *testing.T) {
	for path := range files {
		got := get(t, "GET", path)
		csp := got.Header().Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'self'") || strings.Contains(csp, "http") || strings.Contains(csp, "unsafe-eval") || strings.Contains(csp, "*") {
			t.Errorf("%s: policy %q", path, csp)
		}
		if got.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: no nosniff", path)
		}
	}
}

func TestViewerIsWholeAndQuiet(t *testing.T) {
	got := get(t, "GET", "/docs/viewer.js")
	if got.Header().Get("Content-Encoding") != "gzip" {
		t.Fatal("the viewer is not compressed")
	}
	r, err := gzip.NewReader(got.Body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil || len(text) < 1<<20 || !strings.Contains(string(text), "createApiReference") {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	start := get(t, "GET", "/docs/start.js").Body.String()
	for _, off := range []string{`proxyUrl: ""`, "telemetry: false", "withDefaultFonts: false", "agent: { disabled: true }", `url: "/openapi.json"`} {
		if !strings.Contains(start, off) {
			t.Errorf("the viewer is not told %s", off)
		}
	}
	if regexp.MustCompile(`https?:`).MatchString(start) {
		t.Error("the start script names another server")
	}
}

func TestWhatIsNotServed(t *testing.T) {
	for path, want := range map[string]int{"/docs/": 200, "/docs/page/index.html": 404, "/docs/../docs.go": 404, "/docs/viewer.js.gz": 404} {
		if got := get(t, "GET", path); got.Code != want {
			t.Errorf("%s: %d, want %d", path, got.Code, want)
		}
	}
	if got := get(t, "POST", "/docs"); got.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", got.Code)
	}
}
