// Package edge opens a solo node with all that its socket protocols stand on: a pump, a hub, a
// verifier of tokens and limits. The protocol's own handler is its test's.
package edge

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/actors/runtime"
	"parley/edge/auth"
	"parley/edge/hub"
	"parley/edge/limit"
	"parley/edge/socket"
	"parley/test/solo"
)

// closeWithin is how long connections may take to leave.
const closeWithin = 2 * time.Second

// Options are those of the parts. Start from DefaultOptions.
type Options struct {
	Node    runtime.Options // its Edge is the hub
	Sockets socket.Options
	Hub     hub.Options
	Limits  limit.Options
}

// DefaultOptions are those of a small node in memory. It waits for clients, and for what it tells them later, as long as
// a busy machine may take.
func DefaultOptions(t testing.TB) Options {
	o := Options{Node: solo.Options(t, vfs.NewMem()), Sockets: socket.DefaultOptions(), Hub: hub.DefaultOptions(), Limits: limit.DefaultOptions()}
	o.Node.API.IndexWait = solo.Patience
	o.Sockets.HelloWithin, o.Sockets.PongWithin, o.Sockets.CloseWithin = solo.Patience, solo.Patience, solo.Patience
	o.Sockets.Logger, o.Hub.Logger = o.Node.Logger, o.Node.Logger
	return o
}

// Edge is an open node with its edge, but for a handler.
type Edge struct {
	Node     *runtime.Runtime
	Sockets  *socket.Server
	Hub      *hub.Hub
	Verifier *auth.Verifier
	Limits   *limit.Limits

	t testing.TB
}

// Open opens a node and its edge. Whoever opens it calls Close or Lose.
func Open(t testing.TB, o Options) *Edge {
	t.Helper()
	e := &Edge{t: t}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	e.Sockets, err = socket.New(t.Context(), o.Sockets)
	must(err)
	e.Hub, err = hub.New(e.Sockets.Pump(), o.Hub)
	must(err)
	o.Node.Edge = e.Hub
	e.Node = solo.Open(t, o.Node)
	e.Hub.Start(t.Context(), e.Node.API(), nil)
	e.Verifier, err = auth.New(e.Node.API(), auth.DefaultOptions())
	must(err)
	e.Limits, err = limit.New(o.Limits)
	must(err)
	return e
}

// Close asks connections to leave and closes all. handler closes the protocol's handler, between the
// sockets and the hub.
func (e *Edge) Close(handler func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(e.t.Context()), closeWithin)
	defer cancel()
	e.close(ctx, handler)
}

// Lose closes all and asks nobody.
func (e *Edge) Lose(handler func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(e.t.Context()))
	cancel()
	e.close(ctx, handler)
}

func (e *Edge) close(ctx context.Context, handler func(context.Context) error) {
	for _, err := range []error{e.Sockets.Close(ctx), handler(ctx), e.Hub.Close(), e.Node.Close()} {
		if err != nil && !errors.Is(err, context.Canceled) {
			e.t.Error(err)
		}
	}
}
