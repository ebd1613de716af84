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
	bearer     scheme = "bearer"     // a JSON Web Token
	basic      scheme = "basic"      // API key and secret, HTTP Basic
	keyInInput scheme = "keyInInput" // the same, also as api_key and api_secret in query or body
)

// generation is one edition of the API: where it is served and how it speaks.
type generation struct {
	name     string
	prefixes []string // all serve the same; the first is the one that is documented
	summary  string
}

var (
	v1 = &generation{name: "v1", prefixes: []string{"/v1"},
		summary: "The current generation."}
	beta = &generation{name: "beta", prefixes: []string{"/beta", "/v0.1"},
		summary: "The first generation (2017-18), also served below /v0.1."}
	operators = &generation{name: "operator", prefixes: []string{""},
		summary: "Applications, for whoever runs the service."}
)

// generationOf guesses the generation of a path that leads nowhere, for the form of its error.
func generationOf(path string) *generation {
	for _, prefix := range beta.prefixes {
		if path == prefix || strings.HasPrefix(path, prefix+"/") {
			return beta
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
	}
	fromMember = parameter{"from", "string", "The acting member (MEM-…), for administrators."}
)

func with(lists ...[]parameter) []parameter {
	var all []parameter
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}
