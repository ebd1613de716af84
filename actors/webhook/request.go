package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"parley/actors/outbox"
	"parley/internal/guard"
	"parley/internal/retryafter"
	nodev1 "parley/proto/node/v1"
)

const (
	userAgent = "Parley-Webhook/1"
	// answerBytesMax is how much of an answer is read, so that its connection can be used again.
	answerBytesMax = 4 << 10
	// headerBytesMax bounds the header of an answer.
	headerBytesMax = 16 << 10
	idleMax        = 256
	idlePerHostMax = 8
	idleFor        = 90 * time.Second
)

// newClient makes a client that reaches only what the guard lets it, by no proxy, and follows no
// redirect.
func newClient(o Options) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: o.Guard.DialContext, ForceAttemptHTTP2: true, DisableCompression: true,
			TLSHandshakeTimeout: o.Timeout, ResponseHeaderTimeout: o.Timeout, MaxResponseHeaderBytes: headerBytesMax,
			MaxIdleConns: idleMax, MaxIdleConnsPerHost: idlePerHostMax, IdleConnTimeout: idleFor,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// deliveryID names a delivery, the same at each attempt: receivers know by it what they have seen.
func deliveryID(r *nodev1.OutboxRow) string {
	return r.SourceId + ":" + strconv.FormatUint(r.GetCommand().GetDeliverEvent().GetSequence(), 10) + ":" + r.TargetId
}

// request renders and signs one attempt.
func (s *Sink) request(ctx context.Context, d outbox.Delivery, h *hook, v *nodev1.EventView) (*http.Request, error) {
	p := payloadOf(d.Row.ApplicationId, d.Row.SourceId, v)
	u, method := *h.url, http.MethodPost
	var signed []byte
	var body io.Reader
	if strings.EqualFold(h.method, http.MethodGet) {
		method, u.RawQuery = http.MethodGet, p.query(h.url)
		signed = []byte(u.RawQuery)
	} else {
		var err error
		if signed, err = p.json(); err != nil {
			return nil, err
		}
		body = bytes.NewReader(signed)
	}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, errors.New("the webhook's address makes no request")
	}
	now, id := time.Now(), deliveryID(d.Row)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("User-Agent", userAgent)
	r.Header.Set("Webhook-Id", id)
	r.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	if signature := signatures(h.application.WebhookSecrets, id, now, signed); signature != "" {
		r.Header.Set("Webhook-Signature", signature)
	}
	r.Header.Set("Parley-Attempt", strconv.Itoa(d.Attempt))
	return r, nil
}

// judge says what an answer means. Errors are told without the URL, which may hold a secret.
func judge(r *http.Response, err error) (verdict, outcome) {
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		switch {
		case errors.Is(err, guard.ErrRefused):
			return verdict{err: err, host: failing}, outcomeRefused
		case errors.Is(err, context.DeadlineExceeded):
			return verdict{err: errors.New("no answer came in time"), host: failing}, outcomeTimeout
		}
		return verdict{err: err, host: failing}, outcomeUnreachable
	}
	defer r.Body.Close()
	_, _ = io.CopyN(io.Discard, r.Body, answerBytesMax) // only for the connection's sake
	if r.StatusCode >= 200 && r.StatusCode < 300 {
		return verdict{host: working}, outcomeDelivered
	}
	f := &outbox.Failure{Err: fmt.Errorf("the webhook answered with status %d", r.StatusCode)}
	v := verdict{err: f, host: working}
	if r.StatusCode >= 500 || r.StatusCode == http.StatusTooManyRequests {
		v.host = failing
	}
	switch r.StatusCode {
	case http.StatusGone:
		f.Final = true
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		f.After = retryafter.Read(r.Header, time.Now(), retryAfterMax)
		v.after = f.After
	}
	return v, outcomeStatus
}

// retryAfterMax is how long a webhook may ask to be left alone.
const retryAfterMax = 10 * time.Minute
