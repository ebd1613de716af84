package socketio

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"

	"parley/edge/limit"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// post hands an event to the cluster and lets the reader go on: a client sends many before the
// first answer, and they keep their order. When too many wait, the reader waits too.
func (c *conn) post(s *session, r *request) {
	if err := c.mayPost(s, r); err != nil {
		c.refuse(r, s, err)
		return
	}
	select {
	case c.posts <- struct{}{}:
	case <-c.handler.ctx.Done():
		return
	}
	if isReceipt(r.kind) {
		c.handler.Receipts.Post(receiptOf(c, s, r))
		return
	}
	c.store(s, r, func(reply *nodev1.Reply, err error) {
		if frame := c.posted(s, r, reply, err); frame != nil {
			c.wire.Send(frame)
		}
	})
}

// store hands an event of a session to the cluster.
func (c *conn) store(s *session, r *request, done func(*nodev1.Reply, error)) {
	event := &nodev1.PostEvent{Type: r.kind, From: r.sender(), To: r.to, Body: r.body}
	c.handler.Cluster.PostAsync(c.handler.ctx, s.principal, r.cid, r.key(), event, done)
}

// posted ends a post: it refuses it, or gives the answer to be sent.
func (c *conn) posted(s *session, r *request, reply *nodev1.Reply, err error) (frame []byte) {
	<-c.posts
	if err != nil {
		c.refuse(r, s, err)
		return nil
	}
	c.handler.metrics.requests.WithLabelValues("ok").Inc()
	return eventFrame(successName(s, r.kind), success(r.rid, r.cid, postedOf(reply)))
}

// place names a conversation of the session's application.
func (s *session) place(conversation string) string {
	return s.principal.GetApplicationId() + "/" + conversation
}

// key is under which a request is carried out once, whatever becomes of the node that leads its
// conversation, and however often it comes: the same tid, kind and content make the same key. The
// content counts because some clients' tids are seconds, which several requests share.
func (r *request) key() string {
	switch family, rest, _ := strings.Cut(r.kind, ":"); {
	case family == "ephemeral", isReceipt(r.kind), strings.HasPrefix(rest, "typing"):
		return "" // not stored, or harmless when repeated
	case r.rid == nil:
		return rand.Text()
	}
	h := sha256.New()
	for _, part := range [][]byte{r.rid, []byte(r.kind), []byte(r.from), []byte(r.to), r.body} {
		_, _ = fmt.Fprintf(h, "%d:%s", len(part), part) // a hash never fails
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
}

// mayPost says why a request is no event that a client may send.
func (c *conn) mayPost(s *session, r *request) error {
	family, _, _ := strings.Cut(r.kind, ":")
	switch family {
	case "text", "image", "message", "custom", "ephemeral", "event", "audio", "video":
	default:
		return code.New(code.InvalidEvent, "this server does not know the request")
	}
	if err := r.check(); err != nil {
		return err
	}
	if r.cid == "" {
		return code.Invalid("cid", "is required")
	}
	if err := s.allows(http.MethodPost, "/v1/conversations/"+r.cid+"/events"); err != nil {
		return err
	}
	if isReceipt(r.kind) {
		return nil // they are paced
	}
	return c.handler.Limits.Allow(limit.Conversation, s.place(r.cid), 1)
}
