package sim

import (
	"fmt"

	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
	"parley/test/history"
)

// client is one user that sends, one event at a time. When it gets no answer it sends the same
// again under the same client id until it knows.
type client struct {
	world *World
	user  string
	name  string

	sent    int
	pending *history.Send // being sent, or to be sent again
	waiting bool          // for an answer
	life    int           // crashes when the attempt began: later answers are nobody's
}

// act sends the next event, or the pending one again. A client that waits does nothing.
func (c *client) act() {
	if c.waiting {
		return
	}
	w := c.world
	if c.pending == nil {
		room := w.rooms[w.rng.IntN(len(w.rooms))]
		c.sent++
		id := fmt.Sprintf("m%d", c.sent)
		c.pending = &history.Send{Conversation: room, User: c.user, ClientID: id, Body: fmt.Sprintf(`{"text":"%s/%s/%s"}`, room, c.user, id)}
	}
	w.tick++
	c.pending.Began = w.tick
	c.waiting, c.life = true, w.crashes
	command := &nodev1.Command{
		Principal: &nodev1.Principal{ApplicationId: application, UserId: c.user, UserName: c.name},
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
		panic("a plain send was refused: " + r.Error.Code + " " + r.Error.Message)
	default:
		c.record(history.Committed, r.Reply.Event.Event.Sequence)
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
		c.record(history.Unknown, 0)
	}
}
