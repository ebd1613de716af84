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
	h := c.handler
	select {
	case c.posts <- struct{}{}:
	case <-h.ctx.Done():
		return
	}
	done := func(reply *nodev1.Reply, err error) {
		<-c.posts
		if err != nil {
			c.refuse(r, s, err)
			return
		}
		h.metrics.requests.WithLabelValues("ok").Inc()
		c.wire.Send(eventFrame(successName(s, r.kind), success(r.rid, r.cid, postedOf(reply))))
	}
	if isReceipt(r.kind) {
		h.receipts.post(newReceipt(s, r, done))
		return
	}
	h.store(s, r, done)
}

// store hands an event of a session to the cluster.
func (h *Handler) store(s *session, r *request, done func(*nodev1.Reply, error)) {
	event := &nodev1.PostEvent{Type: r.kind, From: r.sender(), To: r.to, Body: r.body}
	h.Cluster.PostAsync(h.ctx, s.principal, r.cid, r.key(), event, done)
}

// ferry brings receipts to the cluster of a handler.
type ferry struct{ h *Handler }

// one implements carrier.
func (f ferry) one(r *receipt, done func(*nodev1.Reply, error)) {
	f.h.store(r.session, r.request, done)
}

// many implements carrier. The cluster calls back from where the conversation is decided, which has
// better things to do than to answer hundreds of sessions.
func (f ferry) many(rs []*receipt, done func(*nodev1.Reply, error)) {
	cursors := make([]*nodev1.UserCursor, len(rs))
	for i, r := range rs {
		cursors[i] = r.cursor()
	}
	application := rs[0].session.principal.GetApplicationId()
	f.h.Cluster.AdvanceCursors(f.h.ctx, application, rs[0].request.cid, cursors, func(reply *nodev1.Reply, err error) {
		if !f.h.spawn(func() { done(reply, err) }) {
			done(reply, err) // the handler is closing: nobody hears it
		}
	})
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
	switch {
	case r.cid == "":
		return code.Invalid("cid", "is required")
	case r.body[0] != '{':
		return code.Invalid("body", "must be an object")
	}
	if err := s.allows(http.MethodPost, "/v1/conversations/"+r.cid+"/events"); err != nil {
		return err
	}
	if isReceipt(r.kind) {
		return nil // they are paced
	}
	return c.handler.Limits.Allow(limit.Conversation, s.place(r.cid), 1)
}
