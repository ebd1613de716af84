// Package apns brings notifications to Apple devices by the Apple Push Notification service.
//
// See https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
// and, for the answers, .../handling-notification-responses-from-apns.
package apns

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"parley/actors/push/delivery"
	eventv1 "parley/proto/event/v1"
)

const (
	// keysMax bounds the credentials whose keys, tokens and connections are kept.
	keysMax = 256
	sandbox = "sandbox"
)

// Options are where the provider is. Start from DefaultOptions.
type Options struct {
	URL        string // of the production environment, without a path
	SandboxURL string // of the development environment
	Client     delivery.ClientOptions
	Now        func() time.Time
}

// DefaultOptions name Apple's own service.
func DefaultOptions() Options {
	return Options{
		URL: "https://api.push.apple.com", SandboxURL: "https://api.sandbox.push.apple.com",
		Client: delivery.DefaultClientOptions(), Now: time.Now,
	}
}

// Validate says what is wrong with o.
func (o Options) Validate() error {
	for _, address := range []string{o.URL, o.SandboxURL} {
		if u, err := url.Parse(address); err != nil || u.Host == "" {
			return fmt.Errorf("apns: %q is no address", address)
		}
	}
	return o.Client.Validate()
}

// Sender sends. Safe for concurrent use.
type Sender struct {
	options Options
	client  *http.Client // of all that prove themselves by tokens
	keys    *delivery.Kept[*key]
}

// New makes a Sender. Close ends its connections.
func New(o Options) (*Sender, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.URL, o.SandboxURL = strings.TrimSuffix(o.URL, "/"), strings.TrimSuffix(o.SandboxURL, "/")
	return &Sender{options: o, client: delivery.NewClient(o.Client, nil), keys: delivery.NewKept(keysMax, (*key).close)}, nil
}

// Close ends the connections that are not in use.
func (s *Sender) Close() {
	s.keys.Close()
	s.client.CloseIdleConnections()
}

// payload is a notification that wakes the app and shows nothing: what is shown is the app's to say.
type payload struct {
	Aps struct {
		ContentAvailable int `json:"content-available"`
	} `json:"aps"`
	Nexmo json.RawMessage `json:"nexmo"`
}

// Send brings n to a device. The error is a delivery.Failure.
func (s *Sender) Send(ctx context.Context, c *eventv1.PushCredential, d *eventv1.Device, n *delivery.Notification) error {
	k := s.keys.Get(c.Id, func() *key { return &key{credential: c} })
	client, failure := s.clientOf(k)
	if failure != nil {
		return failure
	}
	body := payload{Nexmo: n.Payload}
	body.Aps.ContentAvailable = 1
	text, err := json.Marshal(body)
	if err != nil {
		return delivery.Fail(delivery.Refused, "the notification has no JSON form")
	}
	header, failure := s.header(k, d, n)
	if failure != nil {
		return failure
	}
	base := s.options.URL
	if d.Environment == sandbox || d.Environment == "" && c.Sandbox {
		base = s.options.SandboxURL
	}
	answer, err := delivery.Post(ctx, client, base+"/3/device/"+url.PathEscape(d.Token), header, text)
	if err != nil {
		return delivery.FailureOf(err)
	}
	if answer.Status == http.StatusOK {
		return nil
	}
	failure = blame(judge(answer, s.options.Now()), d)
	if failure.Reason == reasonStale {
		k.forget()
	}
	return failure
}

// header says who sends, to which app, and how urgent it is. A notification that shows nothing is of
// the background kind, which Apple takes at priority 5 alone.
func (s *Sender) header(k *key, d *eventv1.Device, n *delivery.Notification) (http.Header, *delivery.Failure) {
	topic := k.topic(d)
	if topic == "" {
		return nil, delivery.Fail(delivery.Refused, "neither credential nor device name the app (topic, bundle_id)")
	}
	h := http.Header{
		"Content-Type": {"application/json"}, "Apns-Topic": {topic}, "Apns-Push-Type": {"background"}, "Apns-Priority": {"5"},
		"Apns-Expiration": {strconv.FormatInt(n.Expires.Unix(), 10)}, "Apns-Collapse-Id": {n.CollapseID},
	}
	token, failure := k.token(s.options.Now())
	if token != "" {
		h.Set("Authorization", "bearer "+token)
	}
	return h, failure
}

// reasonStale is a provider token of ours that is too old, as seen by Apple's clock: the next attempt
// brings a new one.
const reasonStale = "ExpiredProviderToken"

// blame takes from the credential what one device brought about: a token of another app, and a topic
// or an environment that the device chose.
func blame(f *delivery.Failure, d *eventv1.Device) *delivery.Failure {
	own := f.Reason == "DeviceTokenNotForTopic" ||
		d.Topic != "" && strings.Contains(f.Reason, "Topic") ||
		d.Environment != "" && strings.Contains(f.Reason, "Environment")
	if own && f.Verdict == delivery.Unauthorized {
		f.Verdict = delivery.Refused
	}
	return f
}

// judge classifies a refusal.
func judge(a delivery.Answer, now time.Time) *delivery.Failure {
	var refusal struct {
		Reason string `json:"reason"`
	}
	_ = json.Unmarshal(a.Body, &refusal) // what is no JSON is judged by its status
	reason := refusal.Reason
	if reason == "" {
		reason = fmt.Sprintf("status %d", a.Status)
	}
	switch {
	case a.Status == http.StatusGone, reason == "BadDeviceToken", reason == "Unregistered", reason == "ExpiredToken":
		return delivery.Fail(delivery.Dead, "%s", reason)
	case reason == reasonStale:
		return delivery.Fail(delivery.Retry, "%s", reason)
	case delivery.Busy(a.Status):
		f := delivery.Later(a.Status, a.Header, now)
		f.Reason = reason
		return f
	case a.Status == http.StatusForbidden, strings.Contains(reason, "Topic"), strings.HasPrefix(reason, "BadCertificate"):
		return delivery.Fail(delivery.Unauthorized, "%s", reason)
	default:
		return delivery.Fail(delivery.Refused, "%s", reason)
	}
}
