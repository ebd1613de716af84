package sim

import (
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// deed is one of the things that users do besides posting. It is tried once; what it did is told
// by its answer, or not at all.
func (c *client) deed(room string) {
	w := c.world
	other := w.clients[w.rng.IntN(len(w.clients))]
	switch what := w.rng.IntN(100); {
	case what < 25:
		c.receipt(room)
	case what < 40:
		c.command(room, &nodev1.Command{Body: &nodev1.Command_PostEvent{PostEvent: &nodev1.PostEvent{
			Type: "text:typing:on", Body: []byte(`{"activity":1}`)}}}, nil)
	case what < 58:
		c.delete()
	case what < 66:
		c.command(room, leave("me"), nil)
	case what < 70:
		if member := w.memberOf[[2]string{room, other.user}]; member != "" {
			c.command(room, leave(member), nil)
		}
	case what < 74:
		c.command(room, w.add(other, nodev1.MemberAction_MEMBER_ACTION_INVITE), w.joined(room, other))
	default:
		c.command(room, w.add(c, nodev1.MemberAction_MEMBER_ACTION_JOIN), w.joined(room, c))
	}
}

// leave ends a membership.
func leave(member string) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_UpdateMember{UpdateMember: &nodev1.UpdateMember{
		MemberId: member, Action: nodev1.MemberAction_MEMBER_ACTION_LEAVE}}}
}

// add makes whom a member under a new id, unless it is one.
func (w *World) add(whom *client, action nodev1.MemberAction) *nodev1.Command {
	w.members++
	id := fixedID("MEM-", w.members)
	w.userOf[id] = whom.user
	return &nodev1.Command{Body: &nodev1.Command_AddMember{AddMember: &nodev1.AddMember{
		NewMemberId: id, Action: action, User: &eventv1.Author{UserId: whom.user, Name: whom.name}}}}
}

func (w *World) joined(room string, whom *client) func(*nodev1.Reply) {
	return func(r *nodev1.Reply) { w.memberOf[[2]string{room, whom.user}] = r.Member.Id }
}

// receipt says how far one of the user's devices has read, or less.
func (c *client) receipt(room string) {
	w := c.world
	var shown uint64
	for _, device := range w.connections {
		if device.user == c {
			shown = max(shown, device.last[room])
		}
	}
	if shown == 0 {
		return
	}
	seen := 1 + w.rng.Uint64N(shown)
	w.claims.claim(room, c.user, shown)
	c.command(room, &nodev1.Command{Body: &nodev1.Command_AdvanceCursor{AdvanceCursor: &nodev1.AdvanceCursor{
		Delivered: shown, Seen: seen}}}, func(r *nodev1.Reply) {
		key := [2]string{room, r.Cursor.MemberId}
		if r.Cursor.Seen < seen || r.Cursor.Seen < w.cursors[key] {
			w.fail("S9", "%s: the cursor of %s went back to %d", room, c.name, r.Cursor.Seen)
		}
		w.cursors[key] = r.Cursor.Seen
	})
}

// delete empties one of the user's own events.
func (c *client) delete() {
	w := c.world
	if len(c.posted) == 0 {
		return
	}
	i := w.rng.IntN(len(c.posted))
	e := c.posted[i]
	c.command(e.room, &nodev1.Command{Body: &nodev1.Command_DeleteEvent{DeleteEvent: &nodev1.DeleteEvent{Sequence: e.sequence}}},
		func(*nodev1.Reply) {
			w.tick++
			w.deleted[e] = w.tick
		})
}

// command asks once. done hears of what was surely done.
func (c *client) command(room string, command *nodev1.Command, done func(*nodev1.Reply)) {
	w := c.world
	command.Principal = c.principal()
	c.waiting, c.life = true, w.crashes
	life := w.crashes
	w.node.ask(nodev1.Kind_KIND_CONVERSATION, room, command, func(r *nodev1.GrainReply) {
		if life != w.crashes || !c.waiting {
			return
		}
		c.waiting = false
		w.note(r.GetReply().GetEvent().GetEvent().GetSequence())
		switch {
		case r.Error != nil && !expected(code.Code(r.Error.Code)):
			panic("a command was refused: " + r.Error.Code + " " + r.Error.Message)
		case r.Error == nil && !r.NotLeader && done != nil:
			w.deeds++
			done(r.Reply)
		}
	})
}

// outsider says whether a refusal says that the asker is no joined member.
func outsider(c code.Code) bool {
	return c == code.EventNotJoined || c == code.ConversationNotFound || c == code.Permission
}

// expected are the refusals that users who come and go at random must meet.
func expected(c code.Code) bool {
	switch c {
	case code.Unavailable, code.Unknown, code.MemberAlreadyJoined, code.MemberAlreadyInvited, code.InvalidMemberState, code.MemberNotFound:
		return true
	case code.EventNotFound: // by an activation that another of the same epoch has overtaken
		return true
	}
	return outsider(c)
}
