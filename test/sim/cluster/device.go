package cluster

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"parley/edge/dialect"
	"parley/edge/hub"
	clientv1 "parley/proto/client/v1"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/test/history"
)

// inboxMax is how many bytes wait for a device before it is closed as too slow.
const inboxMax = 32_000

// device is a user's screen. It subscribes after the last sequence that it has, and comes back
// after every loss.
type device struct {
	client *client
	last   map[room]uint64 // what the device has; outlives everything
	feeds  map[room]*feed  // of this connection
	inbox  []byte          // frames that were sent and not read
	slow   bool            // the inbox overflowed: nothing more is taken
	deaf   time.Duration   // until when it reads nothing
}

// feed is one subscription as its connection sees it.
type feed struct {
	asked  int64 // names it
	sub    *hub.Subscription
	screen int // its place in the history, from 1; 0 = it has not begun
}

// socket is one life of a connection, as the hub knows it. What comes after its end goes nowhere.
type socket struct {
	device *device
	life   int
}

// Send implements hub.Subscriber.
func (s socket) Send(frame []byte) {
	d := s.device
	switch {
	case d.slow || d.client.lives != s.life:
	case len(d.inbox)+len(frame) > inboxMax:
		d.slow = true
	default:
		d.inbox = append(d.inbox, frame...)
	}
}

// SendNow implements hub.Subscriber.
func (s socket) SendNow(frame []byte) { s.Send(frame) }

// Ended implements hub.Subscriber.
func (s socket) Ended(ended *hub.Subscription) {
	for _, f := range s.device.feeds {
		if f.sub == ended {
			f.sub = nil
		}
	}
}

// turn lets the device do one thing, and plans the next.
func (d *device) turn() {
	c, w := d.client, d.client.w
	w.after(time.Duration(1+w.rng.IntN(60))*time.Millisecond, d.turn)
	n := w.nodes[c.at]
	if len(c.rooms) == 0 || n.dead || w.judged {
		return
	}
	r := c.rooms[w.rng.IntN(len(c.rooms))]
	switch what := w.rng.IntN(100); {
	case d.slow || what == 0 && !w.ending:
		c.hangUp()
	case what == 1 && !w.ending:
		d.deaf = w.now + time.Duration(w.rng.IntN(1000))*time.Millisecond
	case what == 2 && !w.ending && !n.paused:
		d.unsubscribe(r)
	case what < 20:
		d.subscribe(r)
	case w.now >= d.deaf:
		d.read()
	}
}

// lost is the end of a connection, by whatever.
func (d *device) lost() {
	n := d.client.w.nodes[d.client.at]
	for _, r := range d.client.rooms {
		f := d.feeds[r]
		if f == nil {
			continue
		}
		d.close(f)
		if sub := f.sub; sub != nil && !n.dead {
			n.run(func() { n.hub.Hub.Abandon(sub) })
		}
	}
	clear(d.feeds)
	d.inbox, d.slow = nil, false
}

// close notes that a subscription is over.
func (d *device) close(f *feed) {
	if f.screen > 0 {
		d.client.w.history.Screens[f.screen-1].Open = false
	}
}

// subscribe asks whether the user may read, and then subscribes after what the device has.
func (d *device) subscribe(r room) {
	c, w := d.client, d.client.w
	if d.feeds[r] != nil || d.slow {
		return
	}
	n, life, f := w.nodes[c.at], c.lives, &feed{asked: w.stamp()}
	d.feeds[r] = f
	c.ask(&nodev1.GrainRequest{Kind: nodev1.Kind_KIND_CONVERSATION, Id: r.id, Query: &nodev1.Query{Principal: c.principal(),
		Body: &nodev1.Query_GetConversation{GetConversation: &nodev1.GetConversation{}}}},
		func(reply *nodev1.Reply, err error) {
			switch {
			case c.lives != life || d.feeds[r] != f:
			case err != nil:
				delete(d.feeds, r)
			default:
				n.run(func() { d.start(n, life, r, f, reply.GetHead().GetSequence()) })
			}
		})
}

func (d *device) start(n *node, life int, r room, f *feed, head uint64) {
	c, w := d.client, d.client.w
	if c.lives != life || d.feeds[r] != f {
		return
	}
	after := d.last[r]
	if after > head {
		w.fail("S7", "%s has %d of %s, and a later check sees %d", c.name, after, r, head)
	}
	w.history.Screens = append(w.history.Screens, history.Screen{Application: c.application, Conversation: r.String(), User: c.user,
		Device: c.name, Began: f.asked, Head: head, After: after, Open: true})
	f.screen = len(w.history.Screens)
	f.sub = n.hub.Hub.Subscribe(hub.Request{Application: c.application, Conversation: r.id, User: c.user,
		After: &after, Head: head, Dialect: dialect.Proto{}, To: socket{d, c.lives}})
}

