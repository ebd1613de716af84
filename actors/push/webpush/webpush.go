// Package webpush brings notifications to browsers by Web Push: the protocol of RFC 8030, encrypted by
// RFC 8291, with the application named by RFC 8292 (VAPID).
package webpush

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"parley/actors/push/delivery"
	eventv1 "parley/proto/event/v1"
)

// keysMax bounds the applications whose keys are kept.
const keysMax = 1024

// Options are which push services are trusted. Start from DefaultOptions.
type Options struct {
	// Hosts are the push services that a subscription may name: a host, with its port unless that is
	// 443, or .domain for all below it. A subscription comes from a client; without this list the
	// node would send requests wherever a client says.
	Hosts  []string
	Client delivery.ClientOptions
	Now    func() time.Time
}

// DefaultOptions name the services of the large browsers: Chrome, Firefox, Safari, Edge.
func DefaultOptions() Options {
	return Options{
		Hosts:  []string{"fcm.googleapis.com", ".push.services.mozilla.com", ".push.apple.com", ".notify.windows.com"},
		Client: delivery.DefaultClientOptions(), Now: time.Now,
	}
}

// Validate says what is wrong with o.
func (o Options) Validate() error {
	for _, h := range o.Hosts {
		if name := strings.TrimPrefix(h, "."); name == "" || strings.ContainsAny(name, "*/@ ") {
			return fmt.Errorf("webpush: %q is no host: a host name, or .domain for all below it", h)
		}
	}
	return o.Client.Validate()
}

// Sender sends. Safe for concurrent use.
type Sender struct {
	options Options
	client  *http.Client
	keys    *delivery.Kept[*key]
}

// New makes a Sender. Close ends its connections.
func New(o Options) (*Sender, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return &Sender{options: o, client: delivery.NewClient(o.Client, nil), keys: delivery.NewKept(keysMax, func(*key) {})}, nil
}

// Close ends the connections that are not in use.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

// Send brings n to a browser. The error is a delivery.Failure.
func (s *Sender) Send(ctx context.Context, c *eventv1.PushCredential, d *eventv1.Device, n *delivery.Notification) error {
	endpoint, err := url.Parse(d.Token)
	if err != nil || endpoint.Scheme != "https" || !s.trusts(endpoint) {
		return delivery.Fail(delivery.Refused, "the subscription's push service is not one of those allowed")
	}
	k := s.keys.Get(c.Id, func() *key { return newKey(c) })
	proof, failure := k.proof(endpoint, s.options.Now())
	if failure != nil {
		return failure
	}
	body, err := sealed(n.Payload, d)
	if err != nil {
		return delivery.Fail(delivery.Refused, "%v", err)
	}
	header := http.Header{
		"Authorization": {proof}, "Content-Encoding": {"aes128gcm"}, "Content-Type": {"application/octet-stream"},
		"Ttl": {strconv.FormatInt(max(0, int64(n.Expires.Sub(s.options.Now()).Seconds())), 10)}, "Urgency": {urgency(n)}, "Topic": {n.CollapseID},
	}
	answer, err := delivery.Post(ctx, s.client, d.Token, header, body)
	if err != nil {
		return unsent(delivery.FailureOf(err))
	}
	if failure := judge(answer, s.options.Now()); failure != nil {
		return failure
	}
	return nil
}

// trusts says whether a subscription's push service is one of Hosts.
func (s *Sender) trusts(u *url.URL) bool {
	host := strings.ToLower(u.Host)
	if u.Port() == "443" {
		host = strings.ToLower(u.Hostname())
	}
	for _, h := range s.options.Hosts {
		h = strings.ToLower(h)
		if host == h || strings.HasPrefix(h, ".") && strings.HasSuffix(host, h) {
			return true
		}
	}
	return false
}

// urgency is the header of RFC 8030, 5.3.
func urgency(n *delivery.Notification) string {
	if n.Immediate {
		return "high"
	}
	return "normal"
}

// sealed encrypts the notification with a key and a salt that are used once.
func sealed(payload []byte, d *eventv1.Device) ([]byte, error) {
	sender, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, errors.New("no key could be made")
	}
	var salt [saltBytes]byte
	_, _ = rand.Read(salt[:]) // never fails
	text := append([]byte(`{"nexmo":`), payload...)
	return seal(append(text, '}'), d.P256Dh, d.Auth, sender, salt)
}

// unsent is the failure of a message that got no answer. The address is the client's own word: a host
// that does not exist is not worth another attempt.
func unsent(f *delivery.Failure) *delivery.Failure {
	if f.NoHost {
		f.Verdict = delivery.Refused
	}
	return f
}

// judge classifies an answer; nil for one that took the message. A push service that does not accept
// our proof says so of one subscription, which may have been made for another key (RFC 8292, 4.2):
// that is no word on the credential.
func judge(a delivery.Answer, now time.Time) *delivery.Failure {
	reason := fmt.Sprintf("status %d", a.Status)
	switch {
	case a.Status >= 200 && a.Status < 300:
		return nil
	case a.Status == http.StatusNotFound, a.Status == http.StatusGone:
		return delivery.Fail(delivery.Dead, "%s", reason)
	case delivery.Busy(a.Status):
		return delivery.Later(a.Status, a.Header, now)
	default:
		return delivery.Fail(delivery.Refused, "%s", reason)
	}
}
