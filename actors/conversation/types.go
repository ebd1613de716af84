package conversation

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"parley/actors/conversation/document"
	"parley/proto/code"
)

// treatment is what a conversation does with an event of some type.
type treatment int

const (
	refused treatment = iota // not for clients
	stored                   // one more event of the log
	relayed                  // told to whoever listens now, and forgotten
	receipt                  // stored, or a cursor only, by the number of members
)

const (
	typeText        = "text"
	typeImage       = "image"
	typeMessage     = "message"
	typeCustom      = "custom"
	customPrefix    = "custom:"
	typeEventDelete = "event:delete"
)

// receiptKind is what a receipt says.
type receiptKind int

const (
	delivered receiptKind = iota + 1
	seen
)

// receiptKinds are the receipt types. The target's own kind is not compared with the receipt's.
var receiptKinds = map[string]receiptKind{
	"text:delivered": delivered, "image:delivered": delivered, "message:delivered": delivered, "event:delivered": delivered,
	"text:seen": seen, "image:seen": seen, "message:seen": seen, "event:seen": seen,
}

// checkBody checks what a type demands of its body beyond being an object; nil demands nothing.
type checkBody func(fields map[string]json.RawMessage) error

// kind is how one type is treated.
type kind struct {
	treatment treatment
	check     checkBody
}

// kinds are the types that a client may send, but for receipts and custom:…. What the platform
// itself writes (member:…, conversation:…, event:delete, legs, rtc, sip) is not among them.
var kinds = map[string]kind{
	typeText:      {stored, needText},
	typeImage:     {stored, needObject("representations")},
	typeMessage:   {stored, needMessage},
	"text:update": {stored, needText},
	typeCustom:    {stored, nil},
	"ephemeral":   {relayed, nil},

	"text:typing:on": {relayed, nil}, "text:typing:off": {relayed, nil},

	"message:submitted": {stored, needTarget}, "message:rejected": {stored, needTarget}, "message:undeliverable": {stored, needTarget},

	"audio:play": {stored, nil}, "audio:play:stop": {stored, nil}, "audio:play:done": {stored, nil},
	"audio:say": {stored, nil}, "audio:say:stop": {stored, nil}, "audio:say:done": {stored, nil},
	"audio:dtmf":   {stored, nil},
	"audio:record": {stored, nil}, "audio:record:stop": {stored, nil}, "audio:record:done": {stored, nil},
	"audio:mute:on": {stored, nil}, "audio:mute:off": {stored, nil},
	"audio:earmuff:on": {stored, nil}, "audio:earmuff:off": {stored, nil},
	"audio:speaking:on": {stored, nil}, "audio:speaking:off": {stored, nil},
	"audio:ringing:start": {stored, nil}, "audio:ringing:stop": {stored, nil},
	"audio:asr:done": {stored, nil}, "audio:asr:record:done": {stored, nil},
	"video:mute:on": {stored, nil}, "video:mute:off": {stored, nil},
}

// kindOf says how a type is treated; refused for those that no client may send.
func kindOf(eventType string) kind {
	if k, ok := kinds[eventType]; ok {
		return k
	}
	if _, ok := receiptKinds[eventType]; ok {
		return kind{treatment: receipt}
	}
	if isCustom(eventType) {
		return kind{treatment: stored}
	}
	return kind{}
}

// checkType says why a type is refused; nil when it is not.
func checkType(eventType string) error {
	switch {
	case eventType == "":
		return code.Invalid("type", "is required")
	case len(eventType) > TypeCharactersMax:
		return code.Invalid("type", "length must be less than or equal to 100 characters long")
	case kindOf(eventType).treatment != refused:
		return nil
	case strings.HasPrefix(eventType, customPrefix):
		return code.Invalid("type", "must be custom: and then one or more of A-Z, a-z, 0-9, _, - and :")
	case eventType == typeEventDelete:
		return code.Invalid("type", "must not be event:delete; delete the event itself")
	default:
		return code.Invalid("type", "must be a type of event that a client may send")
	}
}

// isCustom says whether a type is custom or custom:<name>.
func isCustom(eventType string) bool {
	if eventType == typeCustom {
		return true
	}
	name, ok := strings.CutPrefix(eventType, customPrefix)
	if !ok || name == "" {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == ':')
	})
}

func needText(fields map[string]json.RawMessage) error { return needString(fields, "", typeText) }

func needString(fields map[string]json.RawMessage, path, name string) error {
	if fields[name] == nil {
		return code.Invalid("body."+path+name, "is required")
	}
	if _, ok := document.String(fields[name]); !ok {
		return code.Invalid("body."+path+name, "must be a string")
	}
	return nil
}

func needObject(name string) checkBody {
	return func(fields map[string]json.RawMessage) error {
		if fields[name] == nil {
			return code.Invalid("body."+name, "is required")
		}
		if !document.IsObject(fields[name]) {
			return code.Invalid("body."+name, "must be an object")
		}
		return nil
	}
}

// needTarget wants the event that a status of a message is about.
func needTarget(fields map[string]json.RawMessage) error {
	for _, name := range []string{"event_id", "original_event_id"} {
		if fields[name] == nil {
			continue
		}
		if _, ok := sequenceOf(fields[name]); !ok {
			return code.Invalid("body."+name, "must be a number")
		}
		return nil
	}
	return code.Invalid("body.event_id", "is required")
}

// messageTypes are the message_type values, with the member that carries their content.
var messageTypes = []struct {
	name  string
	check checkBody
}{
	{"text", needText}, {"image", needURL("image")}, {"audio", needURL("audio")}, {"video", needURL("video")},
	{"file", needURL("file")}, {"template", needObject("template")}, {"custom", needObject("custom")},
	{"vcard", needURL("vcard")}, {"location", needPlace}, {"random", nil},
}

func needMessage(fields map[string]json.RawMessage) error {
	if err := needString(fields, "", "message_type"); err != nil {
		return err
	}
	wanted, _ := document.String(fields["message_type"])
	names := make([]string, 0, len(messageTypes))
	for _, t := range messageTypes {
		if t.name == wanted && t.check == nil {
			return nil
		}
		if t.name == wanted {
			return t.check(fields)
		}
		names = append(names, t.name)
	}
	return code.Invalid("body.message_type", "must be one of ["+strings.Join(names, ", ")+"]")
}

func needURL(name string) checkBody {
	return func(fields map[string]json.RawMessage) error {
		if err := needObject(name)(fields); err != nil {
			return err
		}
		return needString(document.Fields(fields[name]), name+".", "url")
	}
}

// needPlace wants coordinates in degrees. Some clients send them as texts.
func needPlace(fields map[string]json.RawMessage) error {
	if err := needObject("location")(fields); err != nil {
		return err
	}
	place := document.Fields(fields["location"])
	i := slices.IndexFunc(coordinates, func(name string) bool { return !isDegrees(place[name]) })
	if i >= 0 {
		return code.Invalid("body.location."+coordinates[i], "must be a number")
	}
	return nil
}

func isDegrees(value json.RawMessage) bool {
	if text, ok := document.String(value); ok {
		degrees, err := strconv.ParseFloat(text, 64)
		return err == nil && math.Abs(degrees) <= math.MaxFloat64 && !strings.ContainsAny(text, "xX_")
	}
	return document.IsNumber(value)
}

var coordinates = []string{"latitude", "longitude"}
