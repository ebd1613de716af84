package server

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// behind gives each request the address of the client that a trusted proxy speaks for: without that all clients of a load
// balancer would share one address, and one of them that tries tokens would keep out the others.
func (s *Server) behind(next http.Handler) http.Handler {
	if len(s.options.TrustedProxies) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if client, ok := clientOf(r, s.options.TrustedProxies); ok {
			r = r.WithContext(r.Context()) // net/http goes on to look at its own request
			r.RemoteAddr = net.JoinHostPort(client.String(), "0")
		}
		next.ServeHTTP(w, r)
	})
}

// clientOf reads X-Forwarded-For from its end, where each proxy adds the address that it was asked from: the first
// that is no trusted proxy's is the client's. What stands before it was written by the client itself and counts for
// nothing, nor does the header of anybody who is not trusted; then ok is false.
func clientOf(r *http.Request, trusted []netip.Prefix) (client netip.Addr, ok bool) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !within(trusted, peer.Addr()) {
		return client, false
	}
	client = peer.Addr()
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(hops) {
		hop, ok := parseHop(strings.TrimSpace(text))
		if !ok {
			break
		}
		if client = hop; !within(trusted, hop) {
			break
		}
	}
	return client, true
}

// parseHop takes an address as proxies write it, some of them with the port.
func parseHop(text string) (netip.Addr, bool) {
	if hop, err := netip.ParseAddr(text); err == nil {
		return hop.Unmap().WithZone(""), true
	}
	hop, err := netip.ParseAddrPort(text)
	return hop.Addr().Unmap().WithZone(""), err == nil
}

func within(trusted []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(trusted, func(p netip.Prefix) bool { return p.Contains(a) })
}
