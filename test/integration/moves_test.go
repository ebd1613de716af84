//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"parley/edge/hub"
)

// welcome is what the node said to a hello.
type welcome struct {
	Type, Code, Recovery string
	SessionID            string `json:"session_id"`
}

// hello logs in at a node with the native protocol, with a session's id if there is one, and leaves the
// connection open.
func hello(ctx context.Context, t *testing.T, url, token, session string) (c *websocket.Conn, said welcome, err error) {
	c, _, err = websocket.Dial(ctx, "ws"+strings.TrimPrefix(url, "http")+"/v1/realtime",
		&websocket.DialOptions{Subprotocols: []string{"parley.v1.json"}})
	if err != nil {
		return nil, said, err
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	text, err := json.Marshal(map[string]any{"type": "hello", "id": "1", "token": token, "session_id": session})
	if err != nil {
		return nil, said, err
	}
	if err := c.Write(ctx, websocket.MessageText, text); err != nil {
		return nil, said, err
	}
	_, text, err = c.Read(ctx)
	if err == nil {
		err = json.Unmarshal(text, &said)
	}
	return c, said, err
}

// user is somebody with as many sessions as a user may have.
type user struct {
	t        *testing.T
	ctx      context.Context // the test's
	trio     *trio
	token    string
	sessions map[string]*websocket.Conn // on n1
}

// login is hello until the node does not say that it is only not able to just now.
func (u *user) login(node, session string) (*websocket.Conn, welcome) {
	u.t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		c, said, err := hello(u.ctx, u.t, u.trio.nodes[node].url, u.token, session)
		if err == nil && (said.Type == "welcome" || said.Recovery != "retry") {
			return c, said
		}
		select {
		case <-again.C:
		case <-u.ctx.Done():
			u.t.Errorf("%s does not answer: %v %+v", node, err, said)
			return c, said
		}
	}
}

// elsewhere is how many sessions a node of three gives without a question.
const elsewhere = 4

// fill opens all sessions that the user may have, most of them on n1.
func (u *user) fill() {
	for _, node := range []string{"n2", "n3"} {
		for range elsewhere {
			if _, said := u.login(node, ""); said.Type != "welcome" {
				u.t.Fatalf("%s: %+v", node, said)
			}
		}
	}
	for range hub.DefaultOptions().SessionsPerUser - 2*elsewhere {
		c, said := u.login("n1", "")
		if said.Type != "welcome" {
			u.t.Fatalf("after %d sessions on n1: %+v", len(u.sessions), said)
		}
		u.sessions[said.SessionID] = c
	}
	if _, said := u.login("n1", ""); said.Code != tooMany {
		u.t.Fatalf("one more: %+v", said)
	}
}

// tooMany is what a user hears who has as many sessions as may be.
const tooMany = "session:error:max-open-sessions"

// move resumes a session at another node. Being one too many is no answer to that.
func (u *user) move(session, to string) bool {
	_, said := u.login(to, session)
	return u.moved(session, to, said)
}

// moved says whether a session goes on at a node that said this.
func (u *user) moved(session, to string, said welcome) bool {
	if said.Type != "welcome" || said.SessionID != session {
		u.t.Errorf("%s, which goes on at %s: %+v", session, to, said)
		return false
	}
	return true
}

// leave moves a session away from n1, which believes to have its client, until n1 has ended that connection:
// on a busy machine its answer may come too late, and then it has not been told.
func (u *user) leave(session string, old *websocket.Conn) bool {
	ended := make(chan error, 1)
	go func() {
		for {
			if _, _, err := old.Read(u.ctx); err != nil {
				ended <- err
				return
			}
		}
	}()
	again := time.NewTicker(5 * time.Second)
	defer again.Stop()
	for _, node := range []string{"n2", "n3", "n2", "n3"} {
		if !u.move(session, node) {
			return false
		}
		select {
		case err := <-ended:
			var end websocket.CloseError
			if !errors.As(err, &end) || end.Code != 4100 {
				u.t.Errorf("the connection to n1: %v", err)
			}
			return true
		case <-again.C:
		}
	}
	u.t.Errorf("n1 keeps %s", session)
	return false
}

// TestAUserAtTheLimitMoves: who has as many sessions as a user may have goes on with each of them on
// another node at once: with those whose client has lost its way to the first node, which does not know
// that, and with all others when that node is killed.
func TestAUserAtTheLimitMoves(t *testing.T) {
	c := newTrio(t, "n1", "n2", "n3")
	c.healed(t, "n2", 3)
	app := newApplication(t, c.nodes["n1"].url)
	admin := caller{http.DefaultClient, c.nodes["n1"].url, app.token(t, "")}
	admin.must(t, http.MethodPost, "/v1/users", map[string]any{"name": "ann"}, http.StatusCreated, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	u := &user{t: t, ctx: ctx, trio: c, token: app.token(t, "ann"), sessions: map[string]*websocket.Conn{}}
	u.fill()

	const lost = 6
	for session, old := range u.sessions {
		if !u.leave(session, old) {
			break
		}
		delete(u.sessions, session)
		if len(u.sessions) == hub.DefaultOptions().SessionsPerUser-2*elsewhere-lost {
			break
		}
	}

	c.nodes["n1"].kill()
	var moves sync.WaitGroup
	refused := make([]func() bool, len(u.sessions))
	n := 0
	for session := range u.sessions {
		at, node := n, c.names[1+n%2]
		n++
		moves.Go(func() {
			if _, said := u.login(node, session); said.Code == tooMany {
				refused[at] = func() bool { return u.move(session, node) }
			} else {
				u.moved(session, node, said)
			}
		})
	}
	moves.Wait()
	for _, again := range refused {
		if again != nil {
			again() // of two for the last places both may have been refused
		}
	}
}
