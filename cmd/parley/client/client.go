// Package client is what the commands need to speak with a running node: REST calls with their
// errors sorted by what the caller can do about them, tokens, and the files that keep credentials.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"parley/internal/retryafter"
)

// replyBytesMax bounds what is read of one answer.
const replyBytesMax = 16 << 20

// requestTimeout bounds one call. A node answers or refuses well within it.
const requestTimeout = 30 * time.Second

// ErrUnreachable says that no node answered: the request may be repeated elsewhere.
var ErrUnreachable = errors.New("not reachable")

// ErrRefused says that the credentials or the token were not accepted.
var ErrRefused = errors.New("not authorized")

// Refusal is a node's coded answer to a request it did not carry out. It matches ErrRefused when
// the reason is who asks.
type Refusal struct {
	Status int
	Code   string // "conversation:error:not-found", …; empty when the answer carried none
	Detail string
	// RetryAfter is how long the node wants to be left alone; 0 = it does not say.
	RetryAfter time.Duration
}

// Error tells the node's own words first.
func (r *Refusal) Error() string {
	text := r.Detail
	if text == "" {
		text = http.StatusText(r.Status)
	}
	if r.Code != "" {
		text += " (" + r.Code + ")"
	}
	return text
}

// Is matches ErrRefused for 401 and 403.
func (r *Refusal) Is(target error) bool {
	return target == ErrRefused && (r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden)
}

// Client speaks with one node. It is safe for concurrent use.
type Client struct {
	base *url.URL
	http *http.Client
}

// New makes a client for the node at base, for example http://127.0.0.1:4280.
func New(base string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("url %q: must look like http://127.0.0.1:4280", base)
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return &Client{base: u, http: &http.Client{Timeout: requestTimeout}}, nil
}

// URL of a path on the node.
func (c *Client) URL(path string) string { return c.base.String() + path }

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Authorization is the value of the header of that name.
type Authorization string

// Bearer authorizes with a token.
func Bearer(token string) Authorization { return Authorization("Bearer " + token) }

// Basic authorizes with an API key and its secret.
func Basic(key, secret string) Authorization {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(key, secret)
	return Authorization(r.Header.Get("Authorization"))
}

// Call sends in as JSON (nil = no body) and decodes the answer into out (nil = dropped).
func (c *Client) Call(ctx context.Context, auth Authorization, method, path string, in, out any) error {
	request, err := c.request(ctx, auth, method, path, in)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return c.unanswered(ctx, cause(err))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, replyBytesMax))
	if err != nil {
		return c.unanswered(ctx, "the answer broke off: "+cause(err))
	}
	if response.StatusCode/100 != 2 {
		r := refusal(response.StatusCode, body)
		r.RetryAfter = retryafter.Read(response.Header, time.Now(), retryAfterMax)
		return r
	}
	if out == nil || len(body) == 0 {
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("%s %s: the answer is not what a Parley node sends: %w", method, c.URL(path), err)
	}
	return nil
}

// unanswered is why a call has no answer. Who interrupted it has learned nothing about the node.
func (c *Client) unanswered(ctx context.Context, why string) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%s: interrupted before it answered: %w", c.base, ctx.Err())
	}
	return fmt.Errorf("%s: %w: %s", c.base, ErrUnreachable, why)
}

func (c *Client) request(ctx context.Context, auth Authorization, method, path string, in any) (*http.Request, error) {
	var body io.Reader
	if in != nil {
		encoded, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.URL(path), body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if in != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if auth != "" {
		request.Header.Set("Authorization", string(auth))
	}
	return request, nil
}

// cause is the innermost words of a transport error: the outer ones repeat the address.
func cause(err error) string {
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return "no answer in time"
	}
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	return err.Error()
}

// retryAfterMax bounds what a node may ask for.
const retryAfterMax = time.Hour

// refusal understands the error formats of all generations of the API.
func refusal(status int, body []byte) *Refusal {
	var e struct {
		Code        string
		Type        string
		Title       string
		Detail      string
		Description string
		Invalid     []struct{ Name, Reason string } `json:"invalid_parameters"`
		Validation  map[string][]string
	}
	r := &Refusal{Status: status}
	if json.Unmarshal(body, &e) != nil {
		return r
	}
	r.Code, r.Detail = e.Code, first(e.Detail, e.Description, e.Title)
	for _, f := range e.Invalid {
		r.Detail += fmt.Sprintf(" %s: %s.", f.Name, f.Reason)
	}
	for name, reasons := range e.Validation {
		r.Detail += fmt.Sprintf(" %s: %s.", name, strings.Join(reasons, ", "))
	}
	return r
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
