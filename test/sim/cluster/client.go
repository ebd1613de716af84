package cluster

import (
	"errors"
	"fmt"
	"time"

	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
	"parley/test/history"
)

// client is one user with one device. It does one thing at a time, at the node that it is connected
// to, and sends what got no answer again under the same client id until it knows.
type client struct {
	w           *World
	application string
	user, name  string
	rooms       []room
	members     map[room]string // as the user last heard

	at    string // the node that it is connected to
	lives int    // connections so far: what belongs to an earlier one is nobody's

	sent    int
	posted  []slot        // acknowledged posts of its own, for deleting some
	pending *history.Send // being sent, or to be sent again
	busy    bool          // a question waits for its answer

	device device
}

// slot is one event.
type slot struct {
	room     room
	sequence uint64
}

var errGone = errors.New("connection lost")

func newClient(w *World, application string, i int) *client {
	w.ids++
	c := &client{w: w, application: application, user: fixedID("USR-", w.ids), name: fmt.Sprintf("user%d", i), members: map[room]string{}, at: "n1"}
	c.device = device{client: c, last: map[room]uint64{}, feeds: map[room]*feed{}}
	w.after(0, c.act)
	w.after(0, c.device.turn)
	return c
}

func (c *client) principal() *nodev1.Principal {
	return &nodev1.Principal{ApplicationId: c.application, UserId: c.user, UserName: c.name}
}

// act does the next thing and plans the one after it.
func (c *client) act() {
	w := c.w
	w.after(time.Duration(20+w.rng.IntN(200))*time.Millisecond, c.act)
	if c.busy || len(c.rooms) == 0 || w.founding || w.judged {
		return
	}
	r := c.rooms[w.rng.IntN(len(c.rooms))]
	what := w.rng.IntN(100)
	switch {
	case w.nodes[c.at].dead || what < 2:
		c.move()
	case c.pending != nil:
		c.post(c.pending)
	case w.ending:
	case what < 55:
		c.sent++
		id := fmt.Sprintf("m%d", c.sent)
		c.pending = &history.Send{Conversation: r.String(), User: c.user, ClientID: id, Body: bodyOf(c.application, r, c.user, id)}
		c.post(c.pending)
	case what < 75:
		c.page(r)
	case what < 85:
		c.receipt(r)
	case what < 90:
		c.erase()
	case what < 93:
		c.membership(r, false)
	default:
		c.membership(r, true)
	}
}

// move connects to another node.
func (c *client) move() {
	c.hangUp()
	if n := c.w.any(); n != nil {
		c.at = n.name
	}
}

// hangUp ends the connection. What was asked on it has no answer.
func (c *client) hangUp() {
	c.lives++
	c.device.lost()
}

// patience is how long a client waits for an answer.
const patience = 5 * time.Second

// ask brings a request to the client's node and the answer back. done is called once: with errGone
// when the connection has ended or nothing came.
func (c *client) ask(req *nodev1.GrainRequest, done func(*nodev1.Reply, error)) {
	w, life, over := c.w, c.lives, false
	n := w.nodes[c.at]
	req.ApplicationId = c.application
	end := func(r *nodev1.Reply, err error) {
		if over {
			return
		}
		over = true
		if c.lives != life {
			r, err = nil, errGone
		}
		w.note(uint64(r.GetEvent().GetEvent().GetSequence()))
		done(r, err)
	}
	w.after(w.net.delay(), func() {
		if n.dead || c.lives != life {
			return
		}
		n.run(func() {
			n.call(req, func(r *nodev1.GrainReply, err error) {
				w.after(w.net.delay(), func() { end(r.GetReply(), err) })
			})
		})
	})
	var watch func()
	began := w.now
	watch = func() {
		if c.lives != life || w.now-began > patience {
			end(nil, errGone)
			return
		}
		if !over {
			w.after(100*time.Millisecond, watch)
		}
	}
	watch()
}

// command asks for something once. done hears what is known of its outcome.
func (c *client) command(r room, clientID string, command *nodev1.Command, done func(history.Outcome, *nodev1.Reply)) {
	c.busy = true
	command.ClientId = clientID
	if command.Principal == nil { // else its node speaks
		command.Principal = c.principal()
	}
	c.ask(&nodev1.GrainRequest{Kind: nodev1.Kind_KIND_CONVERSATION, Id: r.id, Command: command}, func(reply *nodev1.Reply, err error) {
		c.busy = false
		switch {
		case err == nil:
			done(history.Committed, reply)
		case errors.Is(err, errGone) || code.Has(err, code.Unknown):
			done(history.Unknown, nil)
		default:
			done(history.Refused, nil)
			if !expected(err) {
				c.w.fail("refusal", "%s is refused %T: %v", c.name, command.Body, err)
			}
		}
	})
}

