package web

import (
	"net/http"
	"strings"

	"parley/proto/code"
)

// Origins is what pages of other origins may do (Fetch standard, CORS protocol). No cookie is a credential, and
// what a browser knows of HTTP Basic is none of theirs (CheckLogin), so any origin may ask; it is echoed because old
// clients do not take "*".
type Origins struct {
	Methods string // allowed, with commas
	Headers string // that a page may send, with commas and in lower case; it may send others besides
	Exposed string // of the answer that a page may read
}

// CheckLogin refuses, with code.Permission, what a browser may have sent for a page of another origin with a key and
// secret that its user had told it in its own dialog: those it adds to what it need not ask about first (Fetch standard,
// CORS-safelisted), which is a POST of anything but JSON. Whoever takes HTTP Basic calls it before that counts.
func CheckLogin(r *http.Request) error {
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	asked := strings.EqualFold(strings.TrimSpace(kind), "application/json")
	if r.Method != http.MethodPost || asked || new(http.CrossOriginProtection).Check(r) == nil {
		return nil
	}
	return code.New(code.Permission, "A page of another origin can not use the browser's own login; with the key and secret it sends a body as application/json.")
}

const (
	maxAge         = "7200" // seconds; browsers ask again after two hours at most anyway
	headersAskable = 512    // bytes of names that a page may ask for
)

// Allow sets the headers of an answer to r, and says whether r was only the question whether it may.
func (o *Origins) Allow(header http.Header, r *http.Request) (preflight bool) {
	header.Add("Vary", "Origin")
	if origin := r.Header.Get("Origin"); origin != "" {
		header.Set("Access-Control-Allow-Origin", origin)
		header.Set("Access-Control-Expose-Headers", o.Exposed)
	}
	if r.Method != http.MethodOptions {
		return false
	}
	header.Add("Vary", "Access-Control-Request-Headers")
	header.Set("Access-Control-Allow-Methods", o.Methods)
	header.Set("Access-Control-Allow-Headers", o.allowed(r.Header.Get("Access-Control-Request-Headers")))
	header.Set("Access-Control-Max-Age", maxAge)
	return true
}

// allowed are the headers of the service and those that the page asks for: unknown ones are ignored
// anyway, and some client libraries add tracing headers.
func (o *Origins) allowed(asked string) string {
	allowed := o.Headers
	if len(asked) > headersAskable {
		return allowed
	}
	for name := range strings.SplitSeq(asked, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		if name != "" && isHeaderName(name) && !strings.Contains(o.Headers, name) {
			allowed += ", " + name
		}
	}
	return allowed
}

func isHeaderName(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_' {
			return false
		}
	}
	return true
}
