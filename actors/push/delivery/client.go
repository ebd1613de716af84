package delivery

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// ClientOptions are how providers are reached. Start from DefaultClientOptions.
type ClientOptions struct {
	// Timeout bounds one request, from the dial to the last byte of the answer.
	Timeout time.Duration
	// IdleTimeout closes a connection that nothing was sent over for so long.
	IdleTimeout time.Duration
	// ConnectionsMax bounds the connections to one host. Over HTTP/2 one carries many requests.
	ConnectionsMax int
	// RootCAs are whom the providers' certificates must be of; nil = whom the system trusts.
	RootCAs *x509.CertPool
}

// DefaultClientOptions are right for production.
func DefaultClientOptions() ClientOptions {
	return ClientOptions{Timeout: 15 * time.Second, IdleTimeout: 10 * time.Minute, ConnectionsMax: 16}
}

// Validate says what is wrong with o.
func (o ClientOptions) Validate() error {
	if o.Timeout <= 0 || o.IdleTimeout <= 0 || o.ConnectionsMax < 1 {
		return errors.New("client options: timeouts and the limit of connections must be positive")
	}
	return nil
}

// NewClient makes a client that keeps its connections and speaks HTTP/2 where the provider does. It
// follows no redirect: a provider's answer comes from the provider. certificate proves who asks; nil
// for credentials that stand in the request.
func NewClient(o ClientOptions, certificate *tls.Certificate) *http.Client {
	t := &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12}
	if certificate != nil {
		t.Certificates = []tls.Certificate{*certificate}
	}
	return &http.Client{
		Timeout:       o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: o.Timeout}).DialContext,
			TLSClientConfig: t, ForceAttemptHTTP2: true, MaxConnsPerHost: o.ConnectionsMax,
			// A connection that has died without a word must not take the notifications of hours with it.
			HTTP2:               &http.HTTP2Config{SendPingTimeout: o.Timeout, PingTimeout: o.Timeout},
			MaxIdleConnsPerHost: o.ConnectionsMax, IdleConnTimeout: o.IdleTimeout, TLSHandshakeTimeout: o.Timeout,
		},
	}
}

// Answer is what a provider said.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // at most answerBytesMax of it
}

// answerBytesMax is how much of an answer is read: their errors are short.
const answerBytesMax = 16 << 10

// Post sends body and reads the answer. The error is a Failure without the address, which for Web
// Push is a secret of the device.
func Post(ctx context.Context, c *http.Client, address string, header http.Header, body []byte) (Answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return Answer{}, Fail(Refused, "the address is not good")
	}
	r.Header = header
	in, err := c.Do(r)
	if err != nil {
		return Answer{}, unreached(err)
	}
	defer in.Body.Close()
	text, err := io.ReadAll(io.LimitReader(in.Body, answerBytesMax))
	if err != nil {
		return Answer{}, unreached(err)
	}
	return Answer{Status: in.StatusCode, Header: in.Header, Body: text}, nil
}

func unreached(err error) *Failure {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	f := Fail(Retry, "the provider was not reached: %v", err)
	f.NoHost = noHost(err)
	return f
}

// noHost says whether DNS knows no such name. What it says of our own proxy is not meant.
func noHost(err error) bool {
	var dial *net.OpError
	var dns *net.DNSError
	return errors.As(err, &dns) && dns.IsNotFound && !(errors.As(err, &dial) && dial.Op == "proxyconnect")
}
