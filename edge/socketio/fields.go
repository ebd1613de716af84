package socketio

import (
	"strconv"
	"strings"

	"parley/edge/limit"
	"parley/proto/code"
)

// shape is what a member of a request's body must be.
type shape byte

const (
	aText shape = iota
	aSequence
	anObject
)

// reasons are what a member of another kind is refused with.
var reasons = map[shape]string{
	aText:     "must be a string",
	aSequence: "must be the number of an event",
	anObject:  "must be an object",
}

// field is a member of a request's body that is read.
type field struct {
	name   string
	shape  shape
	needed bool
}

// fields are those of each request. A member of another kind is refused and not taken for absent, which
// would often make another request of it: a range the whole history, the removal of somebody the asker's
// own. null is as good as absent.
var fields = map[string][]field{
	"user:get":                   {{name: "user_id"}},
	"new:conversation":           {{name: "name"}, {name: "display_name"}},
	"conversation:events":        {{name: "start_id", shape: aSequence}, {name: "end_id", shape: aSequence}},
	"conversation:join":          {{name: "user_id"}, {name: "user_name"}, {name: "member_id"}},
	"conversation:invite":        {{name: "user_id"}, {name: "user_name"}, {name: "media", shape: anObject}},
	"conversation:member:delete": {{name: "member_id", needed: true}, {name: "reason", shape: anObject}},
	"event:delete":               {{name: "event_id", shape: aSequence}},
	"push:register":              {{name: "device_id"}, {name: "device_token"}, {name: "endpoint"}},
	"push:unregister":            {{name: "device_id"}, {name: "device_token"}, {name: "endpoint"}},
	"push:subscribe":             {{name: "cid"}},
	"push:unsubscribe":           {{name: "cid"}},
}

// check refuses a request of which a member is not what it must be.
func (r *request) check() error {
	switch {
	case r.wrong != "":
		return code.Invalid(r.wrong, reasons[aText])
	case r.body[0] != '{':
		return code.Invalid("body", reasons[anObject])
	}
	for _, f := range fields[r.kind] {
		if err := f.check(r.find(f.name)); err != nil {
			return err
		}
	}
	return nil
}

func (f field) check(value []byte) error {
	none := absent(value)
	switch {
	case f.needed && (none || string(value) == `""`):
		return code.Invalid("body."+f.name, "is required")
	case !none && !f.shape.fits(value):
		return code.Invalid("body."+f.name, reasons[f.shape])
	}
	return nil
}

// absent says whether a member is not there, or null.
func absent(value []byte) bool { return len(value) == 0 || value[0] == 'n' }

// fits says whether a JSON value is of the shape.
func (s shape) fits(value []byte) bool {
	switch s {
	case aSequence:
		_, err := sequenceOf(value)
		return err == nil
	case anObject:
		return value[0] == '{'
	default:
		return value[0] == '"'
	}
}

// sequenceOf reads the number of an event, which some clients send as a string.
func sequenceOf(value []byte) (uint64, error) {
	return strconv.ParseUint(strings.Trim(string(value), `"`), 10, limit.SequenceBits)
}
