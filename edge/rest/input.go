package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"parley/edge/limit"
	"parley/proto/code"
)

// input is one JSON object of a request: its body, a part of it, or its query. However it came
// (JSON, a form with dotted keys, a query), it is read by the same methods, which collect every
// fault instead of stopping at the first.
type input struct {
	at      string // where it stands, with a dot behind; empty for the body itself
	members map[string]json.RawMessage
	asked   map[string]bool
	lenient bool    // numbers and booleans may be strings: forms, queries, the first generation
	faults  *faults // of the whole request
}

// faults are the rejected inputs of a request.
type faults struct{ fields []code.Field }

func (f *faults) add(name, reason string) {
	f.fields = append(f.fields, code.Field{Name: name, Reason: reason})
}

// err gives one refusal for all faults, or nil.
func (f *faults) err() error {
	if len(f.fields) == 0 {
		return nil
	}
	return &code.Error{Code: code.ValidationFail, Message: "Input validation failure.", Fields: f.fields}
}

func newInput(c *call, members map[string]json.RawMessage, lenient bool) *input {
	return &input{members: members, asked: make(map[string]bool), lenient: lenient, faults: &c.faults}
}

// readInput makes an input of a body. No body is an empty object, whatever its type.
func readInput(c *call, raw []byte, o *Options) (*input, error) {
	if len(bytes.TrimSpace(raw)) == 0 {
		return newInput(c, nil, true), nil
	}
	header := c.request.Header.Get("Content-Type")
	kind, parameters, err := mime.ParseMediaType(header)
	if err != nil && header != "" {
		return nil, code.New(code.UnsupportedMedia, "The Content-Type can not be read.")
	}
	if charset := parameters["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "us-ascii") {
		return nil, code.New(code.UnsupportedMedia, "The only charset is UTF-8.")
	}
	if !utf8.Valid(raw) {
		return nil, code.New(code.ValidationFail, "The body is not valid UTF-8.")
	}
	object := bytes.TrimSpace(raw)[0] == '{'
	switch {
	case kind == "application/json", kind == "" && object:
	case kind == "application/x-www-form-urlencoded" && object:
		// What curl -d sends without -H. As a form it would be one field with a strange name.
		return nil, code.New(code.UnsupportedMedia, "The body is JSON, but its Content-Type says that it is a form; send Content-Type: application/json.")
	case kind == "application/x-www-form-urlencoded":
		if raw, err = formJSON(string(raw), o); err != nil {
			return nil, err
		}
	default:
		return nil, code.New(code.UnsupportedMedia, "The Content-Type must be application/json or application/x-www-form-urlencoded.")
	}
	members, err := readObject(raw, o)
	if err != nil {
		return nil, err
	}
	return newInput(c, members, kind != "application/json" || c.generation.lenient), nil
}

// readObject decodes one JSON object and says where it is broken.
func readObject(raw []byte, o *Options) (map[string]json.RawMessage, error) {
	if err := limit.JSON(raw, o.JSONDepth, o.JSONMembers); err != nil {
		return nil, code.New(code.ValidationFail, "The body %s.", err)
	}
	var members map[string]json.RawMessage
	d := json.NewDecoder(bytes.NewReader(raw))
	err := d.Decode(&members)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return nil, code.New(code.ValidationFail, "The body is not valid JSON: %s at byte %d.", syntax, syntax.Offset)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, code.New(code.ValidationFail, "The body is not valid JSON: it ends too early, after %d bytes.", len(raw))
	case err != nil || members == nil:
		return nil, code.Invalid("value", "must be of type object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, code.New(code.ValidationFail, "The body is not valid JSON: something follows the object at byte %d.", d.InputOffset())
	}
	return members, nil
}

// readQuery makes an input of the query.
func readQuery(c *call) (*input, error) {
	values, err := url.ParseQuery(c.request.URL.RawQuery)
	if err != nil {
		return nil, code.New(code.ValidationFail, "The query can not be read: %s.", err)
	}
	members := make(map[string]json.RawMessage, len(values))
	for name, v := range values {
		if !utf8.ValidString(v[0]) {
			return nil, code.New(code.ValidationFail, "The query is not valid UTF-8.")
		}
		members[name], _ = json.Marshal(v[0]) // a string always has a JSON form
	}
	return newInput(c, members, true), nil
}

// formJSON turns a form into JSON: a dotted key is a member of an object, a key that stands
// several times an array. Values are strings.
func formJSON(raw string, o *Options) ([]byte, error) {
	values, err := url.ParseQuery(strings.TrimSpace(raw))
	if err != nil {
		return nil, code.New(code.ValidationFail, "The form can not be read: %s.", err)
	}
	parts := 0
	for k := range values {
		parts += 1 + strings.Count(k, ".") // each dot may make an object
	}
	if parts > o.JSONMembers {
		return nil, code.New(code.ValidationFail, "The form has more than %d fields and objects.", o.JSONMembers)
	}
	root := make(map[string]any)
	for _, k := range slices.Sorted(maps.Keys(values)) { // so that the same form gives the same answer
		if err := putField(root, strings.Split(k, "."), values[k], o.JSONDepth); err != nil {
			return nil, code.Invalid(k, err.Error())
		}
	}
	return json.Marshal(root)
}

// putField puts one field of a form where its dotted key says.
func putField(root map[string]any, path, values []string, depth int) error {
	if len(path) >= depth {
		return fmt.Errorf("nests deeper than %d levels", depth)
	}
	at := root
	for _, p := range path[:len(path)-1] {
		next, ok := at[p].(map[string]any)
		if !ok && at[p] != nil {
			return errors.New("is both a value and an object")
		}
		if !ok {
			next = make(map[string]any)
			at[p] = next
		}
		at = next
	}
	last := path[len(path)-1]
	if at[last] != nil {
		return errors.New("is both a value and an object")
	}
	if len(values) == 1 {
		at[last] = values[0]
		return nil
	}
	at[last] = values
	return nil
}
