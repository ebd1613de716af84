package nexmo

import (
	"encoding/json"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"parley/actors/conversation/document"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/proto/stamp"
)

// The newest generation reads strictly: an event that lacks a member, or has one of another type, is lost
// to it, and a page of the history fails with all that is on it. So what it is shown is made of what it
// reads, as it reads it: numbers become texts, and what nobody can make readable is not shown.

// AsChat is an event as the newest generation knows it, which reads no texts and images, but messages
// that say the same; false = it cannot read it. The clone of a deleted event says so in its body alone.
func AsChat(v *nodev1.EventView) (*nodev1.EventView, bool) {
	eventType, body, ok := readNew(v.GetEvent())
	if !ok {
		return nil, false
	}
	out := proto.CloneOf(v)
	out.Event.Type, out.Event.Body, out.Event.DeletedMs = eventType, body, 0
	return out, true
}

// readNew shows an event to the newest generation, which knows messages in place of texts and images.
func readNew(e *eventv1.Event) (eventType string, body []byte, ok bool) {
	eventType, body = e.GetType(), e.GetBody()
	kind, rest, _ := strings.Cut(eventType, ":")
	content := rest == "" && (kind == "text" || kind == "image" || kind == "message")
	switch {
	case content && e.GetDeletedMs() != 0:
		return "message", []byte(`{"message_type":"text","text":"","timestamp":{"deleted":"` + stamp.Of(e.GetDeletedMs()) + `"}}`), true
	case content:
		body = messageOf(kind, document.Fields(body))
		return "message", body, body != nil
	case kind == "text" || kind == "image":
		return "message:" + rest, bodyOf(e), rest == "seen" || rest == "delivered"
	case kind == "member":
		return eventType, memberOf(body), true
	case kind == "custom":
		return eventType, bodyOf(e), rest != "" // it knows none without a name
	}
	return eventType, bodyOf(e), kind == "message" || kind == "ephemeral" || eventType == "event:delete"
}

// fields are the members of an object, values verbatim.
type fields = map[string]json.RawMessage

// messageOf is the body of a message that says what a text, an image or a message says; nil = it knows none
// that does.
func messageOf(kind string, body fields) []byte {
	switch kind {
	case "text":
		return message(kind, body[kind])
	case "image":
		original := document.Fields(document.Fields(body["representations"])["original"])
		return message(kind, object(original, "url"))
	}
	kind, _ = document.String(body["message_type"])
	switch kind {
	case "text", "custom":
		return message(kind, body[kind])
	case "image", "audio", "video", "file", "vcard":
		return message(kind, object(document.Fields(body[kind]), "url"))
	case "location":
		return message(kind, object(document.Fields(body[kind]), "longitude", "latitude", "name?", "address?"))
	case "template":
		return templateOf(body)
	}
	return nil
}

// message is the body of a message of some kind; nil when its content is not what it must be.
func message(kind string, content []byte) []byte {
	if kind == "text" && !isText(content) || kind != "text" && !document.IsObject(content) {
		return nil
	}
	return slices.Concat([]byte(`{"message_type":"`+kind+`","`+kind+`":`), content, []byte("}"))
}

// templateOf is the body of a template. The policy stands in it or beside it, by who sent it.
func templateOf(body fields) []byte {
	template := document.Fields(body["template"])
	policy := object(document.Fields(body["whatsapp"]), "policy", "locale")
	if policy == nil {
		policy = object(document.Fields(template["whatsapp"]), "policy", "locale")
	}
	content := object(template, "name", "parameters[]?")
	if policy == nil || content == nil {
		return nil
	}
	return slices.Concat([]byte(`{"message_type":"template","template":`), content, []byte(`,"whatsapp":`), policy, []byte("}"))
}

// object is a JSON object of the named members, which are texts, or a list of texts if the name ends in "[]"; nil
// when one is missing or of another kind. One whose name ends in a question mark may be absent or null.
func object(from fields, names ...string) []byte {
	dst := []byte("{")
	for _, name := range names {
		name, optional := strings.CutSuffix(name, "?")
		name, list := strings.CutSuffix(name, "[]")
		value := from[name]
		if absent := len(value) == 0 || value[0] == 'n'; absent && optional {
			continue
		}
		if value = words(value); value == nil || document.IsArray(value) != list {
			return nil
		}
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = append(append(dst, `"`+name+`":`...), value...)
	}
	return append(dst, '}')
}

// words makes a text of a number, and of the numbers in a list; nil for any other kind of value.
func words(value json.RawMessage) json.RawMessage {
	switch {
	case isText(value):
		return value
	case document.IsNumber(value):
		return json.RawMessage(`"` + string(value) + `"`)
	case !document.IsArray(value):
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(value, &list) != nil {
		return nil
	}
	for i, one := range list {
		if document.IsArray(one) {
			return nil
		}
		if list[i] = words(one); list[i] == nil {
			return nil
		}
	}
	return encoded(list)
}

func isText(value []byte) bool { return len(value) > 0 && value[0] == '"' }

// silent are the media of a member that the generation cannot read those of: it wants to know of the sound.
const silent = `{"audio_settings":{"enabled":false}}`

// memberOf is the body of a membership event. What a client may say of itself there is of any type.
func memberOf(body []byte) []byte {
	of := document.Fields(body)
	if of == nil {
		return []byte("{}")
	}
	changed := plain(of, "channel", "id", "knocking_id", "number")
	changed = strip(of, "channel", "leg_ids", "from", "to") || changed // of calls
	changed = plain(of, "reason", "code", "text") || changed
	if of["media"] != nil && !audible(document.Fields(of["media"])["audio_settings"]) {
		of["media"], changed = json.RawMessage(silent), true
	}
	if !changed {
		return body
	}
	return encoded(of)
}

// audible says whether the generation reads the settings of a member's sound.
func audible(settings json.RawMessage) bool {
	of := document.Fields(settings)
	flag := func(name string) bool { v := string(of[name]); return v == "true" || v == "false" }
	may := func(name string) bool { v := string(of[name]); return v == "" || v == "null" || flag(name) }
	return string(settings) == "null" || flag("enabled") && may("earmuffed") && may("muted")
}

// strip takes names out of the object at a member; false = there were none.
func strip(of fields, at string, names ...string) (changed bool) {
	inner := document.Fields(of[at])
	for _, name := range names {
		if _, given := inner[name]; given {
			delete(inner, name)
			changed = true
		}
	}
	if changed {
		of[at] = encoded(inner)
	}
	return changed
}

// plain makes texts of those of the names in the object at a member that are numbers, and takes out what is
// neither; false = all are as they must be.
func plain(of fields, at string, names ...string) (changed bool) {
	inner := document.Fields(of[at])
	for _, name := range names {
		value, given := inner[name]
		if !given || isText(value) || string(value) == "null" {
			continue
		}
		changed = true
		if inner[name] = words(value); inner[name] == nil || document.IsArray(value) {
			delete(inner, name)
		}
	}
	if changed {
		of[at] = encoded(inner)
	}
	return changed
}

// encoded is the JSON of parts that are JSON.
func encoded(v any) json.RawMessage {
	out, err := json.Marshal(v)
	if err != nil {
		return json.RawMessage("{}")
	}
	return out
}
