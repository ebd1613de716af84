package rest

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// get gives the raw member, or nil when it is absent or null, and notes that it is known.
func (in *input) get(name string) json.RawMessage {
	if in == nil {
		return nil
	}
	in.asked[name] = true
	raw := in.members[name]
	if string(raw) == "null" {
		return nil
	}
	return raw
}

func (in *input) fault(name, format string, args ...any) {
	in.faults.add(in.at+name, fmt.Sprintf(format, args...))
}

// take gives a member that is a string, or otherwise. It finds no fault.
func (in *input) take(name, otherwise string) string {
	var s string
	if raw := in.get(name); raw == nil || json.Unmarshal(raw, &s) != nil {
		return otherwise
	}
	return s
}

// text gives an optional string of 1 to most characters (0 = any number).
func (in *input) text(name string, most int) *string {
	s := in.anyText(name, most)
	if s != nil && *s == "" {
		in.fault(name, "is not allowed to be empty")
		return nil
	}
	return s
}

// anyText is text that may be empty.
func (in *input) anyText(name string, most int) *string {
	raw := in.get(name)
	if raw == nil {
		return nil
	}
	var s string
	if raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		in.fault(name, "must be a string")
		return nil
	}
	if most > 0 && utf8.RuneCountInString(s) > most {
		in.fault(name, "length must be less than or equal to %d characters long", most)
		return nil
	}
	return &s
}

// uri gives an optional absolute URI of at most most characters. The empty string is allowed
// where an update may take a URI away.
func (in *input) uri(name string, most int) *string {
	s := in.anyText(name, most)
	if s == nil || *s == "" {
		return s
	}
	if u, err := url.Parse(*s); err != nil || !u.IsAbs() || (u.Host == "" && u.Opaque == "") {
		in.fault(name, "must be a valid uri")
		return nil
	}
	return s
}

// number gives an optional number; where input is lenient also from a numeric string.
func (in *input) number(name string) *float64 {
	raw := in.get(name)
	if raw == nil {
		return nil
	}
	digits := string(raw)
	var s string
	if in.lenient && raw[0] == '"' && json.Unmarshal(raw, &s) == nil {
		digits = strings.TrimSpace(s)
	}
	var n json.Number
	if json.Unmarshal([]byte(digits), &n) != nil || digits == "" || digits[0] == '"' {
		in.fault(name, "must be a number")
		return nil
	}
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil || math.Abs(f) > lastSequence {
		in.fault(name, "must be a safe number")
		return nil
	}
	return &f
}

// whole gives an optional integer between low and high, both included.
func (in *input) whole(name string, low, high float64) *int64 {
	f := in.number(name)
	switch {
	case f == nil:
		return nil
	case *f != math.Trunc(*f):
		in.fault(name, "must be an integer")
	case *f < low:
		in.fault(name, "must be greater than or equal to %.0f", low)
	case *f > high:
		in.fault(name, "must be less than or equal to %.0f", high)
	default:
		n := int64(*f)
		return &n
	}
	return nil
}

// flag gives an optional boolean; absent is false.
func (in *input) flag(name string) bool {
	raw := in.get(name)
	text := string(raw)
	if in != nil && in.lenient {
		text = strings.ToLower(strings.Trim(text, `"`))
	}
	switch text {
	case "", "false":
		return false
	case "true":
		return true
	}
	in.fault(name, "must be a boolean")
	return false
}

// choice gives an optional string out of some, in any case.
func (in *input) choice(name string, some ...string) string {
	s := in.anyText(name, 0)
	if s == nil {
		return ""
	}
	for _, one := range some {
		if strings.EqualFold(*s, one) {
			return one
		}
	}
	in.fault(name, "must be one of [%s]", strings.Join(some, ", "))
	return ""
}

// object gives an optional object. A form may hold one as JSON text.
func (in *input) object(name string) *input {
	raw := in.raw(name)
	if raw == nil {
		return nil
	}
	inner := &input{at: in.at + name + ".", asked: make(map[string]bool), lenient: in.lenient, faults: in.faults}
	if json.Unmarshal(raw, &inner.members) != nil {
		in.fault(name, "must be of type object")
		return nil
	}
	return inner
}

// raw gives an optional object as it was written.
func (in *input) raw(name string) json.RawMessage {
	raw := in.get(name)
	if raw == nil {
		return nil
	}
	var s string
	if in.lenient && raw[0] == '"' && json.Unmarshal(raw, &s) == nil && json.Valid([]byte(s)) {
		raw = json.RawMessage(strings.TrimSpace(s))
	}
	if raw[0] != '{' {
		in.fault(name, "must be of type object")
		return nil
	}
	return raw
}

// moment gives an optional time in Unix milliseconds: ISO 8601 with or without zone (UTC then),
// or a date alone.
func (in *input) moment(name string) int64 {
	s := in.text(name, 64)
	if s == nil {
		return 0
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, *s); err == nil {
			return t.UnixMilli()
		}
	}
	in.fault(name, "must be a valid ISO 8601 date")
	return 0
}

// required notes a fault when a member is absent or null.
func (in *input) required(name string, present bool) {
	if !present && in.get(name) == nil {
		in.fault(name, "is required")
	}
}

// closed notes a fault for every member that was never asked for.
func (in *input) closed() {
	if in == nil {
		return
	}
	var strange []string
	for name := range in.members {
		if !in.asked[name] {
			strange = append(strange, name)
		}
	}
	sort.Strings(strange)
	for _, name := range strange {
		in.fault(name, "is not allowed")
	}
}

// value is *p, or the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
