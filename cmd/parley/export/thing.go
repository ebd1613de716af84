package export

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
)

// fields are the members of one thing. Generations have different names for the same: each method
// takes several and gives the first that is there.
type fields map[string]json.RawMessage

func fieldsOf(raw json.RawMessage) fields {
	var f fields
	if json.Unmarshal(raw, &f) != nil {
		return nil
	}
	return f
}

// raw gives a member by a path with dots; nil for null and nothing.
func (f fields) raw(path string) json.RawMessage {
	name, rest, nested := strings.Cut(path, ".")
	value := f[name]
	if nested {
		return fieldsOf(value).raw(rest)
	}
	if string(value) == "null" {
		return nil
	}
	return value
}

func (f fields) text(paths ...string) string {
	for _, path := range paths {
		var s string
		if raw := f.raw(path); len(raw) > 0 && raw[0] == '"' && json.Unmarshal(raw, &s) == nil && s != "" {
			return s
		}
	}
	return ""
}

// whole gives a number, or a string of digits; 0 for anything else.
func (f fields) whole(path string) uint64 {
	n, err := strconv.ParseUint(string(bytes.Trim(f.raw(path), `"`)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// object gives a member that is an object with something in it.
func (f fields) object(path string) json.RawMessage {
	raw := f.raw(path)
	if len(fieldsOf(raw)) == 0 {
		return nil
	}
	return raw
}

// list gives a member that is an array or object with something in it.
func (f fields) list(path string) json.RawMessage {
	raw := f.raw(path)
	if len(raw) > 0 && raw[0] == '[' && len(bytes.TrimSpace(raw[1:len(raw)-1])) > 0 {
		return raw
	}
	return f.object(path)
}

// take keeps an item, unless it is an event: then it gives the event's conversation.
func (x *Export) take(i *item) *Conversation {
	f := fieldsOf(i.raw)
	if f == nil {
		x.problem(i.at, true, "", noThing)
		return nil
	}
	switch kind := i.kindOf(f); kind {
	case "users":
		x.takeUser(i, f)
	case "conversations":
		x.takeConversation(i, f)
	case "members", "events":
		id := i.conversationOf(f)
		if id == "" {
			x.problem(i.at, true, "conversation_id", "neither the %s nor the name of the file says which conversation it belongs to", strings.TrimSuffix(kind, "s"))
			return nil
		}
		c := x.conversation(id, i.at)
		if kind == "events" {
			return c
		}
		c.takeMember(memberOf(i.at, f))
	default:
		x.problem(i.at, true, "", noThing)
	}
	return nil
}

// conversationOf is the conversation that a member or event belongs to.
func (i *item) conversationOf(f fields) string {
	for _, from := range []string{
		f.text("conversation_id", "cid"), f.text("href", "_links.self.href"), i.conversation,
	} {
		if id := conversationID.FindString(from); id != "" {
			return id
		}
	}
	return ""
}

func (x *Export) conversation(id string, at Place) *Conversation {
	c := x.known[id]
	if c == nil {
		c = &Conversation{ID: id, at: at, files: x.files, byID: map[string]*Member{}}
		x.known[id] = c
	}
	return c
}

// takeUser joins what several answers say of a user: what is missing is filled in.
func (x *Export) takeUser(i *item, f fields) {
	id := f.text("id", "user_id")
	u := x.users[id]
	if u == nil {
		u = &User{ID: id, at: i.at}
		x.users[id] = u
	}
	x.fillName(i.at, &u.Name, id, f.text("name"))
	fill(&u.DisplayName, f.text("display_name"))
	fill(&u.ImageURL, f.text("image_url"))
	fillRaw(&u.Properties, f.object("properties"))
	fillRaw(&u.Channels, f.object("channels"))
	fill(&u.Timestamp.Created, f.text("timestamp.created"))
	fill(&u.Timestamp.Updated, f.text("timestamp.updated"))
}

func (x *Export) takeConversation(i *item, f fields) {
	c := x.conversation(f.text("id", "uuid"), i.at)
	x.fillName(i.at, &c.Name, c.ID, f.text("name"))
	fill(&c.DisplayName, f.text("display_name"))
	fill(&c.ImageURL, f.text("image_url"))
	fillRaw(&c.Properties, properties(f))
	fillRaw(&c.Numbers, f.list("numbers"))
	fill(&c.Timestamp.Created, f.text("timestamp.created"))
	fill(&c.Timestamp.Updated, f.text("timestamp.updated"))
	c.sequence = max(c.sequence, f.whole("sequence_number"))
	item{raw: f.list("members"), kind: "members", conversation: c.ID}.walk(func(member *item) {
		c.takeMember(memberOf(i.at, fieldsOf(member.raw)))
	})
}

// properties keeps of a conversation's properties what can be given.
func properties(f fields) json.RawMessage {
	given := fieldsOf(f.object("properties"))
	kept := map[string]json.RawMessage{}
	for _, name := range []string{"type", "custom_sort_key", "custom_data"} {
		if value := given.raw(name); value != nil {
			kept[name] = value
		}
	}
	if ttl := given.raw("ttl"); ttl != nil {
		if n := given.whole("ttl"); n > 0 {
			kept["ttl"] = json.RawMessage(strconv.FormatUint(n, 10)) // in the first generation a string
		}
	}
	if len(kept) == 0 {
		return nil
	}
	raw, err := json.Marshal(kept)
	if err != nil {
		return nil // its parts are JSON
	}
	return raw
}

func memberOf(at Place, f fields) *Member {
	m := &Member{
		ID: f.text("member_id", "id"), State: strings.ToUpper(f.text("state")), at: at,
		User: Named{
			ID:          f.text("user_id", "user.id", "user.user_id", "_embedded.user.id"),
			Name:        f.text("user_name", "user.name", "_embedded.user.name", "name"),
			DisplayName: f.text("user.display_name", "_embedded.user.display_name", "display_name"),
		},
		Channel: f.object("channel"), Media: f.object("media"), InvitedBy: f.text("invited_by"),
		MemberIDInviting: f.text("member_id_inviting"),
		Timestamp:        States{f.text("timestamp.invited"), f.text("timestamp.joined"), f.text("timestamp.left")},
	}
	if name := f.text("name"); m.ID == "" && strings.HasPrefix(name, "MEM-") {
		m.ID = name // as the first generation lists members
	}
	if strings.HasPrefix(m.User.Name, "MEM-") {
		m.User.Name = ""
	}
	return m
}

// takeMember joins what several answers say of a member. The first that says how it is wins: lists of
// later generations leave out who left.
func (c *Conversation) takeMember(m *Member) {
	old := c.byID[m.ID]
	if old == nil {
		c.byID[m.ID], c.members = m, append(c.members, m)
		return
	}
	fill(&old.State, m.State)
	fill(&old.User.ID, m.User.ID)
	fill(&old.User.Name, m.User.Name)
	fill(&old.User.DisplayName, m.User.DisplayName)
	fillRaw(&old.Channel, m.Channel)
	fillRaw(&old.Media, m.Media)
	fill(&old.InvitedBy, m.InvitedBy)
	fill(&old.MemberIDInviting, m.MemberIDInviting)
	fill(&old.Timestamp.Invited, m.Timestamp.Invited)
	fill(&old.Timestamp.Joined, m.Timestamp.Joined)
	fill(&old.Timestamp.Left, m.Timestamp.Left)
}

func eventOf(at Place, f fields) *Event {
	e := &Event{
		ID: f.whole("id"), Type: f.text("type"), From: f.text("from", "_embedded.from_member.id"), To: f.text("to"),
		Body: f.raw("body"), Timestamp: f.text("timestamp"), Deleted: f.text("body.timestamp.deleted", "deleted"), at: at,
		author: Named{
			ID:   f.text("_embedded.from_user.id", "body.user.user_id", "body.user.id"),
			Name: f.text("_embedded.from_user.name", "body.user.name"),
		},
	}
	if state := f.object("state"); state != nil {
		var r Receipts
		if json.Unmarshal(state, &r) == nil && len(r.DeliveredTo)+len(r.SeenBy) > 0 {
			e.State = &r
		}
	}
	if e.Deleted != "" {
		e.Body = nil
	}
	return e
}

// fillName is fill for the name of id, which can have one only.
func (x *Export) fillName(at Place, field *string, id, name string) {
	if *field != "" && name != "" && name != *field {
		x.problem(at, true, "name", "%s is called %q here and %q before", id, name, *field)
	}
	fill(field, name)
}

func fill(field *string, value string) {
	if *field == "" {
		*field = value
	}
}

func fillRaw(field *json.RawMessage, value json.RawMessage) {
	if len(*field) == 0 {
		*field = value
	}
}
