//go:build chaos && linux

package chaos

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"parley/internal/load"
	clientv1 "parley/proto/client/v1"
	"parley/test/history"
)

const (
	loginWithin = 3 * time.Second // dialling, hello and subscribe
	silenceMax  = 5 * time.Second // with something unanswered, then the client looks for another edge
	backoffMax  = 5 * time.Second

	binaryMessage = 2 // the WebSocket opcode
	goingAway     = 4000

	// docs/errors.md
	unavailable = "system:error:unavailable"
	unknown     = "system:error:unknown-outcome"
	limited     = "http:error:too-many-requests"
	notStored   = "system:error:not-stored"
)

// send is one event that a chatter wants stored: it is posted again, under the same id, until it is
// acknowledged.
type send struct {
	due   time.Time
	tries []history.Send
}

// answer is an error frame for a post.
type answer struct {
	at   time.Time
	took time.Duration // since that try
	code string
}

// deed is an acknowledged send.
type deed struct {
	id         string
	due, acked time.Time
}

// chatter is one user's client in one conversation. It does what docs/protocol.md asks of a client:
// it resumes, elsewhere if need be, and it repeats what has no answer.
type chatter struct {
	crowd        *crowd
	user         string
	token        string
	conversation string

	// Owned by run.
	session string
	next    int           // which edge to try
	after   time.Duration // how long the edge asked it to stay away

	mu       sync.Mutex // guards what follows
	edges    []string
	at       string     // the edge it is connected to, "" while it is away
	conn     *load.Conn // the connection it has or makes
	posted   int
	waiting  map[string]*send
	tries    []history.Send // of everything acknowledged
	answers  []answer
	deeds    []deed
	stream   []history.Event // all that its subscription gave, over all connections
	problems []string        // broken promises and errors that a user would see
	logins   int
	parted   error // why the last connection ended
	partedAt time.Time
}

// run connects again and again until ctx ends.
func (c *chatter) run(ctx context.Context) {
	backoff := time.Second
	for ctx.Err() == nil {
		welcomed, err := c.live(ctx)
		c.mu.Lock()
		c.parted, c.partedAt = err, time.Now()
		c.mu.Unlock()
		var closed *load.ClosedError
		if errors.As(err, &closed) && closed.Code == goingAway {
			continue // at once, elsewhere
		}
		if welcomed {
			backoff = time.Second
		}
		pause(ctx, max(rand.N(backoff), c.after))
		c.after = 0
		backoff = min(2*backoff, backoffMax)
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// live is the life of one connection.
func (c *chatter) live(ctx context.Context) (welcomed bool, err error) {
	c.mu.Lock()
	c.next++
	edge := c.edges[c.next%len(c.edges)]
	c.mu.Unlock()
	within := cmp.Or(c.crowd.shape.login, loginWithin)
	login, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	conn, err := load.Dial(login, "ws"+strings.TrimPrefix(edge, "http")+"/v1/realtime", "parley.v1.proto")
	if err != nil {
		return false, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return false, err
	}
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
	defer c.away()
	if err := write(conn, &clientv1.ClientFrame{Id: "hello", Body: &clientv1.ClientFrame_Hello{
		Hello: &clientv1.Hello{Token: c.token, SessionId: c.session}}}); err != nil {
		return false, err
	}
	var refused error
	err = conn.Frames(func(payload []byte) bool {
		var f clientv1.ServerFrame
		if refused = f.UnmarshalVT(payload); refused == nil {
			refused = c.onFrame(conn, edge, &f)
		}
		welcomed = welcomed || f.GetWelcome() != nil
		return refused != nil
	})
	return welcomed, errors.Join(err, refused)
}

func (c *chatter) away() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at, c.conn = "", nil
}

func write(conn *load.Conn, f *clientv1.ClientFrame) error {
	b, err := f.MarshalVT()
	if err != nil {
		return err
	}
	return conn.Send(binaryMessage, b)
}

// onFrame is the client's table of contents. An error ends the connection.
func (c *chatter) onFrame(conn *load.Conn, edge string, f *clientv1.ServerFrame) error {
	switch b := f.Body.(type) {
	case *clientv1.ServerFrame_Welcome:
		c.session = b.Welcome.SessionId
		return c.subscribe(conn)
	case *clientv1.ServerFrame_Ack:
		if b.Ack.Id == "subscribe" {
			return c.onSubscribed(conn, edge)
		}
		c.onAck(conn, b.Ack)
	case *clientv1.ServerFrame_Error:
		return c.onError(conn, b.Error)
	case *clientv1.ServerFrame_Events:
		c.onEvents(b.Events)
	case *clientv1.ServerFrame_Reset_:
		c.broken("a reset to %d", b.Reset_.Head)
	case *clientv1.ServerFrame_Unsubscribed:
		if b.Unsubscribed.Reason == "unavailable" {
			return c.subscribe(conn)
		}
		c.broken("unsubscribed: %s", b.Unsubscribed.Reason)
	}
	return nil
}

func (c *chatter) subscribe(conn *load.Conn) error {
	c.mu.Lock()
	last := uint64(len(c.stream))
	c.mu.Unlock()
	return write(conn, &clientv1.ClientFrame{Id: "subscribe", Body: &clientv1.ClientFrame_Subscribe{
		Subscribe: &clientv1.Subscribe{Conversation: c.conversation, After: &last}}})
}

// onSubscribed posts again what has no answer yet.
func (c *chatter) onSubscribed(conn *load.Conn, edge string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if c.at == "" {
		c.logins++
	}
	c.at = edge
	ids := make([]string, 0, len(c.waiting))
	for id := range c.waiting {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int { return c.waiting[a].due.Compare(c.waiting[b].due) })
	for _, id := range ids {
		c.attempt(id)
	}
	return nil
}

// post sends one more event.
func (c *chatter) post(due time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := strconv.Itoa(c.posted)
	c.posted++
	c.waiting[id] = &send{due: due}
	c.attempt(id)
}

// attempt posts what waits under an id, if there is a connection. The caller holds mu.
func (c *chatter) attempt(id string) {
	s := c.waiting[id]
	if s == nil || c.at == "" {
		return
	}
	body := says(c.conversation, c.user, id)
	if c.crowd.shape.padding > 0 {
		body.Text += "/" + strings.Repeat("x", c.crowd.shape.padding)
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		panic(err) // a string
	}
	s.tries = append(s.tries, history.Send{Conversation: c.conversation, User: c.user, ClientID: id, Body: body.Text, Began: c.crowd.now()})
	_ = c.conn.SetReadDeadline(time.Now().Add(silenceMax)) // a broken connection is seen by the reader
	_ = write(c.conn, &clientv1.ClientFrame{Id: id, Body: &clientv1.ClientFrame_Post{
		Post: &clientv1.Post{Conversation: c.conversation, ClientId: id, EventType: "text", Body: encoded}}})
}

func (c *chatter) onAck(conn *load.Conn, a *clientv1.Ack) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.waiting[a.Id]
	if s == nil {
		return // of a try before the one that was answered
	}
	last := &s.tries[len(s.tries)-1]
	last.Outcome, last.Sequence, last.Ended = history.Committed, a.Sequence, c.crowd.now()
	c.tries = append(c.tries, s.tries...)
	c.deeds = append(c.deeds, deed{a.Id, s.due, time.Now()})
	delete(c.waiting, a.Id)
	if len(c.waiting) == 0 {
		_ = conn.SetReadDeadline(time.Time{})
	} else {
		_ = conn.SetReadDeadline(time.Now().Add(silenceMax))
	}
}

