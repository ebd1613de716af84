// Package export reads what applications have kept of a hosted Conversation API: answers of its REST
// calls as they came, of any generation, or lines of a simple form (docs/migrate.md). It gives users,
// conversations, members and events in the shape of Parley's import calls, and says of everything that
// it could not take where it stands and what is wrong. It reads files and changes nothing.
package export

import (
	"encoding/json"
	"fmt"
)

// Limits of what is read.
const (
	// FileBytesMax bounds one file of JSON, and the history of one conversation, which are held in memory.
	FileBytesMax = 256 << 20
	// lineBytesMax bounds one line of a JSON Lines file.
	lineBytesMax = 1 << 20
	// SpansMax bounds in how many places of its files the events of an export may stand; those of one
	// conversation that follow each other count once. Each is remembered in 24 bytes: 768 MiB in
	// all, and up to as much again where the lists of them have just grown.
	SpansMax = 32 << 20
	// problemsMax is how many problems are kept of one export; the rest is only counted.
	problemsMax = 1000
	// gapMax is how many events in a row may be missing from a history.
	gapMax = 10_000
)

// MissingType is the type of the deleted event that stands where an export has none: events are
// numbered without holes.
const MissingType = "custom:not-exported"

// Times are when a thing came to be, ISO 8601; empty = unknown.
type Times struct {
	Created string `json:"created,omitempty"`
	Updated string `json:"updated,omitempty"`
}

// User is a user as PUT /v1/import/users/{id} takes it; the id stands in the path.
type User struct {
	ID          string          `json:"-"`
	Name        string          `json:"name"`
	DisplayName string          `json:"display_name,omitempty"`
	ImageURL    string          `json:"image_url,omitempty"`
	Properties  json.RawMessage `json:"properties,omitempty"`
	Channels    json.RawMessage `json:"channels,omitempty"`
	Timestamp   Times           `json:"timestamp"`
	at          Place
}

// Conversation is a conversation as PUT /v1/import/conversations/{id} takes it.
type Conversation struct {
	ID          string          `json:"-"`
	Name        string          `json:"name"`
	DisplayName string          `json:"display_name,omitempty"`
	ImageURL    string          `json:"image_url,omitempty"`
	Properties  json.RawMessage `json:"properties,omitempty"`
	Numbers     json.RawMessage `json:"numbers,omitempty"`
	Timestamp   Times           `json:"timestamp"`
	at          Place
	sequence    uint64 // as the service counted; 0 = unknown
	members     []*Member
	byID        map[string]*Member
	files       *files // that spans are of
	spans       []span // where its events are
	events      int    // how many, with those that stand for missing ones
}

// States are when a member was invited, joined and left.
type States struct {
	Invited string `json:"invited,omitempty"`
	Joined  string `json:"joined,omitempty"`
	Left    string `json:"left,omitempty"`
}

// Named names a user.
type Named struct {
	ID          string `json:"id"`
	Name        string `json:"name,omitempty"`
	DisplayName string `json:"display_name,omitempty"`
}

// Member is a member as POST …/members of an import takes it.
type Member struct {
	ID               string          `json:"id"`
	State            string          `json:"state"`
	User             Named           `json:"user"`
	Channel          json.RawMessage `json:"channel,omitempty"`
	Media            json.RawMessage `json:"media,omitempty"`
	InvitedBy        string          `json:"invited_by,omitempty"`
	MemberIDInviting string          `json:"member_id_inviting,omitempty"`
	Timestamp        States          `json:"timestamp"`
	at               Place
	derived          bool // from events alone
}

// Receipts are when members received and read an event, by member id.
type Receipts struct {
	DeliveredTo map[string]string `json:"delivered_to,omitempty"`
	SeenBy      map[string]string `json:"seen_by,omitempty"`
}

// Event is an event as POST …/events of an import takes it.
type Event struct {
	ID        uint64          `json:"id"`
	Type      string          `json:"type"`
	From      string          `json:"from,omitempty"`
	To        string          `json:"to,omitempty"`
	Body      json.RawMessage `json:"body,omitempty"`
	Timestamp string          `json:"timestamp"`
	Deleted   string          `json:"deleted,omitempty"`
	State     *Receipts       `json:"state,omitempty"`
	at        Place
	author    Named // of from, as far as the event says
}

// Place is where something stands: a file, and a line of it.
type Place struct {
	File string `json:"file"`
	Line int    `json:"line"`
}

// Problem is something that cannot be imported, or not as it is.
type Problem struct {
	Place
	Field string `json:"field,omitempty"` // empty = the whole
	What  string `json:"what"`
	Fatal bool   `json:"fatal"` // an import would be refused; otherwise it goes on with less, or with a change
}

// String is the problem on one line.
func (p Problem) String() string {
	text := p.What
	if p.Field != "" {
		text = p.Field + ": " + text
	}
	if !p.Fatal {
		text = "warning: " + text
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, text)
}

// Counts say how much an export holds.
type Counts struct {
	Users         int `json:"users"`
	Conversations int `json:"conversations"`
	Members       int `json:"members"`
	Events        int `json:"events"`
}

// Add adds other to c.
func (c *Counts) Add(other Counts) {
	c.Users += other.Users
	c.Conversations += other.Conversations
	c.Members += other.Members
	c.Events += other.Events
}

// Sum is how many things that are in all.
func (c Counts) Sum() int { return c.Users + c.Conversations + c.Members + c.Events }

// Export is what was found. Users and conversations are in the order of their ids.
type Export struct {
	Users         []*User
	Conversations []*Conversation
	Problems      []Problem
	Fatal         int // problems that are fatal, those that were not kept included
	Warnings      int // the others
	Digest        string

	files *files
	known map[string]*Conversation
	users map[string]*User
}

// Count says how much there is to import of a conversation, itself included.
func (c *Conversation) Count() Counts {
	return Counts{Conversations: 1, Members: len(c.members), Events: c.events}
}

// Members gives a conversation's members in the order in which they came.
func (c *Conversation) Members() []*Member { return c.members }

func (x *Export) problem(at Place, fatal bool, field, format string, args ...any) {
	if fatal {
		x.Fatal++
	} else {
		x.Warnings++
	}
	if len(x.Problems) < problemsMax {
		x.Problems = append(x.Problems, Problem{at, field, fmt.Sprintf(format, args...), fatal})
	}
}
