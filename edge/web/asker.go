package web

import (
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/http"
	"strings"

	"parley/proto/code"
)

// BearerToken takes the token out of the Authorization header (RFC 6750 section 2.1). Nothing else
// carries one. Without it the error is code.MissingToken, for another scheme code.InvalidToken.
func BearerToken(r *http.Request) (string, error) {
	header := r.Header.Get("Authorization")
	scheme, token, _ := strings.Cut(header, " ")
	switch {
	case header == "":
		return "", code.New(code.MissingToken, "A bearer token is needed: Authorization: Bearer <jwt>.")
	case !strings.EqualFold(scheme, "Bearer"):
		return "", code.New(code.InvalidToken, "The Authorization header must have the scheme Bearer.")
	}
	return strings.TrimSpace(token), nil
}

// RemoteAddress is the address that guesses are counted for: the peer's, or the client's where edge/server knows the
// peer for a load balancer; never what anybody else's header says.
func RemoteAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// NewRequestID names a request, in its answer and in the log: 32 hex digits.
func NewRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