// expected are the refusals that users who come and go at random, while disks are full, must meet.
func expected(err error) bool {
	for _, c := range []code.Code{code.Unavailable, code.NotStored, code.MemberAlreadyJoined, code.MemberAlreadyInvited, code.InvalidMemberState,
		code.MemberNotFound, code.EventNotFound, code.EventNotJoined, code.ConversationNotFound, code.Permission} {
		if code.Has(err, c) {
			return true
		}
	}
	return false
}

// post sends an event, for the first time or again.
func (c *client) post(s *history.Send) {
	w := c.w
	r := c.roomOf(s.Conversation)
	attempt := *s
	attempt.Began = w.stamp()
	c.command(r, s.ClientID, &nodev1.Command{Body: &nodev1.Command_PostEvent{PostEvent: &nodev1.PostEvent{Type: "text", Body: []byte(s.Body)}}},
		func(o history.Outcome, reply *nodev1.Reply) {
			attempt.Outcome, attempt.Ended = o, w.stamp()
			if o == history.Committed {
				attempt.Sequence = reply.Event.Event.Sequence
				w.posts++
				c.posted = append(c.posted, slot{r, attempt.Sequence})
			}
			w.history.Sends = append(w.history.Sends, attempt)
			if o != history.Unknown {
				c.pending = nil
			}
		})
}

func (c *client) roomOf(name string) room {
	for _, r := range c.rooms {
		if r.String() == name {
			return r
		}
	}
	panic("no such room: " + name)
}

// page reads a part of the log.
func (c *client) page(r room) {
	w := c.w
	p := history.Page{Application: c.application, Conversation: r.String(), User: c.user, Node: c.at, Began: w.stamp(), Start: 1}
	if last := c.device.last[r]; last > 0 {
		p.Start = 1 + w.rng.Uint64N(last)
	}
	c.busy = true
	c.ask(&nodev1.GrainRequest{Kind: nodev1.Kind_KIND_CONVERSATION, Id: r.id, Query: &nodev1.Query{Principal: c.principal(),
		Body: &nodev1.Query_ListEvents{ListEvents: &nodev1.ListEvents{Start: p.Start, Page: &nodev1.Page{}}}}},
		func(reply *nodev1.Reply, err error) {
			c.busy = false
			if err != nil {
				return
			}
			for _, v := range reply.Events {
				p.Events = append(p.Events, observed(v.Event))
			}
			p.Head, p.Ended = reply.Head.GetSequence(), w.stamp()
			w.history.Pages = append(w.history.Pages, p)
		})
}

// erase empties one of the user's own events.
func (c *client) erase() {
	w := c.w
	if len(c.posted) == 0 {
		return
	}
	e := c.posted[w.rng.IntN(len(c.posted))]
	c.command(e.room, "", &nodev1.Command{Body: &nodev1.Command_DeleteEvent{DeleteEvent: &nodev1.DeleteEvent{Sequence: e.sequence}}},
		func(o history.Outcome, _ *nodev1.Reply) {
			if o == history.Committed {
				w.history.Deletions = append(w.history.Deletions, history.Deletion{Conversation: e.room.String(), Sequence: e.sequence, Ended: w.stamp()})
			}
		})
}

// membership has the user leave or join.
func (c *client) membership(r room, in bool) {
	w := c.w
	move := history.Move{Conversation: r.String(), User: c.user, In: in, Began: w.stamp()}
	command := w.join(c)
	if !in {
		command = &nodev1.Command{Body: &nodev1.Command_UpdateMember{UpdateMember: &nodev1.UpdateMember{
			MemberId: "me", Action: nodev1.MemberAction_MEMBER_ACTION_LEAVE}}}
	}
	c.command(r, "", command, func(o history.Outcome, reply *nodev1.Reply) {
		move.Outcome, move.Ended = o, w.stamp()
		if member := reply.GetMember().GetId(); member != "" {
			c.members[r] = member
		}
		w.history.Moves = append(w.history.Moves, move)
	})
}

// bodyOf is what a client sends under a client id.
func bodyOf(application string, r room, user, clientID string) string {
	return fmt.Sprintf(`{"text":"%s/%s/%s/%s"}`, application, r.id, user, clientID)
}
