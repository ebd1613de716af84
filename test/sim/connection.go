package sim

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"

	"parley/edge/dialect"
	"parley/edge/hub"
	clientv1 "parley/proto/client/v1"
	nodev1 "parley/proto/node/v1"
)

// inboxMax is how many bytes wait for a simulated client before it is closed as too slow.
const inboxMax = 16_000

// connection is one device of one user. It subscribes after the last sequence that it has, reads
// what comes when the scheduler lets it, and comes back after every loss.
type connection struct {
	world *World
	user  *client

	last  map[string]uint64 // what the device has, per conversation; outlives everything
	feeds map[string]*feed  // of this connection
	inbox []byte            // frames that have been sent and not been read
	slow  bool              // the inbox overflowed: nothing more is taken
	lives int               // connections before this one; late answers are nobody's
}

// feed is one subscription as its connection sees it.
type feed struct {
	asked int64 // tick of the question whether the user may; names the feed
	sub   *hub.Subscription
	shown *showing
}

// showing is what one subscription showed, for the rules that need the whole log.
type showing struct {
	room, user string
	head       uint64 // at the check
	last       uint64 // highest sequence shown
}

// socket is one life of a connection, as the hub knows it. What comes after its end goes nowhere.
type socket struct {
	connection *connection
	life       int
}

// Send implements hub.Subscriber.
func (s socket) Send(frame []byte) {
	c := s.connection
	switch {
	case c.slow || c.lives != s.life:
	case len(c.inbox)+len(frame) > inboxMax:
		c.slow = true
	default:
		c.inbox = append(c.inbox, frame...)
	}
}

// SendNow implements hub.Subscriber.
func (s socket) SendNow(frame []byte) { s.Send(frame) }

// Ended implements hub.Subscriber.
func (s socket) Ended(ended *hub.Subscription) {
	if f := s.connection.feeds[ended.Conversation()]; f != nil && f.sub == ended {
		f.sub = nil
	}
}

// turn lets the device do one thing.
func (c *connection) turn() {
	w := c.world
	switch what := w.rng.IntN(20); {
	case c.slow:
		w.slowed++
		c.hangUp()
	case what < 5:
		c.subscribe(w.rooms[w.rng.IntN(len(w.rooms))])
	case what == 5 && w.rng.IntN(4) == 0:
		c.hangUp()
	case what == 6:
		c.unsubscribe(w.rooms[w.rng.IntN(len(w.rooms))])
	case what == 7 && w.rng.IntN(4) == 0:
		c.slow = true // the network takes nothing for a while, which fills any inbox
	case what < 17:
		c.read(1 + w.rng.IntN(8))
	}
}

// hangUp ends the connection. What was sent and not read is lost.
func (c *connection) hangUp() {
	for _, room := range c.world.rooms {
		if f := c.feeds[room]; f != nil && f.sub != nil {
			c.world.node.live.hub.Hub.Abandon(f.sub)
		}
	}
	c.lost()
}

// lost is the end of a connection, by whatever.
func (c *connection) lost() {
	clear(c.feeds)
	c.inbox, c.slow = nil, false
	c.lives++
}

// subscribe asks whether the user may read, and then subscribes after what the device has.
func (c *connection) subscribe(room string) {
	w := c.world
	if c.feeds[room] != nil || c.slow {
		return
	}
	w.tick++
	f, lives, node := &feed{asked: w.tick}, c.lives, w.node
	c.feeds[room] = f
	node.query(c.user.principal(), room, &nodev1.Query{Body: &nodev1.Query_GetConversation{GetConversation: &nodev1.GetConversation{}}},
		func(r *nodev1.Reply, err error) {
			node.live.later(func() {
				switch {
				case c.lives != lives || c.feeds[room] != f || w.node != node:
				case err != nil:
					delete(c.feeds, room)
				default:
					c.start(room, f, r.GetHead().GetSequence())
				}
			})
		})
}

