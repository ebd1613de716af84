package socketio_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"parley/actors/api"
	"parley/edge/socketio"
	nodev1 "parley/proto/node/v1"
)

// TestARetryBeforeTheLoginIsAnswered: its conversations cannot be listed, and the time to try again comes while
// the login still waits for them. It is tried again all the same.
func TestARetryBeforeTheLoginIsAnswered(t *testing.T) {
	a := &ailing{}
	a.unlisted.Store(1)
	n := newNode(t, a.tune(), tune{socket: func(o *socketio.Options) { o.SyncWithin = 3 * time.Second }})
	n.users("ann", "bob")
	con := n.conversation("ann", "bob")
	c := n.login("ann", "4.0.2")
	n.await("its conversations are followed", func() bool {
		n.post(con, "bob", "hello")
		c.do("user:get", nil)
		return slices.ContainsFunc(c.pending, func(e event) bool { return e.name == "text" })
	})
}

// stuck is a cluster that does not answer for as long as it may.
type stuck struct {
	api.Cluster
	asked chan struct{} // closed when it was
	ended chan struct{} // closed when who asked has given up
	first sync.Once
}

func (s *stuck) GetConversation(ctx context.Context, _ *nodev1.Principal, _ string, _ bool) (*nodev1.Reply, error) {
	s.first.Do(func() {
		close(s.asked)
		context.AfterFunc(ctx, func() { close(s.ended) })
	})
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

// TestHurryEndsCommands: closing the sockets waits for a command on its way, and not for its time when there is
// no more of it.
func TestHurryEndsCommands(t *testing.T) {
	s := &stuck{asked: make(chan struct{}), ended: make(chan struct{})}
	n := newNode(t, tune{
		cluster: func(c api.Cluster) api.Cluster { s.Cluster = c; return s },
		socket:  func(o *socketio.Options) { o.CommandWithin = time.Hour },
	})
	n.users("ann")
	n.login("ann", "4.0.2").send("conversation:get", value{"cid": n.conversation("ann")})
	<-s.asked
	grace, cancel := context.WithCancel(t.Context())
	defer context.AfterFunc(grace, n.handler.Hurry)()
	cancel()
	select {
	case <-s.ended:
	case <-time.After(time.Minute):
		t.Fatal("the command goes on")
	}
	closed := make(chan error, 1)
	go func() { closed <- n.sockets.Close(grace) }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the sockets wait for the command")
	}
}
