// Package docs is the page that shows the API's description in a browser. Everything it needs
// is in the binary, and its security policy lets it ask nobody else.
package docs

import (
	"embed"
	"net/http"
	"strings"
)

//go:embed page
var page embed.FS

// policy allows what the page itself brings and nothing from elsewhere. The viewer writes styles
// into the page, so those may be inline; scripts may not.
const policy = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; " +
	"font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"

// files are what is served, by path.
var files = map[string]struct{ name, kind, encoding string }{
	"/docs":                {"page/index.html", "text/html; charset=utf-8", ""},
	"/docs/start.js":       {"page/start.js", "text/javascript; charset=utf-8", ""},
	"/docs/viewer.js":      {"page/viewer.js.gz", "text/javascript; charset=utf-8", "gzip"},
	"/docs/viewer.LICENSE": {"page/viewer.LICENSE", "text/plain; charset=utf-8", ""},
	"/docs/page.css":       {"page/page.css", "text/css; charset=utf-8", ""},
}

// Handler serves the page at /docs and its parts below.
func Handler() http.Handler { return http.HandlerFunc(serve) }

func serve(w http.ResponseWriter, r *http.Request) {
	file, ok := files[strings.TrimSuffix(r.URL.Path, "/")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	body, err := page.ReadFile(file.name)
	if err != nil {
		http.Error(w, "this build has no documentation page", http.StatusNotFound)
		return
	}
	header := w.Header()
	header.Set("Content-Type", file.kind)
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "max-age=3600")
	if file.encoding != "" {
		header.Set("Content-Encoding", file.encoding)
	}
	_, _ = w.Write(body) // an error here means that the browser is gone
}
