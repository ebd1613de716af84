package export

import (
	"errors"
	"time"

	"parley/actors/conversation"
	"parley/actors/conversation/document"
	"parley/actors/user"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
)

// moment reads a time as the services wrote it.
func moment(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New("must be a valid ISO 8601 date")
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// refused tells what a check of the product has against a thing.
func (x *Export) refused(at Place, err error) {
	e, ok := code.Of(err)
	if !ok {
		return
	}
	for _, f := range e.Fields {
		x.problem(at, true, f.Name, "%s", f.Reason)
	}
}

func (x *Export) checkID(at Place, prefix id.Prefix, value string) bool {
	if _, err := id.Parse(prefix, value); err != nil {
		x.problem(at, true, "id", "%q must be %s and a UUID in lower case", value, prefix)
		return false
	}
	return true
}

func (x *Export) checkTimes(at Place, texts ...string) {
	for _, text := range texts {
		if _, err := moment(text); err != nil && text != "" {
			x.problem(at, true, "timestamp", "%s", err)
		}
	}
}

func (x *Export) checkUser(u *User) {
	x.checkID(u.at, id.User, u.ID)
	x.checkTimes(u.at, u.Timestamp.Created, u.Timestamp.Updated)
	x.refused(u.at, user.CheckProfile(&eventv1.User{
		Name: u.Name, DisplayName: u.DisplayName, ImageUrl: u.ImageURL, Properties: u.Properties, Channels: u.Channels,
	}))
}

func (x *Export) checkConversation(c *Conversation, events []*Event) {
	x.checkID(c.at, id.Conversation, c.ID)
	x.checkTimes(c.at, c.Timestamp.Created, c.Timestamp.Updated)
	x.refused(c.at, conversation.CheckProfile(&eventv1.Conversation{
		Name: c.Name, DisplayName: c.DisplayName, ImageUrl: c.ImageURL, Numbers: c.Numbers,
		Properties: &eventv1.Properties{CustomData: fieldsOf(c.Properties).raw("custom_data")},
	}))
	present := map[string]string{}
	for _, m := range c.members {
		x.checkMember(m)
		if other := present[m.User.ID]; other != "" {
			x.problem(m.at, true, "state", "%s and %s are of the same user, and neither has left", other, m.ID)
		}
		if m.State != "LEFT" {
			present[m.User.ID] = m.ID
		}
	}
	if len(events) == 0 && c.sequence > 0 {
		x.problem(c.at, false, "events", "the conversation had %d events, and the export has none", c.sequence)
	}
}

func (x *Export) checkMember(m *Member) {
	x.checkID(m.at, id.Member, m.ID)
	x.checkTimes(m.at, m.Timestamp.Invited, m.Timestamp.Joined, m.Timestamp.Left)
	if _, err := id.Parse(id.User, m.User.ID); err != nil {
		x.problem(m.at, true, "user_id", "%q must be USR- and a UUID in lower case", m.User.ID)
	} else if m.State != "LEFT" && x.users[m.User.ID] == nil {
		x.problem(m.at, true, "user_id", "the export has no user %s", m.User.ID)
	}
	switch m.State {
	case "INVITED", "JOINED", "LEFT":
	default:
		x.problem(m.at, true, "state", "must be one of [INVITED, JOINED, LEFT]")
	}
}

// checkEvent says whether an event can be imported.
func (x *Export) checkEvent(e *Event) bool {
	before := x.Fatal
	if e.ID == 0 {
		x.problem(e.at, true, "id", "must be a number from 1 on")
	}
	if err := document.CheckText(e.Type, conversation.TypeCharactersMax); err != nil || e.Type == "" {
		x.problem(e.at, true, "type", "must be 1 to %d characters long", conversation.TypeCharactersMax)
	}
	if _, err := moment(e.Timestamp); err != nil {
		x.problem(e.at, true, "timestamp", "%s", err)
	}
	if _, err := id.Parse(id.Member, e.From); err != nil && e.From != "" {
		x.problem(e.at, true, "from", "%q must be MEM- and a UUID in lower case", e.From)
	}
	if len(e.Body) == 0 {
		return x.Fatal == before
	}
	if err := document.Check(e.Body, conversation.BodyBytesMax); err != nil {
		x.problem(e.at, true, "body", "%s", err)
	}
	return x.Fatal == before
}

// checkNames finds names that two things have: they are unique in an application.
func (x *Export) checkNames() {
	users, conversations := map[string]string{}, map[string]string{}
	for _, u := range x.Users {
		if other := users[u.Name]; other != "" {
			x.problem(u.at, true, "name", "%q is also the name of %s", u.Name, other)
		}
		users[u.Name] = u.ID
	}
	for _, c := range x.Conversations {
		if other := conversations[c.Name]; other != "" {
			x.problem(c.at, true, "name", "%q is also the name of %s", c.Name, other)
		}
		conversations[c.Name] = c.ID
	}
}
