//go:build chaos && linux

package chaos

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"parley/proto/id"
	"parley/test/history"
)

// answerWithin bounds one REST call: a server must answer sooner, with a typed refusal if need be.
const answerWithin = 10 * time.Second

var web = &http.Client{Timeout: answerWithin, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

// refusal is an answer that was not the one wanted.
type refusal struct {
	status int
	Code   string `json:"code"`
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s", r.status, r.Code) }

// ask makes one request. authorize says who asks.
func ask(ctx context.Context, method, address string, body, into any, authorize func(*http.Request)) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(text))
	if err != nil {
		return err
	}
	if body == nil {
		r.Body, r.ContentLength = http.NoBody, 0
	} else {
		r.Header.Set("Content-Type", "application/json")
	}
	authorize(r)
	answer, err := web.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if text, err = io.ReadAll(answer.Body); err != nil {
		return err
	}
	if answer.StatusCode >= http.StatusMultipleChoices {
		refused := &refusal{status: answer.StatusCode}
		_ = json.Unmarshal(text, refused) // whoever is not Parley answers otherwise
		return refused
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// operate asks as the operator.
func operate(r *http.Request) { r.SetBasicAuth(apiKey, apiSecret) }

// get asks a node something as the operator; into nil = only whether it says yes.
func get(address string, into any) error {
	return ask(context.Background(), http.MethodGet, address, nil, into, operate)
}

// tenant is an application with its key.
type tenant struct {
	id    string
	key   *rsa.PrivateKey
	admin string // a token
}

func newTenant(at string) (*tenant, error) {
	var made struct {
		ID   string `json:"id"`
		Keys struct {
			PrivateKey string `json:"private_key"`
		} `json:"keys"`
	}
	if err := insist(at+"/v2/applications", map[string]any{"name": "chaos"}, &made, operate); err != nil {
		return nil, err
	}
	key, err := jwt.ParseRSAPrivateKeyFromPEM([]byte(made.Keys.PrivateKey))
	if err != nil {
		return nil, err
	}
	a := &tenant{id: made.ID, key: key}
	a.admin, err = a.token("")
	return a, err
}

// token signs for a user, or for the application itself.
func (a *tenant) token(user string) (string, error) {
	now := time.Now()
	claims := jwt.MapClaims{"application_id": a.id, "iat": now.Unix(), "exp": now.Add(12 * time.Hour).Unix(), "jti": id.New(""),
		"acl": map[string]any{"paths": map[string]any{"/**": map[string]any{}}}}
	if user != "" {
		claims["sub"] = user
	}
	return jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(a.key)
}

// post makes one thing through a node.
func (a *tenant) post(at, path string, body, into any) error {
	return insist(at+path, body, into, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+a.admin) })
}

// insist makes one thing, and asks again while it may help: the key makes a repetition harmless.
func insist(address string, body, into any, authorize func(*http.Request)) error {
	key := id.New("")
	return again(func() error {
		return ask(context.Background(), http.MethodPost, address, body, into, func(r *http.Request) {
			authorize(r)
			r.Header.Set("Idempotency-Key", key)
		})
	})
}

// again asks again while there is no answer in time, or the answer is that a node could not, or does not know
// whether it did, as happens on a busy machine and while another node begins to lead.
func again(ask func() error) (err error) {
	within(patience, func() bool {
		err = ask()
		var refused *refusal
		passes := errors.Is(err, context.DeadlineExceeded)
		if errors.As(err, &refused) {
			passes = refused.Code == unavailable || refused.Code == unknown
		}
		return !passes
	})
	return err
}

// readAll pages through a conversation as one of its members.
func (a *tenant) readAll(at, conversation, token string) (history.Read, error) {
	read := history.Read{Conversation: conversation, Observer: at}
	path := "/v1/conversations/" + conversation + "/events?page_size=100&order=asc"
	for path != "" {
		var page struct {
			Embedded []struct {
				ID   uint64
				Type string
				Body json.RawMessage
			} `json:"_embedded"`
			Links struct {
				Next struct{ Href string }
			} `json:"_links"`
		}
		err := again(func() error {
			return ask(context.Background(), http.MethodGet, at+path, nil, &page, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
		})
		if err != nil {
			return read, fmt.Errorf("read %s at %s: %w", conversation, at, err)
		}
		for _, e := range page.Embedded {
			read.Events = append(read.Events, seen(e.ID, e.Type, e.Body))
		}
		next, err := url.Parse(page.Links.Next.Href)
		if err != nil {
			return read, err
		}
		path = next.RequestURI()
		if page.Links.Next.Href == "" {
			path = ""
		}
	}
	return read, nil
}

// text is the body of every event that is sent here. What it says names who sent it, where and as
// what, so that a body in the wrong place shows by itself.
type text struct {
	Text string `json:"text"`
}

func says(conversation, user, clientID string) text {
	return text{conversation + "/" + user + "/" + clientID}
}

// seen is an event as the history keeps it.
func seen(sequence uint64, kind string, body []byte) history.Event {
	e := history.Event{Sequence: sequence}
	if kind != "text" {
		return e
	}
	var b text
	err := json.Unmarshal(body, &b)
	parts := strings.SplitN(b.Text, "/", 4) // what comes after the three is padding
	if err != nil || len(parts) < 3 {
		return history.Event{Sequence: sequence, ClientID: "unreadable", Body: string(body)}
	}
	e.User, e.ClientID, e.Body = parts[1], parts[2], b.Text
	return e
}
