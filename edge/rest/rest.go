// Package rest is the HTTP side of the Conversation API.
//
// One table of operations (table.go) says everything that is served: method, path, generation,
// who may ask, what goes in and what comes out. Routing, CORS, 405 answers, the access list
// check, the OpenAPI document and the contract tests are all made from it. A generation of the
// API is a column of that table: it shares how input is read and what is asked of the cluster,
// and differs in how things and errors are rendered.
package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/actors/api"
	"parley/edge/auth"
	"parley/edge/docs"
	"parley/edge/limit"
	"parley/internal/guard"
	nodev1 "parley/proto/node/v1"
)

// Sessions knows who is connected.
type Sessions interface {
	// Sessions gives the ids (SES-…) of a user's live sessions, oldest first.
	Sessions(ctx context.Context, application, userID string) ([]string, error)
}

// Refresher gives live sessions newer tokens.
type Refresher interface {
	// RenewSession lets a live session go on with another token of its user: from now on its rights
	// and its end are the token's. A session that is unknown, or another user's, is
	// code.SessionNotFound.
	RenewSession(ctx context.Context, r *nodev1.RenewSession) error
}

// Options are the tunables of a Handler. Start from DefaultOptions.
type Options struct {
	BodyBytesMax   int64         // a larger request body is 413
	RequestTimeout time.Duration // from the first header byte to the answer of the cluster
	BodyTimeout    time.Duration // for the body to arrive
	JSONDepth      int           // a body that nests deeper is 400
	JSONMembers    int           // a body with more members and elements is 400
	EventBytesMax  int           // events of one answer; the following ones are on the next page
	Now            func() time.Time
	Logger         *slog.Logger
	Registerer     prometheus.Registerer
}

// DefaultOptions are right for production.
func DefaultOptions() Options {
	return Options{
		BodyBytesMax:   256 << 10,
		RequestTimeout: 10 * time.Second,
		BodyTimeout:    10 * time.Second,
		JSONDepth:      limit.JSONDepth,
		JSONMembers:    limit.JSONMembers,
		EventBytesMax:  8 << 20,
		Now:            time.Now,
		Logger:         slog.New(slog.DiscardHandler),
		Registerer:     prometheus.NewRegistry(),
	}
}

// Validate says what is wrong with o.
func (o Options) Validate() error {
	switch {
	case o.BodyBytesMax < 1<<10:
		return fmt.Errorf("BodyBytesMax %d: at least 1024", o.BodyBytesMax)
	case o.RequestTimeout <= 0 || o.BodyTimeout <= 0:
		return errors.New("RequestTimeout and BodyTimeout must be positive")
	case o.JSONDepth < 4 || o.JSONMembers < 16 || o.EventBytesMax < 64<<10:
		return errors.New("JSONDepth at least 4, JSONMembers at least 16, EventBytesMax at least 65536")
	case o.Now == nil || o.Logger == nil || o.Registerer == nil:
		return errors.New("Now, Logger and Registerer are needed")
	}
	return nil
}

// Targets judges the URLs that events are to be told to; *guard.Guard is one.
type Targets interface {
	// Check says why a URL can never be the target of a request, as far as that can be seen without
	// resolving its host. The error is worded for the caller, to stand behind "is".
	Check(raw string) error
}

// Parts are what a Handler is wired to. All are needed but Refresher, without which there is no
// session whose token could be refreshed, and Targets, without which webhooks may be on the public
// internet alone.
type Parts struct {
	Cluster   api.Cluster
	Verifier  *auth.Verifier
	Keys      *auth.Keys // the operator's
	Limits    *limit.Limits
	Sessions  Sessions
	Refresher Refresher
	Targets   Targets
}

// Handler serves the API. It is safe for use from any goroutine and owns none.
type Handler struct {
	Parts
	options Options
	router  *router
	metrics metrics
	spec    []byte // the OpenAPI document
	docs    http.Handler
}

// New makes the handler of the whole API, of /openapi.json and of /docs.
func New(p Parts, o Options) (*Handler, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if p.Cluster == nil || p.Verifier == nil || p.Keys == nil || p.Limits == nil || p.Sessions == nil {
		return nil, errors.New("rest: every part is needed")
	}
	if p.Targets == nil {
		public, err := guard.New(guard.DefaultOptions())
		if err != nil {
			return nil, err
		}
		p.Targets = public
	}
	h := &Handler{Parts: p, options: o, docs: docs.Handler()}
	table := h.table()
	var err error
	if h.router, err = newRouter(table); err != nil {
		return nil, err
	}
	if h.spec, err = describe(table); err != nil {
		return nil, fmt.Errorf("describe the API: %w", err)
	}
	h.metrics, err = newMetrics(o.Registerer)
	return h, err
}
