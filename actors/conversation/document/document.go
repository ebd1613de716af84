// Package document checks the JSON objects that callers send: event bodies, channels, custom data.
// It is pure, and refuses early what would be costly or dangerous to render later.
package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// DepthMax is how deeply objects and arrays may nest, the outermost object included.
const DepthMax = 32

// The reasons of a refusal, worded to stand after the name of the field.
var (
	errNotObject = errors.New("must be an object")
	errTooDeep   = fmt.Errorf("must not nest deeper than %d levels", DepthMax)
)

// Check says whether b is one JSON object of at most sizeMax bytes that nests no deeper than
// DepthMax and is valid UTF-8. The error is worded for the caller.
func Check(b []byte, sizeMax int) error {
	if len(b) > sizeMax {
		return fmt.Errorf("must not be larger than %d bytes", sizeMax)
	}
	trimmed := bytes.TrimLeft(b, " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' {
		return errNotObject
	}
	// Depth first: it bounds the work of everything that parses b afterwards.
	if depth(b) > DepthMax {
		return errTooDeep
	}
	if !utf8.Valid(b) || !json.Valid(b) {
		return errNotObject
	}
	return nil
}

// Fields splits an object that passed Check into its members, values verbatim. Of a repeated name
// the last one counts.
func Fields(b []byte) map[string]json.RawMessage {
	var fields map[string]json.RawMessage
	if json.Unmarshal(b, &fields) != nil {
		return nil
	}
	return fields
}

// String reads a JSON string.
func String(raw json.RawMessage) (s string, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(raw, &s) == nil
}

// IsObject says whether a value from Fields is an object.
func IsObject(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] == '{' }

// IsArray says whether a value from Fields is an array.
func IsArray(raw json.RawMessage) bool { return len(raw) > 0 && raw[0] == '[' }

// IsNumber says whether a value from Fields is a number.
func IsNumber(raw json.RawMessage) bool {
	return len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9')
}

// depth is how deeply brackets outside strings nest; exact for valid JSON.
func depth(b []byte) int {
	deepest, open, quoted := 0, 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			open++
			deepest = max(deepest, open)
		case c == '}' || c == ']':
			open--
		}
	}
	return deepest
}

// CheckName is CheckText for what paths, tokens and people call a thing by: it has no control characters.
func CheckName(s string, charactersMax int) error {
	if strings.ContainsFunc(s, unicode.IsControl) {
		return errors.New("must not contain control characters")
	}
	return CheckText(s, charactersMax)
}

// CheckText says whether s is valid UTF-8 of at most charactersMax characters. The error is
// worded for the caller.
func CheckText(s string, charactersMax int) error {
	if !utf8.ValidString(s) {
		return errors.New("must be valid UTF-8")
	}
	if len(s) > charactersMax && utf8.RuneCountInString(s) > charactersMax {
		return fmt.Errorf("length must be less than or equal to %d characters long", charactersMax)
	}
	return nil
}
