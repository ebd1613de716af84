package dialect

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"parley/edge/socket"
	clientv1 "parley/proto/client/v1"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// Name implements Dialect.
func (JSON) Name() string { return "parley.v1.json" }

// Frame implements Native. The object is written first and its header put before it, because
// its length is known only then.
func (JSON) Frame(dst []byte, f *clientv1.ServerFrame) []byte {
	start := len(dst)
	const room = socket.HeaderBytesMax
	dst = append(dst, make([]byte, room)...)
	dst = AppendJSON(dst, f)
	payload := dst[start+room:]
	var space [room]byte
	header := socket.AppendHeader(space[:0], socket.Text, len(payload))
	copy(dst[start:], header)
	n := copy(dst[start+len(header):], payload)
	return dst[:start+len(header)+n]
}

// Events implements Dialect.
func (d JSON) Events(dst []byte, conversation string, events []*nodev1.EventView) []byte {
	return d.Frame(dst, eventsFrame(conversation, events))
}

// Soft implements Dialect.
func (d JSON) Soft(dst []byte, conversation string, event *nodev1.EventView) []byte {
	return d.Frame(dst, softFrame(conversation, event))
}

// Cursor implements Dialect.
func (d JSON) Cursor(dst []byte, conversation string, c *eventv1.Cursor) []byte {
	return d.Frame(dst, cursorFrame(conversation, c))
}

// Membership implements Dialect.
func (d JSON) Membership(dst []byte, m *nodev1.MembershipChange) []byte {
	return d.Frame(dst, membershipFrame(m))
}

// Reset implements Dialect.
func (d JSON) Reset(dst []byte, conversation string, head uint64) []byte {
	return d.Frame(dst, resetFrame(conversation, head))
}

// Unsubscribed implements Dialect.
func (d JSON) Unsubscribed(dst []byte, conversation string, r Reason) []byte {
	return d.Frame(dst, unsubscribedFrame(conversation, r))
}

// AppendJSON appends f as the one JSON object of its message. Empty fields are left out.
func AppendJSON(dst []byte, f *clientv1.ServerFrame) []byte {
	switch b := f.GetBody().(type) {
	case *clientv1.ServerFrame_Events:
		return appendEvents(dst, b.Events)
	case *clientv1.ServerFrame_Ack:
		return appendAck(dst, b.Ack)
	case *clientv1.ServerFrame_Error:
		return appendError(dst, b.Error)
	case *clientv1.ServerFrame_Soft:
		return appendSoft(dst, b.Soft)
	case *clientv1.ServerFrame_Cursors:
		return appendCursors(dst, b.Cursors)
	case *clientv1.ServerFrame_Membership:
		return appendMembership(dst, b.Membership)
	case *clientv1.ServerFrame_Welcome:
		return appendWelcome(dst, b.Welcome)
	case *clientv1.ServerFrame_Reset_:
		o := open(dst, "reset").text("conversation", b.Reset_.Conversation)
		o.dst = strconv.AppendUint(o.key("head"), b.Reset_.Head, 10)
		return o.close()
	case *clientv1.ServerFrame_Unsubscribed:
		return open(dst, "unsubscribed").text("conversation", b.Unsubscribed.Conversation).
			text("reason", b.Unsubscribed.Reason).close()
	case *clientv1.ServerFrame_Refetch:
		return open(dst, "refetch").close()
	case *clientv1.ServerFrame_Pong:
		return open(dst, "pong").text("id", b.Pong.Id).number("timestamp_ms", uint64(b.Pong.TimestampMs)).close()
	}
	return append(dst, "{}"...)
}

func appendEvents(dst []byte, f *clientv1.Events) []byte {
	o := open(dst, "events").text("conversation", f.Conversation)
	o.dst = appendEventList(o.key("events"), f.Events)
	return o.close()
}

func appendEventList(dst []byte, events []*clientv1.Event) []byte {
	dst = append(dst, '[')
	for i, e := range events {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendEvent(dst, e)
	}
	return append(dst, ']')
}

func appendEvent(dst []byte, e *clientv1.Event) []byte {
	o := object{dst: append(dst, '{'), empty: true}
	o = o.number("sequence", e.Sequence).text("type", e.Type).text("from", e.From).user(e.User).text("to", e.To)
	o = o.body(e.Body).number("timestamp_ms", uint64(e.TimestampMs)).text("client_id", e.ClientId)
	o = o.number("deleted_ms", uint64(e.DeletedMs))
	if len(e.Receipts) > 0 {
		o.dst = append(o.key("receipts"), '[')
		for i, r := range e.Receipts {
			if i > 0 {
				o.dst = append(o.dst, ',')
			}
			one := object{dst: append(o.dst, '{'), empty: true}
			o.dst = one.text("member", r.Member).number("delivered_ms", uint64(r.DeliveredMs)).
				number("seen_ms", uint64(r.SeenMs)).close()
		}
		o.dst = append(o.dst, ']')
	}
	return o.close()
}