func (c *connection) start(room string, f *feed, head uint64) {
	w := c.world
	after := c.last[room]
	if after > head {
		w.fail("S7", "%s has %d of %s, and a later check sees %d", c.user.name, after, room, head)
	}
	f.shown = &showing{room: room, user: c.user.user, head: head}
	w.showings = append(w.showings, f.shown)
	f.sub = w.node.live.hub.Hub.Subscribe(hub.Request{
		Application: application, Conversation: room, User: c.user.user,
		After: &after, Head: head, Dialect: dialect.Proto{}, To: socket{c, c.lives},
	})
}

// unsubscribe ends a feed; what was sent before may still come and counts.
func (c *connection) unsubscribe(room string) {
	f := c.feeds[room]
	if f == nil || f.sub == nil {
		return
	}
	ack := &clientv1.Ack{Id: strconv.FormatInt(f.asked, 10), Conversation: room}
	frame := dialect.Proto{}.Frame(nil, &clientv1.ServerFrame{Body: &clientv1.ServerFrame_Ack{Ack: ack}})
	c.world.node.live.hub.Hub.Unsubscribe(f.sub, frame, func() {})
	f.sub = nil
}

// read takes some frames from the inbox; a negative number takes all.
func (c *connection) read(frames int) {
	for ; frames != 0 && len(c.inbox) > 0; frames-- {
		payload, rest := cutFrame(c.inbox)
		var f clientv1.ServerFrame
		if err := f.UnmarshalVT(payload); err != nil {
			panic(err)
		}
		c.inbox = bytes.Clone(rest)
		c.take(&f)
	}
}

// cutFrame takes the first WebSocket frame's payload.
func cutFrame(b []byte) (payload, rest []byte) {
	size, at := int(b[1]), 2
	switch size {
	case 126:
		size, at = int(binary.BigEndian.Uint16(b[2:])), 4
	case 127:
		size, at = int(binary.BigEndian.Uint64(b[2:])), 10
	}
	return b[at : at+size], b[at+size:]
}

// take is one frame read by the client.
func (c *connection) take(f *clientv1.ServerFrame) {
	w := c.world
	switch b := f.Body.(type) {
	case *clientv1.ServerFrame_Events:
		for _, e := range b.Events.Events {
			c.show(b.Events.Conversation, e)
		}
	case *clientv1.ServerFrame_Cursors:
		for _, cursor := range b.Cursors.Cursors {
			w.claims.check(w, b.Cursors.Conversation, w.userOf[cursor.Member], max(cursor.Delivered, cursor.Seen))
		}
	case *clientv1.ServerFrame_Soft:
		w.typings++
		if c.feeds[b.Soft.Conversation] == nil {
			w.fail("S10", "%s was shown %s of %s and is not subscribed", c.user.name, b.Soft.EventType, b.Soft.Conversation)
		}
	case *clientv1.ServerFrame_Ack: // of an unsubscribe, perhaps after the hub ended it by itself
		if f := c.feeds[b.Ack.Conversation]; f != nil && strconv.FormatInt(f.asked, 10) == b.Ack.Id {
			delete(c.feeds, b.Ack.Conversation)
		}
	case *clientv1.ServerFrame_Unsubscribed:
		delete(c.feeds, b.Unsubscribed.Conversation)
	default:
		w.fail("frames", "%s got %v", c.user.name, f)
	}
}

// show is one event on the client's screen.
func (c *connection) show(room string, e *clientv1.Event) {
	w, f := c.world, c.feeds[room]
	w.note(e.Sequence)
	w.shown++
	if f == nil || f.shown == nil {
		w.fail("S10", "%s was shown %s/%d and is not subscribed", c.user.name, room, e.Sequence)
		return
	}
	if e.Sequence != c.last[room]+1 {
		w.fail("S5", "%s was shown %s/%d after %d", c.user.name, room, e.Sequence, c.last[room])
	}
	c.last[room], f.shown.last = e.Sequence, e.Sequence
	if at := w.deleted[slot{room, e.Sequence}]; at != 0 && at < f.asked && strings.Contains(string(e.Body), "text") {
		w.fail("S11", "%s was shown the body of %s/%d on a subscription that is younger than its deletion", c.user.name, room, e.Sequence)
	}
	if claimed, ok := receiptOf(e.Type, e.Body); ok {
		w.claims.check(w, room, e.GetUser().GetId(), claimed)
	}
}
