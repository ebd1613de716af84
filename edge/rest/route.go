package rest

import (
	"context"
	"strings"
)

// handler carries out one operation. What it gives is answered with the operation's status.
type handler func(ctx context.Context, c *call) (any, error)

// scheme is how the asker of an operation is known.
type scheme string

const (
	bearer     scheme = "bearer"     // a JSON Web Token whose acl covers the path
	anyBearer  scheme = "anyBearer"  // a good token, whatever its acl: for what tells nothing and changes nothing
	basic      scheme = "basic"      // API key and secret, HTTP Basic
	keyInInput scheme = "keyInInput" // the same, also as api_key and api_secret in query or body
)

// token says that a JSON Web Token is asked for.
func (s scheme) token() bool { return s == bearer || s == anyBearer }

// generation is one edition of the API: where it is served and how it speaks.
type generation struct {
	name     string
	prefixes []string // all serve the same; the first is the one that is documented and linked to
	summary  string

	strict  bool // conversation and user bodies take no unknown members
	lenient bool // a number may be a numeric string in JSON, too
	byName  bool // a conversation's name is as good as its id
	no409   bool // what is a conflict elsewhere is a bad request here
	refusal form // of its errors
}

// form is how errors are told.
type form int

const (
	problemForm form = iota // RFC 7807, with a code and the rejected inputs
	oldForm                 // code and description, with a map of the rejected inputs
	bothForms               // the members of both
)

var (
	v1 = &generation{name: "v1", prefixes: []string{"/v1"}, strict: true,
		summary: "The current generation, which the server SDKs call."}
	v03 = &generation{name: "v0.3", prefixes: []string{"/v0.3"},
		summary: "The generation before v1, which the newer browser and mobile clients call: the same pages, smaller answers."}
	v02 = &generation{name: "v0.2", prefixes: []string{"/v0.2", "/beta2"}, lenient: true, byName: true, no409: true, refusal: bothForms,
		summary: "The first generation's calls with lists in pages, also served below /beta2."}
	beta = &generation{name: "beta", prefixes: []string{"/beta", "/v0.1"}, lenient: true, byName: true, no409: true, refusal: oldForm,
		summary: "The first generation (2017-18), also served below /v0.1: plain arrays."}
	v2 = &generation{name: "v2", prefixes: []string{"/v2"},
		summary: "What browser clients report about their connections."}
	operators = &generation{name: "operator", prefixes: []string{""},
		summary: "Applications, for whoever runs the service."}

	// generations are all, as the documentation lists them.
	generations = []*generation{v1, v03, v02, beta, v2, operators}
)

// generationOf guesses the generation of a path that leads nowhere, for the form of its error.
func generationOf(path string) *generation {
	for _, g := range []*generation{beta, v02, v03} {
		for _, prefix := range g.prefixes {
			if path == prefix || strings.HasPrefix(path, prefix+"/") {
				return g
			}
		}
	}
	return v1
}

// operation is one row of the table.
type operation struct {
	generation *generation
	method     string
	path       string // below the generation's prefix; {name} is a parameter
	id         string // unique within the generation
	summary    string
	scheme     scheme
	adminOnly  bool
	query      []parameter
	body       any // a value of the body's type, nil = none
	status     int
	reply      any // a value of the answer's type, nil = no body
	serve      handler
}

// parameter is one member of an operation's query.
type parameter struct {
	name, kind, about string
}

var (
	paged = []parameter{
		{"page_size", "integer", "1 to 100; 10 if absent."},
		{"order", "string", "asc or desc, in any case; asc if absent."},
		{"cursor", "string", "From a link of another page; may be empty."},
	}
	dated = []parameter{
		{"date_start", "string", "Only what was created then or later, ISO 8601."},
		{"date_end", "string", "Only what was created then or earlier, ISO 8601."},
	}
	eventRange = []parameter{
		{"start_id", "integer", "The first event, included."},
		{"end_id", "integer", "The last event, included."},
		{"event_type", "string", "Only these types; several with commas, member:* for all that begin so."},
		{"exclude_deleted_events", "boolean", "Without deleted events."},
		{"filter_group_type", "string", "ChatEvents: only what chat clients know, which is messages, custom events, deletions and memberships."},
		{"filter_group_version", "integer", "Of the group; every version is the same."},
	}
	byState    = []parameter{{"state", "string", "Only memberships in this state; several with commas. Invited and joined ones if absent."}}
	byName     = []parameter{{"name", "string", "Only the user of this name."}}
	fromMember = parameter{"from", "string", "The acting member (MEM-…), for administrators."}
)

func with(lists ...[]parameter) []parameter {
	var all []parameter
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}
