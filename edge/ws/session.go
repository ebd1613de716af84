package ws

import (
	"context"
	"time"

	"parley/edge/gate"
	"parley/edge/hub"
	"parley/edge/socket"
	clientv1 "parley/proto/client/v1"
	"parley/proto/code"
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
	leave, err := c.handler.Gate.Enter(c.handler.ctx, gate.Login)
	if err != nil {
		c.refuse(f.Id, err)
		c.socket.Close(refusal(err))
		return
	}
	defer leave()
	c.apart(f.Id, func(ctx context.Context) (*clientv1.Ack, error) {
		err = c.hello(ctx, f.Id, hello)
		return nil, err
	})
	if err != nil {
		c.socket.Close(refusal(err))
	}
}

// refusal is how a refused hello is closed: what is wrong only now is no reason for a new token.
func refusal(err error) socket.CloseCode {
	if e, ok := code.Of(err); !ok || e.Code.Passing() {
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
	claims, user, err := h.door.Admit(ctx, hello.Token, c.address)
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

// limits tells the client what it is held to.
func (h *Handler) limits() *clientv1.Limits {
	sockets := h.Sockets.Options()
	return &clientv1.Limits{
		FrameBytes: uint32(sockets.FrameBytesMax), PostsInFlight: uint32(h.options.PostsInFlight),
		Subscriptions: uint32(h.options.Subscriptions), PingIntervalMs: uint32(sockets.PingInterval.Milliseconds()),
		ResumeMs: uint32(h.Hub.SessionResume().Milliseconds()),
	}
}

// updateToken moves the session's end.
func (c *conn) updateToken(ctx context.Context, f *clientv1.UpdateToken) (*clientv1.Ack, error) {
	claims, _, err := c.handler.door.Admit(ctx, f.Token, c.address)
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
