package nexmo

import (
	"encoding/json"
	"strconv"
	"strings"

	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/proto/stamp"
)

// read says as which type, and with which body, a generation is shown an event; false = it could
// not read it at all.
func (g Generation) read(e *eventv1.Event) (eventType string, body []byte, ok bool) {
	if g == SDK {
		return readNew(e)
	}
	eventType, body = e.GetType(), bodyOf(e)
	switch {
	case g == Conversation && strings.HasPrefix(eventType, "member:"):
		// It would take this key for the member's own conversation object, and lose the event.
		return eventType, without(body, "conversation"), true
	case g < Client && (eventType == "message" || strings.HasPrefix(eventType, "message:")):
		return readOld(eventType, body, e.GetDeletedMs() != 0)
	}
	return eventType, body, true
}

// bodyOf is an event's body, an object even if it has none. Of a deleted one only the time of its deletion is left.
func bodyOf(e *eventv1.Event) []byte {
	switch {
	case e.GetDeletedMs() != 0:
		return []byte(`{"timestamp":{"deleted":"` + stamp.Of(e.GetDeletedMs()) + `"}}`)
	case len(e.GetBody()) == 0:
		return []byte("{}")
	}
	return e.GetBody()
}

// readOld shows a message, or a receipt of one, to the generations that know texts alone. Of one that is
// deleted, or that a receipt is about, the kind cannot be told any more: most are texts.
func readOld(eventType string, body []byte, deleted bool) (string, []byte, bool) {
	switch eventType {
	case "message:seen", "message:delivered":
		return "text" + strings.TrimPrefix(eventType, "message"), body, true
	case "message":
		if deleted {
			return "text", body, true
		}
		if text, is := messageText(body); is {
			return "text", text, true
		}
	}
	return eventType, body, true
}

// messageText is the body of a text that says what a message of type text said.
func messageText(body []byte) ([]byte, bool) {
	var message struct {
		Type string `json:"message_type"`
		Text string `json:"text"`
	}
	if json.Unmarshal(body, &message) != nil || message.Type != "text" {
		return nil, false
	}
	return append(appendString([]byte(`{"text":`), message.Text), '}'), true
}

// without is a JSON object without one of its members.
func without(object []byte, name string) []byte {
	var members map[string]json.RawMessage
	if json.Unmarshal(object, &members) != nil {
		return object
	}
	delete(members, name)
	out, err := json.Marshal(members)
	if err != nil {
		return object
	}
	return out
}

// appendPushed appends an event as it is pushed.
func (g Generation) appendPushed(dst []byte, conversation string, v *nodev1.EventView, body []byte) []byte {
	e := v.GetEvent()
	dst = appendString(append(dst, `{"cid":`...), conversation)
	dst = g.appendHead(dst, e)
	dst = append(append(dst, `,"body":`...), body...)
	if len(v.GetReceipts()) > 0 {
		dst = appendState(append(dst, `,"state":`...), v.GetReceipts())
	}
	if g >= Client {
		dst = appendEmbedded(dst, v)
	}
	return append(dst, '}')
}

// appendHead appends the members that every form of an event has, after a first one.
func (g Generation) appendHead(dst []byte, e *eventv1.Event) []byte {
	if e.GetSequence() != 0 {
		dst = strconv.AppendUint(append(dst, `,"id":`...), e.GetSequence(), 10)
	}
	if e.GetFromMember() != "" {
		dst = appendString(append(dst, `,"from":`...), e.GetFromMember())
	}
	if e.GetTo() != "" {
		dst = appendString(append(dst, `,"to":`...), e.GetTo())
	} else if g < Client {
		dst = append(dst, `,"to":null`...)
	}
	return appendString(append(dst, `,"timestamp":`...), stamp.Of(e.GetTimestampMs()))
}

// AppendHistory appends an event as it stands in a list of past events; nothing, and false, if
// the generation cannot read it.
func (g Generation) AppendHistory(dst []byte, v *nodev1.EventView) ([]byte, bool) {
	eventType, body, ok := g.read(v.GetEvent())
	if !ok {
		return dst, false
	}
	dst = appendString(append(dst, `{"type":`...), eventType)
	dst = g.appendHead(dst, v.GetEvent())
	dst = append(append(dst, `,"body":`...), body...)
	dst = append(dst, `,"state":`...)
	if len(v.GetReceipts()) == 0 {
		return append(dst, "null}"...), true
	}
	return append(appendState(dst, v.GetReceipts()), '}'), true
}

// AppendPending appends an event that a client missed, with its type and conversation, as the
// newer generations take it at login.
func (g Generation) AppendPending(dst []byte, conversation string, v *nodev1.EventView) ([]byte, bool) {
	eventType, body, ok := g.read(v.GetEvent())
	if !ok {
		return dst, false
	}
	dst = appendString(append(dst, `{"type":`...), eventType)
	dst = appendString(append(dst, `,"cid":`...), conversation)
	dst = g.appendHead(dst, v.GetEvent())
	dst = append(append(dst, `,"body":`...), body...)
	return append(appendEmbedded(dst, v), '}'), true
}

// appendState appends who has received and seen an event, and when.
func appendState(dst []byte, receipts []*eventv1.Receipt) []byte {
	dst = appendTimes(append(dst, `{"delivered_to":`...), receipts, (*eventv1.Receipt).GetDeliveredMs)
	dst = appendTimes(append(dst, `,"seen_by":`...), receipts, (*eventv1.Receipt).GetSeenMs)
	return append(dst, '}')
}

func appendTimes(dst []byte, receipts []*eventv1.Receipt, at func(*eventv1.Receipt) int64) []byte {
	dst = append(dst, '{')
	first := true
	for _, r := range receipts {
		if at(r) == 0 {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendString(dst, r.GetMemberId())
		dst = appendString(append(dst, ':'), stamp.Of(at(r)))
	}
	return append(dst, '}')
}

// appendEmbedded appends who is behind an event; optional members are absent, never null.
func appendEmbedded(dst []byte, v *nodev1.EventView) []byte {
	a := v.GetAuthor()
	if a.GetUserId() == "" && v.GetEvent().GetFromMember() == "" {
		return dst
	}
	dst = append(dst, `,"_embedded":{`...)
	if a.GetUserId() != "" {
		dst = appendString(append(dst, `"from_user":{"id":`...), a.GetUserId())
		dst = appendString(append(dst, `,"name":`...), a.GetName())
		dst = appendIf(dst, `,"display_name":`, a.GetDisplayName())
		dst = appendIf(dst, `,"image_url":`, a.GetImageUrl())
		if len(a.GetCustomData()) > 0 {
			dst = append(append(dst, `,"custom_data":`...), a.GetCustomData()...)
		}
		dst = append(dst, '}')
	}
	if from := v.GetEvent().GetFromMember(); from != "" {
		if a.GetUserId() != "" {
			dst = append(dst, ',')
		}
		dst = append(appendString(append(dst, `"from_member":{"id":`...), from), '}')
	}
	return append(dst, '}')
}

func appendIf(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return appendString(append(dst, name...), value)
}

// appendString appends s as a JSON string.
func appendString(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if b := s[i]; b < ' ' || b > '~' || b == '"' || b == '\\' {
			quoted, _ := json.Marshal(s) // a string always has a JSON form
			return append(dst, quoted...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}
