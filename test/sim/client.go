package sim

import (
	"fmt"

	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
	"parley/test/history"
)

// client is one user that does one thing at a time. When it gets no answer to a post it sends the
// same again under the same client id until it knows.
type client struct {
	world *World
	user  string
	name  string

	sent    int
	posted  []slot        // acknowledged posts of its own, for deleting some
	pending *history.Send // being sent, or to be sent again
	waiting bool          // for an answer
	life    int           // crashes when the attempt began: later answers are nobody's
}

// principal is the user as an edge has verified it.
func (c *client) principal() *nodev1.Principal {
	return &nodev1.Principal{ApplicationId: application, UserId: c.user, UserName: c.name}
}

// act does the next thing, or sends the pending event again. A client that waits does nothing.
func (c *client) act() {
	if c.waiting {
		return
	}
	w := c.world
	room := w.rooms[w.rng.IntN(len(w.rooms))]
	if c.pending == nil && w.rng.IntN(100) < 35 {
		c.deed(room)
		return
	}
	c.post(room)
}

// post sends the next event, or the pending one again.
func (c *client) post(room string) {
	w := c.world
	if c.pending == nil {
		c.sent++
		id := fmt.Sprintf("m%d", c.sent)
		c.pending = &history.Send{Conversation: room, User: c.user, ClientID: id, Body: bodyOf(room, c.user, id)}
	}
	w.tick++
	c.pending.Began = w.tick
	c.waiting, c.life = true, w.crashes
	command := &nodev1.Command{
		Principal: c.principal(),
		ClientId:  c.pending.ClientID,
		Body:      &nodev1.Command_PostEvent{PostEvent: &nodev1.PostEvent{Type: "text", Body: []byte(c.pending.Body)}},
	}
	life := w.crashes
	w.node.ask(nodev1.Kind_KIND_CONVERSATION, c.pending.Conversation, command, func(r *nodev1.GrainReply) {
		if life == w.crashes && c.waiting {
			c.answered(r)
		}
	})
}

func (c *client) answered(r *nodev1.GrainReply) {
	c.waiting = false
	switch {
	case r.NotLeader:
		return // surely not done: the same again later
	case r.Error != nil && code.Code(r.Error.Code) == code.Unavailable:
		return
	case r.Error != nil && code.Code(r.Error.Code) == code.Unknown:
		c.record(history.Unknown, 0)
	case r.Error != nil:
		if !outsider(code.Code(r.Error.Code)) {
			panic("a plain send was refused: " + r.Error.Code + " " + r.Error.Message)
		}
		c.record(history.Refused, 0)
		c.pending = nil
	default:
		sequence := r.Reply.Event.Event.Sequence
		c.posted = append(c.posted, slot{c.pending.Conversation, sequence})
		c.record(history.Committed, sequence)
		c.pending = nil
	}
}

func (c *client) record(o history.Outcome, sequence uint64) {
	w := c.world
	w.tick++
	attempt := *c.pending
	attempt.Outcome, attempt.Sequence, attempt.Ended = o, sequence, w.tick
	w.history.Sends = append(w.history.Sends, attempt)
	w.note(sequence)
}

// abandon is what a crash means for a client: what it waits for is unknown.
func (c *client) abandon() {
	if c.waiting {
		c.waiting = false
		if c.pending != nil {
			c.record(history.Unknown, 0)
		}
	}
}

// bodyOf is what a client sends under a client id.
func bodyOf(room, user, clientID string) string {
	return fmt.Sprintf(`{"text":"%s/%s/%s"}`, room, user, clientID)
}