func appendAck(dst []byte, f *clientv1.Ack) []byte {
	o := open(dst, "ack").text("id", f.Id).text("conversation", f.Conversation).number("sequence", f.Sequence)
	o = o.number("timestamp_ms", uint64(f.TimestampMs)).flag("duplicate", f.Duplicate).number("head", f.Head)
	if f.Member != nil {
		one := object{dst: append(o.key("member"), '{'), empty: true}
		o.dst = one.text("id", f.Member.Id).text("state", f.Member.State).user(f.Member.User).close()
	}
	o = o.text("name", f.Name)
	if f.Events != nil {
		o.dst = appendEventList(o.key("events"), f.Events)
	}
	if len(f.Next) > 0 {
		o = o.text("next", base64.StdEncoding.EncodeToString(f.Next))
	}
	return o.close()
}

func appendError(dst []byte, f *clientv1.Error) []byte {
	o := open(dst, "error").text("id", f.Id).text("code", f.Code).text("message", f.Message)
	if len(f.Fields) > 0 {
		o.dst = append(o.key("fields"), '[')
		for i, field := range f.Fields {
			if i > 0 {
				o.dst = append(o.dst, ',')
			}
			one := object{dst: append(o.dst, '{'), empty: true}
			o.dst = one.text("name", field.Name).text("reason", field.Reason).close()
		}
		o.dst = append(o.dst, ']')
	}
	return o.number("retry_after_ms", uint64(f.RetryAfterMs)).text("recovery", f.Recovery).close()
}

func appendSoft(dst []byte, f *clientv1.Soft) []byte {
	return open(dst, "soft").text("conversation", f.Conversation).text("event_type", f.EventType).text("from", f.From).
		user(f.User).body(f.Body).number("timestamp_ms", uint64(f.TimestampMs)).close()
}

func appendCursors(dst []byte, f *clientv1.Cursors) []byte {
	o := open(dst, "cursors").text("conversation", f.Conversation)
	o.dst = append(o.key("cursors"), '[')
	for i, c := range f.Cursors {
		if i > 0 {
			o.dst = append(o.dst, ',')
		}
		one := object{dst: append(o.dst, '{'), empty: true}
		o.dst = one.text("member", c.Member).number("delivered", c.Delivered).number("seen", c.Seen).close()
	}
	o.dst = append(o.dst, ']')
	return o.close()
}

func appendMembership(dst []byte, f *clientv1.Membership) []byte {
	o := open(dst, "membership").text("conversation", f.Conversation).text("state", f.State).
		text("member", f.Member).flag("deleted", f.Deleted)
	if f.Event != nil {
		o.dst = appendEvent(o.key("event"), f.Event)
	}
	return o.close()
}

func appendWelcome(dst []byte, f *clientv1.Welcome) []byte {
	o := open(dst, "welcome").text("id", f.Id).text("session_id", f.SessionId).user(f.User)
	if l := f.Limits; l != nil {
		one := object{dst: append(o.key("limits"), '{'), empty: true}
		o.dst = one.number("frame_bytes", uint64(l.FrameBytes)).number("posts_in_flight", uint64(l.PostsInFlight)).
			number("subscriptions", uint64(l.Subscriptions)).number("ping_interval_ms", uint64(l.PingIntervalMs)).
			number("resume_ms", uint64(l.ResumeMs)).close()
	}
	return o.text("node", f.Node).flag("resumed", f.Resumed).number("expires_ms", uint64(f.ExpiresMs)).
		number("timestamp_ms", uint64(f.TimestampMs)).close()
}

// object writes the members of one JSON object, leaving empty ones out.
type object struct {
	dst   []byte
	empty bool
}

// open starts a frame.
func open(dst []byte, kind string) object {
	return object{dst: append(dst, '{'), empty: true}.text("type", kind)
}

func (o object) close() []byte { return append(o.dst, '}') }

// key writes a member's name; the caller appends the value.
func (o *object) key(name string) []byte {
	if !o.empty {
		o.dst = append(o.dst, ',')
	}
	o.empty = false
	o.dst = append(o.dst, '"')
	o.dst = append(o.dst, name...)
	o.dst = append(o.dst, '"', ':')
	return o.dst
}

func (o object) text(name, value string) object {
	if value != "" {
		o.dst = appendString(o.key(name), value)
	}
	return o
}

func (o object) number(name string, value uint64) object {
	if value != 0 {
		o.dst = strconv.AppendUint(o.key(name), value, 10)
	}
	return o
}

func (o object) flag(name string, value bool) object {
	if value {
		o.dst = append(o.key(name), "true"...)
	}
	return o
}

// body writes an event's body: a JSON object already, checked when it was posted.
func (o object) body(value []byte) object {
	if len(value) == 0 {
		value = []byte("{}")
	}
	o.dst = append(o.key("body"), value...)
	return o
}

func (o object) user(u *clientv1.User) object {
	if u != nil {
		one := object{dst: append(o.key("user"), '{'), empty: true}
		o.dst = one.text("id", u.Id).text("name", u.Name).text("display_name", u.DisplayName).text("image_url", u.ImageUrl).close()
	}
	return o
}

// appendString writes s quoted. Invalid UTF-8 becomes U+FFFD, as in encoding/json.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		b := s[i]
		if b >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[start:i]...), `\ufffd`...)
				start = i + 1
			}
			i += size
			continue
		}
		if b < 0x20 || b == '"' || b == '\\' {
			dst = append(dst, s[start:i]...)
			if b < 0x20 {
				dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
			} else {
				dst = append(dst, '\\', b)
			}
			start = i + 1
		}
		i++
	}
	return append(append(dst, s[start:]...), '"')
}

var (
	_ Native = JSON{}
	_ Native = Proto{}
)
