package socketio

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"parley/edge/limit"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]packet{
		"0":                   {kind: '0', namespace: "/"},
		`0{"token":"x"}`:      {kind: '0', namespace: "/", data: []byte(`{"token":"x"}`)},
		"0/admin,":            {kind: '0', namespace: "/admin"},
		"0/admin?a=b,{}":      {kind: '0', namespace: "/admin", data: []byte("{}")},
		"0/admin":             {kind: '0', namespace: "/admin"},
		"1":                   {kind: '1', namespace: "/"},
		`2["a",{}]`:           {kind: '2', namespace: "/", data: []byte(`["a",{}]`)},
		`217["a"]`:            {kind: '2', namespace: "/", ack: 17, hasAck: true, data: []byte(`["a"]`)},
		"34503599627370495[]": {kind: '3', namespace: "/", ack: 4503599627370495, hasAck: true, data: []byte("[]")},
	} {
		got, err := parse([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if len(got.data) == 0 {
			got.data = nil
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(packet{})); d != "" {
			t.Errorf("%s: %s", text, d)
		}
	}
	for _, text := range []string{"", "5", "51-[]", "61-[]", "x", "2" + strings.Repeat("1", 17), "0/" + strings.Repeat("x", 200)} {
		if p, err := parse([]byte(text)); err == nil {
			t.Errorf("%.20s was taken: %+v", text, p)
		}
	}
}

func TestReadRequest(t *testing.T) {
	r, err := readRequest([]byte(`["text",{"tid":"a-1","cid":"CON-1","from":"MEM-1","to":null,"body":{"event_id":"7","text":"x","media":{"a":1}}}]`), 32, 4096)
	if err != nil {
		t.Fatal(err)
	}
	if r.kind != "text" || string(r.rid) != `"a-1"` || r.cid != "CON-1" || r.sender() != "MEM-1" || r.to != "" ||
		r.number("event_id") != 7 || r.field("text") != "x" || r.field("event_id") != "7" || string(r.object("media")) != `{"a":1}` || r.object("text") != nil {
		t.Errorf("%+v", r)
	}
	r, err = readRequest([]byte(`["session:logout"]`), 32, 4096)
	if err != nil || r.rid != nil || string(r.body) != "{}" {
		t.Errorf("%+v, %v", r, err)
	}
	long := `"` + strings.Repeat("x", ridBytesMax) + `"`
	if r, err = readRequest([]byte(`["a",{"tid":`+long+`}]`), 32, 4096); err != nil || r.rid != nil {
		t.Errorf("a long id is sent back: %v", err)
	}
}

// split compares what is read in place with what a decoder makes of it.
func split(t *testing.T, r *request) {
	t.Helper()
	var fields map[string]json.RawMessage
	if json.Unmarshal(r.body, &fields) != nil || strings.Contains(string(r.body), `\u`) {
		return // no object; or a text that a decoder repairs
	}
	found := map[string]json.RawMessage{}
	if r.body[0] == '{' {
		members(r.body, func(name, value []byte) { found[string(name)] = value })
	}
	if d := cmp.Diff(fields, found, cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("%s: %s", r.body, d)
	}
}

// TestRequestsAreReadInPlace, whatever their layout.
func TestRequestsAreReadInPlace(t *testing.T) {
	for data, want := range map[string]request{
		"[ \"a\" ,\t{ \"cid\" : \"C\\u0041\" , \"ti\\u0064\" :\n12.5e1 } ]":              {kind: "a", cid: "CA", rid: []byte("12.5e1"), body: emptyObject},
		`["a",{"cid":1,"from":null,"to":{"x":"]"},"body":{"b":[{"c":"}\\\""}],"d":""}}]`: {kind: "a", wrong: "to", body: []byte(`{"b":[{"c":"}\\\""}],"d":""}`)},
		`["a",{"tid":true,"body":null,"cid":"A","cid":"B"},"more",[],3]`:                 {kind: "a", rid: []byte("true"), cid: "B", body: emptyObject},
		`["a",{"tid":null,"body":[1]}]`:                                                  {kind: "a", body: []byte("[1]")},
		`["a",null]`:                                                                     {kind: "a", body: emptyObject},
		"\n[\"a\"]\n":                                                                    {kind: "a", body: emptyObject},
	} {
		got, err := readRequest([]byte(data), 32, 4096)
		if err != nil {
			t.Errorf("%s: %v", data, err)
			continue
		}
		if d := cmp.Diff(want, *got, cmp.AllowUnexported(request{}), cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s: %s", data, d)
		}
		split(t, got)
	}
	for _, data := range []string{"", "[]", `{"a":1}`, `[1]`, `[""]`, `["a",1]`, `["a","b"]`, `["a",[]]`, `["a",true]`, `["a",{]`, `["a"`, `["a"]x`, `[null,{}]`, "[\"\xff\"]"} {
		if r, err := readRequest([]byte(data), 32, 4096); err == nil {
			t.Errorf("%q was taken: %+v", data, r)
		}
	}
}

// FuzzPacket: whatever comes in is refused or is something that can be answered.
func FuzzPacket(f *testing.F) {
	for _, seed := range []string{`2["text",{"tid":"1","cid":"CON-1","body":{"text":"x"}}]`, `0`, `1`, `0/a?b,{}`, `212["a"]`, `31[]`,
		`2["a",{"tid":{},"body":[]}]`, `51000000000-["a",{"_placeholder":true}]`, "2[\"\xff\",{}]", `2["a",null]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		p, err := parse(content)
		if err != nil || p.kind != typeEvent {
			return
		}
		r, err := readRequest(p.data, limit.JSONDepth, limit.JSONMembers)
		if err != nil {
			return
		}
		if r.kind == "" || len(r.body) == 0 || len(r.rid) > ridBytesMax {
			t.Fatalf("%+v", r)
		}
		r.number("event_id")
		split(t, r)
		answer := success(r.rid, r.cid, r.body)
		if !json.Valid(answer) || string(answer) == "null" {
			t.Fatalf("the answer %s is not JSON", answer)
		}
		if frame := eventFrame(r.kind, answer); len(frame) <= len(answer) {
			t.Fatalf("%q", frame)
		}
	})
}
