package server

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// bounded gives a request's body a time until which it must have arrived. net/http reads what a handler
// leaves of a body before it lets the answer go, and by itself it waits for that without end. A handler
// that allows more time sets its own deadline; nobody needs to lift one.
func (s *Server) bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			connection := http.NewResponseController(w)
			_ = connection.SetReadDeadline(time.Now().Add(s.options.BodyTimeout)) // net/http's own can have one
			r = r.WithContext(r.Context())                                        // net/http goes on to look at what its own request has
			r.Body = &body{ReadCloser: r.Body, connection: connection}
		}
		next.ServeHTTP(w, r)
	})
}

// body lifts the connection's deadline at its end: from there on nothing is expected of the client, and
// an answer that takes long must not look like one that is gone.
type body struct {
	io.ReadCloser
	connection *http.ResponseController
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.connection.SetReadDeadline(time.Time{})
	}
	return n, err
}
