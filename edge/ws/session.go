package ws

import (
	"context"
	"net"
	"net/http"
	"time"

	"parley/edge/auth"
	"parley/edge/gate"
	"parley/edge/hub"
	"parley/edge/limit"
	"parley/edge/socket"
	clientv1 "parley/proto/client/v1"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
)

// beforeHello takes the first frame.
func (c *conn) beforeHello(f *clientv1.ClientFrame) {
	hello := f.GetHello()
	if hello == nil {
		c.refuse(f.Id, code.New(code.SessionInvalid, "say hello first"))
		c.socket.Close(socket.Protocol)
		return
	}
	// The client has said hello in time; the rest is for the node to do, and bounded like any command.
	c.socket.SetDeadline(time.Now().Add(2*c.handler.options.CommandWithin), socket.Overloaded)
	var refused error
	c.apart(f.Id, func(ctx context.Context) (*clientv1.Ack, error) {
		var leave func()
		if leave, refused = c.handler.Gate.Enter(ctx, gate.Login); refused == nil {
			refused = c.hello(ctx, f.Id, hello)
			leave()
		}
		return nil, refused
	})
	if refused != nil {
		c.socket.Close(refusal(refused))
	}
}

// refusal is how a refused hello is closed: what is wrong only now is no reason for a new token.
func refusal(err error) socket.CloseCode {
	if e, ok := code.Of(err); !ok || recovery(e.Code) == "retry" {
		return socket.Overloaded
	}
	return socket.LoginRefused
}

// hello logs in. No state is made before the token is found good.
func (c *conn) hello(ctx context.Context, id string, hello *clientv1.Hello) error {
	h := c.handler
	if len(hello.Device) > h.options.DeviceBytesMax {
		return code.Invalid("device", "is too long")
	}
	claims, user, err := c.admit(ctx, hello.Token)
	if err != nil {
		return err
	}
	session, resumed, err := h.Hub.OpenSession(ctx, hub.Session{
		ID: hello.SessionId, Elsewhere: true, Application: claims.ApplicationID,
		User: claims.UserID, UserName: claims.UserName, Device: hello.Device, SignedBy: claims.SignedBy,
	}, c)
	if err != nil {
		return err
	}
	c.claims, c.principal, c.session = claims, claims.Principal(), session
	c.socket.SetDeadline(claims.ExpiresAt, socket.TokenExpired)
	c.send(&clientv1.ServerFrame{Body: &clientv1.ServerFrame_Welcome{Welcome: &clientv1.Welcome{
		Id: id, SessionId: session.ID, Resumed: resumed, Node: h.options.Node, Limits: h.limits(),
		User:      &clientv1.User{Id: user.Id, Name: user.Name, DisplayName: user.DisplayName, ImageUrl: user.ImageUrl},
		ExpiresMs: claims.ExpiresAt.UnixMilli(), TimestampMs: time.Now().UnixMilli(),
	}}})
	c.feed = h.Hub.Follow(claims.ApplicationID, claims.UserID, c.codec, c)
	return nil
}

// admit is verify for a connection that nobody has logged in on: who tries tokens is slowed down,
// by its address.
func (c *conn) admit(ctx context.Context, token string) (*auth.Claims, *eventv1.User, error) {
	address := c.address()
	if err := c.handler.Limits.Spent(limit.Guess, address); err != nil {
		return nil, nil, err
	}
	claims, user, err := c.verify(ctx, token)
	if e, ok := code.Of(err); ok && e.HTTPStatus() == http.StatusUnauthorized {
		if spent := c.handler.Limits.Allow(limit.Guess, address, 1); spent != nil {
			return nil, nil, spent
		}
	}
	return claims, user, err
}

// address is where the client comes from, without the port.
func (c *conn) address() string {
	remote := c.socket.RemoteAddr().String()
	if host, _, err := net.SplitHostPort(remote); err == nil {
		return host
	}
	return remote
}

// verify checks a token and that it may log in.
func (c *conn) verify(ctx context.Context, token string) (*auth.Claims, *eventv1.User, error) {
	if token == "" {
		return nil, nil, code.New(code.MissingToken, "hello needs a token")
	}
	claims, user, err := c.handler.Verifier.Login(ctx, token)
	if err != nil {
		return nil, nil, err
	}
	if claims.Admin() {
		return nil, nil, code.New(code.Permission, "a session needs a user's token (with sub); this one is the application's")
	}
	if err := claims.Allows(http.MethodPost, "/v1/sessions"); err != nil {
		return nil, nil, err
	}
	return claims, user, nil
}

// limits tells the client what it is held to.
func (h *Handler) limits() *clientv1.Limits {
	return &clientv1.Limits{
		FrameBytes: uint32(h.options.FrameBytesMax), PostsInFlight: uint32(h.options.PostsInFlight),
		Subscriptions: uint32(h.options.Subscriptions), PingIntervalMs: uint32(h.options.PingInterval.Milliseconds()),
		ResumeMs: uint32(h.options.SessionResume.Milliseconds()),
	}
}

// updateToken moves the session's end.
func (c *conn) updateToken(ctx context.Context, f *clientv1.UpdateToken) (*clientv1.Ack, error) {
	claims, _, err := c.verify(ctx, f.Token)
	if err != nil {
		return nil, err
	}
	if claims.ApplicationID != c.claims.ApplicationID || claims.UserID != c.claims.UserID {
		return nil, code.New(code.InvalidToken, "the new token is another user's; open a session of its own for it")
	}
	c.claims = claims
	c.handler.Hub.Renewed(c.session.ID, c, claims.SignedBy)
	c.socket.SetDeadline(claims.ExpiresAt, socket.TokenExpired)
	return &clientv1.Ack{TimestampMs: claims.ExpiresAt.UnixMilli()}, nil
}
