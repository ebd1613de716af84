// Package fcm brings notifications to Android devices by Firebase Cloud Messaging, HTTP v1.
//
// See https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages/send and, for the error
// codes, https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode.
package fcm

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"parley/actors/push/delivery"
	eventv1 "parley/proto/event/v1"
)

// accountsMax bounds the service accounts whose access tokens are kept.
const accountsMax = 1024

// Options are where the provider is. Start from DefaultOptions.
type Options struct {
	URL      string // of the service, without a path
	TokenURL string // where access tokens come from (RFC 7523)
	Client   delivery.ClientOptions
	Now      func() time.Time
}

// DefaultOptions name Google's own service.
func DefaultOptions() Options {
	return Options{
		URL: "https://fcm.googleapis.com", TokenURL: "https://oauth2.googleapis.com/token",
		Client: delivery.DefaultClientOptions(), Now: time.Now,
	}
}

// Validate says what is wrong with o.
func (o Options) Validate() error {
	for _, address := range []string{o.URL, o.TokenURL} {
		if u, err := url.Parse(address); err != nil || u.Host == "" {
			return fmt.Errorf("fcm: %q is no address", address)
		}
	}
	return o.Client.Validate()
}

// Sender sends. Safe for concurrent use.
type Sender struct {
	options  Options
	client   *http.Client
	accounts *delivery.Kept[*account]
}

// New makes a Sender. Close ends its connections.
func New(o Options) (*Sender, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.URL = strings.TrimSuffix(o.URL, "/")
	return &Sender{
		options: o, client: delivery.NewClient(o.Client, nil),
		accounts: delivery.NewKept(accountsMax, func(*account) {}),
	}, nil
}

// Close ends the connections that are not in use.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

type message struct {
	Message content `json:"message"`
}

type content struct {
	Token   string            `json:"token"`
	Data    map[string]string `json:"data"`
	Android android           `json:"android"`
}

type android struct {
	Priority string `json:"priority"`
	TTL      string `json:"ttl"`
}

// Send brings n to a device. The error is a delivery.Failure.
func (s *Sender) Send(ctx context.Context, c *eventv1.PushCredential, d *eventv1.Device, n *delivery.Notification) error {
	if c.Kind != eventv1.PushKind_PUSH_KIND_SERVICE_ACCOUNT {
		return delivery.Fail(delivery.Unauthorized, "server keys no longer work at Google; upload the JSON of a service account")
	}
	a := s.accounts.Get(c.Id, func() *account { return newAccount(c.Secret) })
	body, err := json.Marshal(message{content{Token: d.Token, Data: data(n), Android: s.android(n)}})
	if err != nil {
		return delivery.Fail(delivery.Refused, "the notification has no JSON form")
	}
	failure := s.try(ctx, a, body)
	if failure != nil && failure.Verdict == delivery.Unauthorized && failure.Reason == reasonStale {
		failure = s.try(ctx, a, body) // the token was revoked before its time
	}
	if failure != nil {
		return failure
	}
	return nil
}

func data(n *delivery.Notification) map[string]string {
	d := map[string]string{"nexmo": string(n.Payload)}
	if len(n.Event) > 0 {
		d["event"] = string(n.Event)
	}
	return d
}

func (s *Sender) android(n *delivery.Notification) android {
	a := android{Priority: "NORMAL", TTL: fmt.Sprintf("%ds", max(0, int64(n.Expires.Sub(s.options.Now()).Seconds())))}
	if n.Immediate {
		a.Priority = "HIGH"
	}
	return a
}

// reasonStale is an access token that the service does not take.
const reasonStale = "UNAUTHENTICATED"

func (s *Sender) try(ctx context.Context, a *account, body []byte) *delivery.Failure {
	token, failure := s.token(ctx, a)
	if failure != nil {
		return failure
	}
	header := http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}}
	answer, err := delivery.Post(ctx, s.client, s.options.URL+"/v1/projects/"+url.PathEscape(a.project)+"/messages:send", header, body)
	if err != nil {
		return delivery.FailureOf(err)
	}
	if answer.Status == http.StatusOK {
		return nil
	}
	if answer.Status == http.StatusUnauthorized {
		a.forget(token)
	}
	return judge(answer, s.options.Now())
}

// refusal is the error of the service (google.rpc.Status).
type refusal struct {
	Error struct {
		Status  string `json:"status"`
		Details []struct {
			ErrorCode       string `json:"errorCode"`
			FieldViolations []struct {
				Field string `json:"field"`
			} `json:"fieldViolations"`
		} `json:"details"`
	} `json:"error"`
}

// judge classifies a refusal. A bare 404 is not the service's word on a token: a proxy or a wrong
// project says that too, and would take all devices with it. A token of another sender is not dead: the credential may be the one
// that is wrong, and will be put right.
func judge(a delivery.Answer, now time.Time) *delivery.Failure {
	if delivery.Busy(a.Status) {
		return delivery.Later(a.Status, a.Header, now)
	}
	var r refusal
	_ = json.Unmarshal(a.Body, &r) // what is no JSON is judged by its status
	reason, malformed := r.Error.Status, false
	for _, d := range r.Error.Details {
		if d.ErrorCode != "" {
			reason = d.ErrorCode
		}
		for _, v := range d.FieldViolations {
			malformed = malformed || v.Field == "message.token"
		}
	}
	if reason == "" {
		reason = fmt.Sprintf("status %d", a.Status)
	}
	switch {
	case reason == "UNREGISTERED", r.Error.Status == "NOT_FOUND", malformed:
		return delivery.Fail(delivery.Dead, "%s", reason)
	case reason == "SENDER_ID_MISMATCH", a.Status == http.StatusBadRequest:
		return delivery.Fail(delivery.Refused, "%s", reason)
	case a.Status == http.StatusUnauthorized && reason != "THIRD_PARTY_AUTH_ERROR":
		return delivery.Fail(delivery.Unauthorized, reasonStale)
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden:
		return delivery.Fail(delivery.Unauthorized, "%s", reason)
	default:
		return delivery.Fail(delivery.Refused, "%s", reason)
	}
}
