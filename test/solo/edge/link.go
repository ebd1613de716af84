package edge

import (
	"context"
	"net"
	"net/http"
	"testing"
)

// ThinLink gives an HTTP client like a phone on a thin link: its system takes little at a time.
func ThinLink(t testing.TB, readBufferBytes int) *http.Client {
	dialer := net.Dialer{}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return c, c.(*net.TCPConn).SetReadBuffer(readBufferBytes)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
