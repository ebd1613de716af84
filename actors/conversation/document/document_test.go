package document

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCheck(t *testing.T) {
	nested := func(n int) string { return strings.Repeat(`{"a":`, n-1) + `{}` + strings.Repeat(`}`, n-1) }
	for _, c := range []struct {
		name, body string
		want       string // part of the reason, empty = passes
	}{
		{"empty object", `{}`, ""},
		{"space around", " \n{\"a\":1}\t", ""},
		{"as deep as allowed", nested(DepthMax), ""},
		{"too deep", nested(DepthMax + 1), "nest"},
		{"deep arrays", `{"a":` + strings.Repeat("[", DepthMax) + strings.Repeat("]", DepthMax) + `}`, "nest"},
		{"brackets in strings", `{"a":"` + strings.Repeat("[{", 99) + `\"[["}`, ""},
		{"nothing", ``, "object"},
		{"array", `[1]`, "object"},
		{"string", `"a"`, "object"},
		{"null", `null`, "object"},
		{"two objects", `{}{}`, "object"},
		{"cut off", `{"a":1`, "object"},
		{"trailing comma", `{"a":1,}`, "object"},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", "object"},
		{"too large", `{"a":"` + strings.Repeat("x", 1000) + `"}`, "larger"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Check([]byte(c.body), 1000)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("Check(%.40q) = %v, want %q", c.body, err, c.want)
			}
		})
	}
}

func TestText(t *testing.T) {
	for s, ok := range map[string]bool{"": true, "ünïcode": true, "12345678": false, "\xff": false} {
		if err := CheckText(s, 7); (err == nil) != ok {
			t.Errorf("CheckText(%q) = %v", s, err)
		}
	}
}

func TestName(t *testing.T) {
	for s, ok := range map[string]bool{
		"ünïcode": true, "a/b": true, "..": true, "a b": true, "12345678": false, "\xff": false, "a\x00b": false, "a\nb": false, "\x7f": false, "\u0085": false,
	} {
		if err := CheckName(s, 7); (err == nil) != ok {
			t.Errorf("CheckName(%q) = %v", s, err)
		}
	}
}

func TestFields(t *testing.T) {
	f := Fields([]byte(`{"s":"x\u00e9","n":-1,"o":{},"Text":1,"z":null}`))
	if s, ok := String(f["s"]); !ok || s != "xé" {
		t.Errorf("string: %q", s)
	}
	if !IsNumber(f["n"]) || IsNumber(f["s"]) || !IsObject(f["o"]) || IsObject(f["n"]) {
		t.Error("kinds are mixed up")
	}
	if f["text"] != nil {
		t.Error("names compare without case")
	}
	if _, ok := String(f["z"]); ok {
		t.Error("null is no string")
	}
}

// FuzzCheck: whatever passes is an object for every parser, and is no deeper than it may be.
func FuzzCheck(f *testing.F) {
	hidden := `{"a":` + strings.Repeat("[", DepthMax) + strings.Repeat("]", DepthMax) + `,"a":0}` // by a later member of that name
	for _, s := range []string{`{}`, `{"a":[{"b":"\\\"{"}]}`, `[]`, "{\"a\":\"\xff\"}", `{"a":1}x`, `{"a":1e999}`, hidden} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const most = 1 << 10
		err := Check(b, most)
		var m map[string]json.RawMessage
		parses := len(b) <= most && utf8.Valid(b) && json.Unmarshal(b, &m) == nil && m != nil
		switch {
		case err == nil && !parses:
			t.Fatalf("passes, but is no object: %q", b)
		case err == nil && levels(b) > DepthMax:
			t.Fatalf("too deep: %q", b)
		case err != nil && parses && levels(b) <= DepthMax:
			t.Fatalf("refused (%v): %q", err, b)
		}
	})
}

// levels is how deeply JSON nests, as a decoder reads it that keeps numbers of any size.
func levels(b []byte) int {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	for deepest, open := 0, 0; ; deepest = max(deepest, open) {
		token, err := d.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			open++
		case json.Delim('}'), json.Delim(']'):
			open--
		}
	}
}
