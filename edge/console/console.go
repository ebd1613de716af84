// Package console serves the demo page at /demo: two chat users side by side, speaking the
// native realtime protocol. The page is embedded, needs no other host and keeps no secret in the
// server: it signs its tokens in the browser, or is given them by a server in development mode.
package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed page
var pages embed.FS

// policy lets the page load from and speak with its own origin only.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Session is everything the page needs to chat at once.
type Session struct {
	ApplicationID  string `json:"application_id"`
	ConversationID string `json:"conversation_id"`
	Users          []User `json:"users"`
}

// User is one chat user with a token that is good for a while.
type User struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Token string `json:"token"`
}

// Options are what the page is served with.
type Options struct {
	// Session gives fresh tokens to pages of this machine. Only a server in development mode has
	// it; nil means that the page asks its user for credentials.
	Session func(ctx context.Context) (Session, error)
	Logger  *slog.Logger
}

// Validate says whether the options can be used.
func (o Options) Validate() error {
	if o.Logger == nil {
		return errors.New("console: Logger is missing")
	}
	return nil
}

// file is one embedded file, ready to be sent.
type file struct {
	content []byte
	mime    string
	tag     string // strong ETag
}

type handler struct {
	options Options
	files   map[string]file // by path below /demo
}

// New makes the handler of /demo and everything below it.
func New(o Options) (http.Handler, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	h := &handler{options: o, files: map[string]file{}}
	err := fs.WalkDir(pages, "page", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := pages.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		h.files[strings.TrimPrefix(name, "page")] = file{
			content: content,
			mime:    mime.TypeByExtension(path.Ext(name)),
			tag:     `"` + hex.EncodeToString(sum[:12]) + `"`,
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the demo page: %w", err)
	}
	return h, nil
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Referrer-Policy", "no-referrer")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/demo")
	switch name {
	case "", "/":
		name = "/index.html"
	case "/session":
		h.serveSession(w, r)
		return
	}
	f, ok := h.files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", f.mime)
	w.Header().Set("Cache-Control", "no-cache") // ask again each time; the tag makes that cheap
	w.Header().Set("ETag", f.tag)
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(f.content))
}

// serveSession hands tokens to the page, and to nobody else: the asker must be on this machine,
// must have used its loopback name (so that no foreign name can be pointed here), and must not
// be a page of another origin.
func (h *handler) serveSession(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if h.options.Session == nil {
		// Not an error: it is how the page learns that it has to ask its user.
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if !local(r) {
		http.Error(w, "only for the demo page on this machine", http.StatusForbidden)
		return
	}
	session, err := h.options.Session(r.Context())
	if err != nil {
		h.options.Logger.Error("demo session", "error", err)
		http.Error(w, "the demo's tokens could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(session); err != nil {
		h.options.Logger.Debug("demo page went away", "error", err)
	}
}

func local(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	if site != "" && site != "same-origin" && site != "none" {
		return false
	}
	if r.Header.Get("Origin") != "" && r.Header.Get("Origin") != "http://"+r.Host {
		return false
	}
	return loopback(r.RemoteAddr) && loopback(r.Host)
}

// loopback takes host:port or host.
func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = strings.Trim(address, "[]")
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || (ip != nil && ip.IsLoopback())
}