// unsubscribe ends a feed; what was sent before may still come and counts.
func (d *device) unsubscribe(r room) {
	f := d.feeds[r]
	if f == nil || f.sub == nil {
		return
	}
	ack := &clientv1.Ack{Id: strconv.FormatInt(f.asked, 10), Conversation: r.id}
	frame := dialect.Proto{}.Frame(nil, &clientv1.ServerFrame{Body: &clientv1.ServerFrame_Ack{Ack: ack}})
	d.client.w.nodes[d.client.at].hub.Hub.Unsubscribe(f.sub, frame, func() {})
	f.sub = nil
}

// read takes what has come.
func (d *device) read() {
	for len(d.inbox) > 0 {
		size, at := int(d.inbox[1]), 2
		switch size {
		case 126:
			size, at = int(binary.BigEndian.Uint16(d.inbox[2:])), 4
		case 127:
			size, at = int(binary.BigEndian.Uint64(d.inbox[2:])), 10
		}
		payload := d.inbox[at : at+size]
		var f clientv1.ServerFrame
		if err := f.UnmarshalVT(bytes.Clone(payload)); err != nil {
			panic(err)
		}
		d.inbox = d.inbox[at+size:]
		d.take(&f)
	}
}

// take is one frame read by the client.
func (d *device) take(f *clientv1.ServerFrame) {
	w, c := d.client.w, d.client
	in := func(conversation string) (room, *feed) {
		r := room{c.application, conversation}
		return r, d.feeds[r]
	}
	switch b := f.Body.(type) {
	case *clientv1.ServerFrame_Events:
		r, feed := in(b.Events.Conversation)
		for _, e := range b.Events.Events {
			d.show(r, feed, e)
		}
	case *clientv1.ServerFrame_Cursors:
		r, _ := in(b.Cursors.Conversation)
		for _, cursor := range b.Cursors.Cursors {
			w.history.Cursors = append(w.history.Cursors, history.Cursor{Conversation: r.String(), User: w.userOf[cursor.Member],
				Seen: cursor.Seen, At: w.stamp()})
		}
	case *clientv1.ServerFrame_Ack: // of an unsubscribe, perhaps after the hub ended it by itself
		if r, feed := in(b.Ack.Conversation); feed != nil && strconv.FormatInt(feed.asked, 10) == b.Ack.Id {
			d.close(feed)
			delete(d.feeds, r)
		}
	case *clientv1.ServerFrame_Unsubscribed:
		if r, feed := in(b.Unsubscribed.Conversation); feed != nil {
			d.close(feed)
			delete(d.feeds, r)
		}
	case *clientv1.ServerFrame_Soft:
	default:
		w.fail("frames", "%s got %v", c.name, f)
	}
}

// show is one event on the client's screen.
func (d *device) show(r room, f *feed, e *clientv1.Event) {
	w := d.client.w
	w.note(e.Sequence)
	w.shown++
	if f == nil || f.screen == 0 {
		w.fail("S10", "%s was shown %s/%d and is not subscribed", d.client.name, r, e.Sequence)
		return
	}
	screen := &w.history.Screens[f.screen-1]
	screen.Shown = append(screen.Shown, seen(e.Sequence, e.Type, e.GetUser().GetId(), e.ClientId, e.Body))
	d.last[r] = e.Sequence
}

// observed is a stored event as an observer of the history sees it.
func observed(e *eventv1.Event) history.Event {
	return seen(e.Sequence, e.Type, e.FromUser, e.ClientId, e.Body)
}

func seen(sequence uint64, kind, user, clientID string, body []byte) history.Event {
	e := history.Event{Sequence: sequence}
	switch {
	case kind == "member:joined":
		e.Kind, e.Subject = history.MemberIn, subject(body)
	case kind == "member:left":
		e.Kind, e.Subject = history.MemberOut, subject(body)
	case kind == "text":
		e.User, e.ClientID, e.Body = user, clientID, string(body)
		e.Deleted = !strings.Contains(e.Body, "text")
		if text := strings.TrimPrefix(e.Body, `{"text":"`); !e.Deleted {
			e.Application = strings.SplitN(text, "/", 2)[0]
		} else {
			e.Body = ""
		}
	}
	return e
}

// subject is the user that a member event is about.
func subject(body []byte) string {
	var b struct {
		User struct{ ID string }
	}
	if err := json.Unmarshal(body, &b); err != nil || b.User.ID == "" {
		panic("a member event without a user: " + string(body))
	}
	return b.User.ID
}
