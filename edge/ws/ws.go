// Package ws speaks the native realtime protocol of docs/protocol.md: frames in, commands to the
// cluster, acks and events out.
package ws

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"parley/actors/api"
	"parley/actors/conversation"
	"parley/edge/auth"
	"parley/edge/gate"
	"parley/edge/hub"
	"parley/edge/limit"
	"parley/edge/receipt"
	"parley/edge/socket"
	"parley/edge/web"
	"parley/proto/code"
)

// Options are the limits of the protocol. Start from DefaultOptions.
type Options struct {
	Node             string        // told in welcome
	PostsInFlight    int           // posts of one connection that wait for their ack
	Subscriptions    int           // of one connection
	RefusalsMax      int           // frames in a row over the rate, before the connection is closed
	CommandWithin    time.Duration // for one command of a client
	JSONDepth        int
	JSONMembers      int
	DeviceBytesMax   int
	RequestIDMax     int
	ClientIDBytesMax int
	Logger           *slog.Logger
}

// DefaultOptions are the documented limits.
func DefaultOptions() Options {
	return Options{
		PostsInFlight: 64, Subscriptions: 1000, RefusalsMax: 1000, CommandWithin: 10 * time.Second,
		JSONDepth: limit.JSONDepth, JSONMembers: limit.JSONMembers,
		DeviceBytesMax: 128, RequestIDMax: 64, ClientIDBytesMax: conversation.ClientIDBytesMax,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// Validate says what is wrong with o.
func (o Options) Validate() error {
	switch {
	case o.PostsInFlight < 1 || o.Subscriptions < 1 || o.RefusalsMax < 1:
		return errors.New("ws: posts in flight, subscriptions and refusals must be positive")
	case o.CommandWithin <= 0:
		return errors.New("ws: the time for a command must be positive")
	case o.JSONDepth < 2 || o.JSONMembers < 32:
		return errors.New("ws: JSON limits leave no room for a frame")
	case o.DeviceBytesMax < 0 || o.RequestIDMax < 1 || o.ClientIDBytesMax < 1:
		return errors.New("ws: limits of text fields must be positive")
	case o.Logger == nil:
		return errors.New("ws: a logger is needed")
	}
	return nil
}

// Parts are what a Handler works with. All are needed.
type Parts struct {
	Cluster  api.Cluster
	Sockets  *socket.Server
	Hub      *hub.Hub
	Verifier *auth.Verifier
	Limits   *limit.Limits
	Receipts *receipt.Queue
	Gate     *gate.Gate
}

// Handler serves /v1/realtime. Its connections end when the socket server is closed; Close then
// waits for the commands on their way.
type Handler struct {
	Parts
	options Options
	door    *auth.Door
	codecs  []codec

	ctx    context.Context // ends with Close: the life of commands, which outlive their connection
	cancel context.CancelFunc
	group  sync.WaitGroup // commands, each awaited by the reader of its connection
}

// New makes a Handler. ctx bounds the life of its commands.
func New(ctx context.Context, p Parts, o Options) (*Handler, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if p.Cluster == nil || p.Sockets == nil || p.Hub == nil || p.Verifier == nil || p.Limits == nil || p.Receipts == nil || p.Gate == nil {
		return nil, errors.New("ws: cluster, sockets, hub, verifier, limits, receipts and gate are needed")
	}
	h := &Handler{Parts: p, options: o, door: auth.NewDoor(p.Verifier, p.Limits)}
	h.codecs = []codec{jsonCodec{depth: o.JSONDepth, members: o.JSONMembers}, protoCodec{depth: o.JSONDepth, members: o.JSONMembers}}
	h.ctx, h.cancel = context.WithCancel(ctx)
	return h, nil
}

// Hurry ends the commands on their way: for who closes the socket server, which waits for them, and has
// no more time.
func (h *Handler) Hurry() { h.cancel() }

// Close ends the commands on their way. Close the socket server before.
func (h *Handler) Close() error {
	h.cancel()
	h.group.Wait()
	return nil
}

// ServeHTTP upgrades to one of the native subprotocols.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	names := make([]string, len(h.codecs))
	for i, c := range h.codecs {
		names[i] = c.Name()
	}
	if !asks(r, names) {
		http.Error(w, "ask for subprotocol parley.v1.json or parley.v1.proto (Sec-WebSocket-Protocol)", http.StatusBadRequest)
		return
	}
	leave, err := h.Gate.Enter(r.Context(), gate.Connect)
	if err != nil {
		turnAway(w, err)
		return
	}
	defer leave()
	address := web.RemoteAddress(r)
	open := func(s *socket.Conn) socket.Handler { return h.open(s, address) }
	if err := h.Sockets.Accept(w, r, names, open); err != nil {
		h.options.Logger.Debug("upgrade refused", "remote", r.RemoteAddr, "error", err)
	}
}

// turnAway answers an upgrade for which there is no room.
func turnAway(w http.ResponseWriter, err error) {
	if e, ok := code.Of(err); ok {
		web.SetRetryAfter(w.Header(), e, http.StatusServiceUnavailable)
	}
	http.Error(w, "too many connect at the moment", http.StatusServiceUnavailable)
}

// open makes the state of a new connection from address.
func (h *Handler) open(s *socket.Conn, address string) socket.Handler {
	c := &conn{handler: h, socket: s, address: address, codec: h.codecs[0]}
	for _, codec := range h.codecs {
		if codec.Name() == s.Subprotocol() {
			c.codec = codec
		}
	}
	return c
}
