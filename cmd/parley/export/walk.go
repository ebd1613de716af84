package export

import (
	"bytes"
	"encoding/json"
	"iter"
	"slices"
	"strings"
	"unicode"
)

// item is one thing of an export, with what stands round it.
type item struct {
	at           Place
	raw          json.RawMessage
	start        int    // of raw, in the text that it is a part of
	kind         string // "users", "conversations", "members" or "events"; empty = look at the thing
	conversation string // that its surroundings name
}

// part is what begins at start in i, with the surroundings of i.
func (i item) part(start int, raw []byte) item {
	i.start += start
	i.raw = raw
	return i
}

var (
	// lists are the members of pages that hold things.
	lists = []string{"users", "conversations", "members", "events"}
	// wraps are the members of pages that hold lists.
	wraps = []string{"_embedded", "data"}
	// marks are the other members by which a page is known, should it hold nothing.
	marks = []string{"_links", "page_size"}
)

// walk finds the things in a value: in arrays, and in pages of every generation. The value is valid JSON
// or empty; what is found are parts of it, word for word. Whatever is neither an array nor a page is found,
// also what is no thing: nothing is passed over.
func (i item) walk(found func(*item)) {
	i = i.part(len(i.raw)-len(bytes.TrimLeftFunc(i.raw, unicode.IsSpace)), bytes.TrimSpace(i.raw))
	switch {
	case len(i.raw) == 0:
	case i.raw[0] == '[':
		for start, value := range values(i.inside()) {
			i.part(1+start, value).walk(found)
		}
	case i.raw[0] == '{' && i.walkPage(found):
	default:
		found(&i)
	}
}

// walkPage walks over the lists of an object, or says that it is no page.
func (i item) walkPage(found func(*item)) bool {
	members := i.members()
	has := func(name string) bool { _, ok := members[name]; return ok }
	if slices.ContainsFunc([]string{"id", "uuid", "member_id", "user_id"}, has) || !slices.ContainsFunc(slices.Concat(lists, wraps, marks), has) {
		return false
	}
	if id := conversationID.FindString(string(members["_links"].raw)); id != "" {
		i.conversation = id
	}
	inner := func(name, kind string) {
		m := members[name]
		if hollow(m.raw) {
			return
		}
		m.conversation, m.kind = i.conversation, kind
		m.walk(found)
	}
	for _, name := range wraps {
		inner(name, i.kind)
	}
	for _, name := range lists {
		inner(name, name)
	}
	return true
}

// members are the members of an object, by name.
func (i item) members() map[string]item {
	members := map[string]item{}
	var name *string
	for start, value := range values(i.inside()) {
		if name == nil {
			name = new(string)
			if json.Unmarshal(value, name) != nil {
				return members // not JSON
			}
			continue
		}
		members[*name], name = i.part(1+start, value), nil
	}
	return members
}

// hollow says whether a value is null or an object with nothing in it.
func hollow(raw []byte) bool {
	return string(raw) == "null" || len(raw) > 1 && raw[0] == '{' && len(bytes.TrimSpace(raw[1:len(raw)-1])) == 0
}

// inside is what stands between the brackets of an array or object.
func (i item) inside() []byte { return i.raw[1 : len(i.raw)-1] }

// values gives the JSON values that stand one after another in raw, and where each begins: inside an
// array, inside an object (names and values in turn), or in a span. Of what is not JSON it gives pieces.
func values(raw []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for at := separators(raw); at < len(raw); {
			end := at + valueSize(raw[at:])
			if !yield(at, raw[at:end]) {
				return
			}
			at = end + separators(raw[end:])
		}
	}
}

const separating = " \t\r\n,:"

// separators is how much of raw lies before the next value.
func separators(raw []byte) int { return len(raw) - len(bytes.TrimLeft(raw, separating)) }

// valueSize is how long the value is that raw begins with; it is not 0.
func valueSize(raw []byte) int {
	depth := 0
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; c {
		case '"':
			i += stringSize(raw[i:]) - 1
		case '[', '{':
			depth++
			continue
		case ']', '}':
			depth--
		default:
			if depth > 0 || i+1 < len(raw) && strings.IndexByte(separating, raw[i+1]) < 0 {
				continue
			}
		}
		if depth <= 0 {
			return i + 1
		}
	}
	return len(raw)
}

// stringSize is how long the string is that raw begins with, quotes included.
func stringSize(raw []byte) int {
	for i := 1; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(raw)
}

// kindOf says what an item is.
func (i *item) kindOf(f fields) string {
	if kind := f.text("kind"); kind != "" {
		return strings.TrimSuffix(kind, "s") + "s"
	}
	id := f.text("id", "uuid")
	switch {
	case strings.HasPrefix(id, "USR-"):
		return "users"
	case strings.HasPrefix(id, "CON-"):
		return "conversations"
	case strings.HasPrefix(id, "MEM-"), strings.HasPrefix(f.text("member_id", "name"), "MEM-"):
		return "members"
	case f.text("type") != "" && f.whole("id") > 0:
		return "events"
	}
	return i.kind
}