// onError does as the error's recovery says.
func (c *chatter) onError(conn *load.Conn, e *clientv1.Error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.waiting[e.Id]; s != nil {
		last := &s.tries[len(s.tries)-1]
		if e.Code == unavailable || e.Code == notStored {
			last.Outcome = history.Refused
		}
		c.answers = append(c.answers, answer{time.Now(), time.Duration(c.crowd.now() - last.Began), e.Code})
	}
	c.crowd.count(e.Code)
	switch e.Recovery {
	case "retry":
		if e.Id == "hello" || e.Id == "subscribe" {
			c.after = time.Duration(e.RetryAfterMs) * time.Millisecond
			return fmt.Errorf("%s: %s", e.Id, e.Code)
		}
		const soon = 20 * time.Millisecond
		c.crowd.later(max(soon, time.Duration(e.RetryAfterMs)*time.Millisecond), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.conn == conn { // a new connection has posted it again by itself
				c.attempt(e.Id)
			}
		})
		return nil
	case "resume":
		return fmt.Errorf("resume: %s", e.Code)
	default:
		c.problems = append(c.problems, fmt.Sprintf("%s was answered %s %s (%s)", e.Id, e.Code, e.Message, e.Recovery))
		return fmt.Errorf("%s: %s %s %v", e.Id, e.Code, e.Message, e.Fields)
	}
}

// onEvents takes what comes after what it has; anything else is a broken promise (S5).
func (c *chatter) onEvents(b *clientv1.Events) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range b.Events {
		if want := uint64(len(c.stream)) + 1; e.Sequence != want {
			c.problems = append(c.problems, fmt.Sprintf("S5: %s got %d of %s, not %d", c.user, e.Sequence, c.conversation, want))
		}
		c.stream = append(c.stream, seen(e.Sequence, e.Type, e.Body))
	}
}

func (c *chatter) broken(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems = append(c.problems, c.user+": "+fmt.Sprintf(format, args...))
}

// offer says where the client may connect the next time.
func (c *chatter) offer(edges []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.edges = edges
}

// place says where the client may connect. If it is elsewhere, it moves.
func (c *chatter) place(edges []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.edges = edges
	if c.conn != nil && !slices.Contains(edges, c.at) {
		_ = c.conn.Close()
	}
}

// edge is where the client is connected, "" for nowhere.
func (c *chatter) edge() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

// connected says whether the client is logged in and subscribed at one of its edges.
func (c *chatter) connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.edges, c.at)
}

// head is the last sequence that the client has.
func (c *chatter) head() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return uint64(len(c.stream))
}

// unanswered is how many sends wait.
func (c *chatter) unanswered() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting)
}

// ackedSince says whether something that was due after t is acknowledged.
func (c *chatter) ackedSince(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.deeds[max(0, len(c.deeds)-64):], func(d deed) bool { return d.due.After(t) })
}

// waitsSince says whether something that was due before t is not acknowledged.
func (c *chatter) waitsSince(t time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.waiting {
		if s.due.Before(t) {
			return true
		}
	}
	return false
}
