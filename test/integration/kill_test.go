//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley/test/history"
)

const (
	rounds        = 20
	conversations = 20
	senders       = 200 // ten in each conversation

	retriesMax = 10 // a node that has just started, on a busy machine, may say that it does not know in time
)

// TestNothingAcknowledgedIsLostByKill sends from 200 concurrent clients, kills the node with
// SIGKILL after a random number of acknowledgements, starts it again, retries half of what had no
// answer under the same client ids, and reads everything back. Twenty rounds on one data directory.
func TestNothingAcknowledgedIsLostByKill(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	node := start(t, dir)
	w := newWorkload(t, node)
	for round := range rounds {
		w.sendUntilKilled(t, round, node, 300+rng.Int64N(1500))
		node = start(t, dir)
		w.moveTo(node)
		w.retryUnknown(t)
		w.read(t)
		if violations := history.Check(w.history); len(violations) > 0 {
			t.Fatalf("round %d, seed %d: %d violations, first: %v", round, seed, len(violations), violations[0])
		}
		w.history.Reads = nil // the next round reads everything again
	}
	acked := 0
	for _, s := range w.history.Sends {
		if s.Outcome == history.Committed {
			acked++
		}
	}
	t.Logf("%d rounds, %d sends, %d acknowledged, 0 lost, 0 duplicated, 0 holes", rounds, len(w.history.Sends), acked)
	if code := node.terminate(); code != 0 {
		t.Errorf("SIGTERM ended with exit code %d:\n%s", code, node.output)
	}
}

// sender is one user posting to one conversation.
type sender struct {
	caller
	user         string
	conversation string
}

type workload struct {
	app     application
	ids     []string // of the conversations
	senders []*sender
	clock   atomic.Int64

	mu      sync.Mutex // guards history
	history history.History
}

func newWorkload(t *testing.T, node *process) *workload {
	w := &workload{app: newApplication(t, node.url)}
	transport := &http.Transport{MaxIdleConnsPerHost: senders, MaxConnsPerHost: senders}
	client := &http.Client{Transport: transport}
	t.Cleanup(transport.CloseIdleConnections)
	admin := caller{client, node.url, w.app.token(t, "")}
	for range conversations {
		var made struct{ ID string }
		admin.must(t, http.MethodPost, "/v1/conversations", nil, http.StatusCreated, &made)
		w.ids = append(w.ids, made.ID)
	}
	for i := range senders {
		s := &sender{user: fmt.Sprintf("user-%d", i), conversation: w.ids[i%conversations]}
		admin.must(t, http.MethodPost, "/v1/users", map[string]any{"name": s.user}, http.StatusCreated, nil)
		s.caller = caller{client, node.url, w.app.token(t, s.user)}
		s.must(t, http.MethodPost, "/v1/conversations/"+s.conversation+"/members",
			map[string]any{"state": "joined", "user": map[string]any{"name": s.user}, "channel": map[string]any{"type": "app"}},
			http.StatusCreated, nil)
		w.senders = append(w.senders, s)
	}
	return w
}

func (w *workload) moveTo(node *process) {
	for _, s := range w.senders {
		s.base = node.url
	}
}

// sendUntilKilled lets all senders send, one event at a time each, and kills the node after
// killAfter acknowledgements. Senders end at their first error.
func (w *workload) sendUntilKilled(t *testing.T, round int, node *process, killAfter int64) {
	t.Helper()
	var acked atomic.Int64
	var all sync.WaitGroup
	for _, s := range w.senders {
		all.Go(func() {
			for n := 0; ; n++ {
				outcome := w.send(s, fmt.Sprintf("%d-%d", round, n))
				if outcome != history.Committed {
					return
				}
				if acked.Add(1) == killAfter {
					node.kill()
				}
			}
		})
	}
	all.Wait()
	if acked.Load() < killAfter {
		t.Fatalf("round %d: every sender failed after %d acknowledgements, before the kill:\n%s", round, acked.Load(), node.output)
	}
}

func (w *workload) send(s *sender, clientID string) history.Outcome {
	attempt := history.Send{Conversation: s.conversation, User: s.user, ClientID: clientID,
		Body: s.conversation + "/" + s.user + "/" + clientID, Began: w.clock.Add(1)}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var made struct{ ID uint64 }
	err := s.call(ctx, http.MethodPost, "/v1/conversations/"+s.conversation+"/events", clientID,
		map[string]any{"type": "text", "body": map[string]any{"text": attempt.Body}}, http.StatusCreated, &made)
	var refusal *status
	switch {
	case err == nil:
		attempt.Outcome, attempt.Sequence = history.Committed, made.ID
	case errors.As(err, &refusal) && refusal.code < 500:
		attempt.Outcome = history.Refused
	default:
		attempt.Outcome = history.Unknown
	}
	attempt.Ended = w.clock.Add(1)
	w.mu.Lock()
	w.history.Sends = append(w.history.Sends, attempt)
	w.mu.Unlock()
	return attempt.Outcome
}

// retryUnknown sends half of what had no answer again: under the same client id it must get the
// first result, or happen now, but once.
func (w *workload) retryUnknown(t *testing.T) {
	t.Helper()
	settled := map[string]bool{}
	var unknown []history.Send
	for _, s := range w.history.Sends {
		switch s.Outcome {
		case history.Committed:
			settled[s.Body] = true
		case history.Unknown:
			unknown = append(unknown, s)
		case history.Refused:
			t.Fatalf("a send was refused: %+v", s)
		}
	}
	byUser := map[string]*sender{}
	for _, s := range w.senders {
		byUser[s.user] = s
	}
	for i, s := range unknown {
		if i%2 == 0 || settled[s.Body] {
			continue
		}
		outcome := history.Unknown
		for tries := 0; outcome == history.Unknown && tries < retriesMax; tries++ {
			outcome = w.send(byUser[s.User], s.ClientID)
		}
		if outcome != history.Committed {
			t.Fatalf("retry of %s ended as %d", s.Body, outcome)
		}
	}
}

// read pages through every conversation as its first member.
func (w *workload) read(t *testing.T) {
	t.Helper()
	for i, id := range w.ids {
		w.history.Reads = append(w.history.Reads, w.senders[i].readAll(t, id))
	}
}

func (s *sender) readAll(t *testing.T, conversation string) history.Read {
	t.Helper()
	read := history.Read{Conversation: conversation, Observer: s.user}
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
		s.must(t, http.MethodGet, path, nil, http.StatusOK, &page)
		for _, e := range page.Embedded {
			read.Events = append(read.Events, observed(t, e.ID, e.Type, e.Body))
		}
		path = relative(t, page.Links.Next.Href)
	}
	return read
}

func observed(t *testing.T, sequence uint64, kind string, body json.RawMessage) history.Event {
	e := history.Event{Sequence: sequence}
	if kind != "text" {
		return e
	}
	var b struct{ Text string }
	if err := json.Unmarshal(body, &b); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(b.Text, "/")
	if len(parts) != 3 {
		t.Fatalf("event %d has the body %s", sequence, body)
	}
	e.User, e.ClientID, e.Body = parts[1], parts[2], b.Text
	return e
}

func relative(t *testing.T, href string) string {
	if href == "" {
		return ""
	}
	u, err := url.Parse(href)
	if err != nil {
		t.Fatal(err)
	}
	return u.RequestURI()
}
