package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"parley/cmd/parley/client"
	"parley/cmd/parley/export"
	"parley/edge/limit"
)

const (
	// importTries bounds the attempts of one request, and importPauseMax the wait between two of them: a
	// node that restarts is waited for.
	importTries    = 8
	importPauseMax = 10 * time.Second
	// importTokenLife is how long a token is used before the next is made.
	importTokenLife = 5 * time.Minute
	// importBatch, importBytes and importMembers bound one request, below what a node takes.
	importBatch   = 100
	importBytes   = 128 << 10
	importMembers = limit.JSONMembers - 64
)

// importer sends an export to a node. All that it sends may be sent again.
type importer struct {
	node        *client.Client
	application client.Application
	now         func() time.Time
	limit       *rate.Limiter
	journal     *journal
	progress    *progress

	mu    sync.Mutex // guards what follows
	token client.Authorization
	made  time.Time
}

// importState is how far a node has a conversation.
type importState struct {
	State          string
	SequenceNumber uint64 `json:"sequence_number"`
	Members        uint64
}

func (s *importer) user(ctx context.Context, u *export.User) error {
	if s.journal.has(u.ID) {
		s.progress.skip(export.Counts{Users: 1})
		return nil
	}
	if err := s.send(ctx, http.MethodPut, "/v1/import/users/"+u.ID, u, nil); err != nil {
		return fmt.Errorf("user %s: %w", u.ID, err)
	}
	s.progress.add(export.Counts{Users: 1})
	return s.journal.note(u.ID)
}

// conversation brings one conversation, or the rest of it. The node knows how far it is.
func (s *importer) conversation(ctx context.Context, c *export.Conversation) error {
	if s.journal.has(c.ID) {
		s.progress.skip(c.Count())
		return nil
	}
	if err := s.bring(ctx, c); err != nil {
		return fmt.Errorf("conversation %s: %w", c.ID, err)
	}
	return s.journal.note(c.ID)
}

func (s *importer) bring(ctx context.Context, c *export.Conversation) error {
	path := "/v1/import/conversations/" + c.ID
	var at importState
	if err := s.send(ctx, http.MethodPut, path, c, &at); err != nil {
		return err
	}
	if at.State == "ACTIVE" {
		s.progress.skip(c.Count())
		return nil
	}
	events, err := c.Events()
	if err != nil {
		return err
	}
	if at.Members < uint64(len(c.Members())) {
		// All of them: the node compares what it has already.
		err := batches(c.Members(), func(members []json.RawMessage) error {
			return s.append(ctx, path+"/members", "members", members, &at)
		})
		if err != nil {
			return err
		}
	}
	s.progress.add(export.Counts{Members: len(c.Members())})
	from := min(at.SequenceNumber, uint64(len(events)))
	s.progress.skip(export.Counts{Events: int(from)})
	err = batches(events[from:], func(events []json.RawMessage) error {
		return s.append(ctx, path+"/events", "events", events, &at)
	})
	if err != nil {
		return err
	}
	finish := map[string]int{"sequence_number": len(events), "members": len(c.Members())}
	if err := s.send(ctx, http.MethodPost, path+"/finish", finish, &at); err != nil {
		return err
	}
	s.progress.add(export.Counts{Conversations: 1})
	return nil
}

func (s *importer) append(ctx context.Context, path, name string, all []json.RawMessage, at *importState) error {
	if err := s.send(ctx, http.MethodPost, path, map[string]any{name: all}, at); err != nil {
		return err
	}
	if name == "events" {
		s.progress.add(export.Counts{Events: len(all)})
	}
	return nil
}

// batches cuts a list into requests.
func batches[T any](all []T, send func([]json.RawMessage) error) error {
	var batch []json.RawMessage
	size, members := 0, 0
	for _, one := range all {
		raw, err := json.Marshal(one)
		if err != nil {
			return fmt.Errorf("encode: %w", err)
		}
		// Each comma and bracket begins at most one member or element.
		inside := bytes.Count(raw, []byte(",")) + bytes.Count(raw, []byte("{")) + bytes.Count(raw, []byte("["))
		if len(batch) == importBatch || len(batch) > 0 && (size+len(raw) > importBytes || members+inside > importMembers) {
			if err := send(batch); err != nil {
				return err
			}
			batch, size, members = nil, 0, 0
		}
		batch, size, members = append(batch, raw), size+len(raw), members+inside
	}
	if len(batch) == 0 {
		return nil
	}
	return send(batch)
}

// send makes one request, again and again while the node is away, has enough to do, or can not say what
// became of it.
func (s *importer) send(ctx context.Context, method, path string, in, out any) error {
	pause := 100 * time.Millisecond
	for tried := 1; ; tried++ {
		if err := s.limit.Wait(ctx); err != nil {
			return context.Cause(ctx)
		}
		auth, err := s.authorization()
		if err != nil {
			return err
		}
		err = s.node.Call(ctx, auth, method, path, in, out)
		wait, again := retry(err, pause)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !again || tried == importTries {
			return err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		pause = min(2*pause, importPauseMax)
	}
}

// retry says whether an error may pass, and how long to wait for that.
func retry(err error, pause time.Duration) (time.Duration, bool) {
	var r *client.Refusal
	switch {
	case errors.Is(err, client.ErrUnreachable):
		return pause, true
	case !errors.As(err, &r):
		return 0, false
	case r.Status == http.StatusTooManyRequests, r.Status == http.StatusServiceUnavailable, r.Status == http.StatusBadGateway,
		r.Status == http.StatusInsufficientStorage: // a full disk may be given space
		return max(pause, r.RetryAfter), true
	}
	return 0, false
}

func (s *importer) authorization() (client.Authorization, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.token != "" && now.Sub(s.made) < importTokenLife {
		return s.token, nil
	}
	token, err := s.application.AdminToken(now)
	if err != nil {
		return "", fmt.Errorf("application %s: %w", s.application.ID, err)
	}
	s.token, s.made = client.Bearer(token), now
	return s.token, nil
}
