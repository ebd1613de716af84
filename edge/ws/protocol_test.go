package ws

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"parley/edge/dialect"
	"parley/edge/limit"
	"parley/edge/socket"
	clientv1 "parley/proto/client/v1"
)

func document(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// examples gives the fenced JSON blocks of one side.
func examples(t *testing.T, side string) []string {
	t.Helper()
	var list []string
	for _, m := range regexp.MustCompile("(?s)```json "+side+"\n(.*?)\n```").FindAllStringSubmatch(document(t), -1) {
		list = append(list, m[1])
	}
	return list
}

// kinds lists the names of a frame's oneof.
func kinds(m protoreflect.ProtoMessage) map[string]bool {
	out := map[string]bool{}
	fields := m.ProtoReflect().Descriptor().Oneofs().ByName("body").Fields()
	for i := range fields.Len() {
		out[string(fields.Get(i).Name())] = true
	}
	return out
}

// asFrame turns a flat JSON object into the protobuf frame that it stands for, by the rule of
// the document: type names the frame, the other names are those of its fields, body is nested JSON.
func asFrame(t *testing.T, text string, into proto.Message, idOutside bool) string {
	t.Helper()
	var flat map[string]any
	if err := json.Unmarshal([]byte(text), &flat); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	kind := flat["type"].(string)
	delete(flat, "type")
	frame := map[string]any{}
	if idOutside {
		frame["id"] = flat["id"]
		delete(flat, "id")
		if frame["id"] == nil {
			delete(frame, "id")
		}
	}
	frame[kind] = nestBodies(t, flat)
	nested, err := json.Marshal(frame)
	if err != nil {
		t.Fatal(err)
	}
	if err := protojson.Unmarshal(nested, into); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return kind
}

// nestBodies makes every body the bytes that protobuf has for it.
func nestBodies(t *testing.T, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if k == "body" {
				text, err := json.Marshal(e)
				if err != nil {
					t.Fatal(err)
				}
				v[k] = text
				continue
			}
			v[k] = nestBodies(t, e)
		}
	case []any:
		for i := range v {
			v[i] = nestBodies(t, v[i])
		}
	}
	return v
}

// TestDocumentedClientFrames reads every example with both codecs.
func TestDocumentedClientFrames(t *testing.T) {
	missing := kinds(&clientv1.ClientFrame{})
	for _, text := range examples(t, "client") {
		var want clientv1.ClientFrame
		kind := asFrame(t, text, &want, true)
		delete(missing, kind)
		got, err := jsonCodec{depth: limit.JSONDepth, members: limit.JSONMembers}.decode(false, []byte(text))
		if err != nil || !proto.Equal(got, &want) {
			t.Errorf("%s\nis read as %v, %v\nwant        %v", text, got, err, &want)
		}
		bytes, err := want.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		got, err = protoCodec{depth: limit.JSONDepth, members: limit.JSONMembers}.decode(true, bytes)
		if err != nil || !proto.Equal(got, &want) {
			t.Errorf("%s in protobuf is read as %v, %v", kind, got, err)
		}
	}
	if len(missing) > 0 {
		t.Errorf("docs/protocol.md has no example of %v", missing)
	}
}

// TestDocumentedServerFrames writes every example with both dialects.
func TestDocumentedServerFrames(t *testing.T) {
	missing := kinds(&clientv1.ServerFrame{})
	for _, text := range examples(t, "server") {
		var frame clientv1.ServerFrame
		kind := asFrame(t, text, &frame, false)
		delete(missing, kind)
		got := dialect.AppendJSON(nil, &frame)
		var gotFlat, wantFlat any
		if err := json.Unmarshal(got, &gotFlat); err != nil {
			t.Fatalf("%v in %s", err, got)
		}
		if err := json.Unmarshal([]byte(text), &wantFlat); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wantFlat, gotFlat); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
		var back clientv1.ServerFrame
		bytes := dialect.Proto{}.Frame(nil, &frame)
		header := len(socket.AppendHeader(nil, socket.Binary, frame.SizeVT()))
		if err := back.UnmarshalVT(bytes[header:]); err != nil || !proto.Equal(&back, &frame) {
			t.Errorf("%s in protobuf: %v, %v", kind, &back, err)
		}
	}
	if len(missing) > 0 {
		t.Errorf("docs/protocol.md has no example of %v", missing)
	}
}

func TestDocumentedCloseCodes(t *testing.T) {
	text := document(t)
	for _, c := range []socket.CloseCode{socket.Bye, socket.GoingAway, socket.Silent, socket.Overloaded, socket.SlowConsumer,
		socket.SessionReplaced, socket.TokenExpired, socket.LoginRefused, socket.LoginTimeout, socket.Malformed, socket.Protocol, socket.Terminated} {
		if row := fmt.Sprintf("| %d | `%s` |", uint16(c), c); !strings.Contains(text, row) {
			t.Errorf("docs/protocol.md has no row %q", row)
		}
	}
}

// TestDocumentedFields sees to it that every field of every frame is spoken of.
func TestDocumentedFields(t *testing.T) {
	text := document(t)
	for _, m := range []protoreflect.ProtoMessage{&clientv1.ClientFrame{}, &clientv1.ServerFrame{}} {
		frames := m.ProtoReflect().Descriptor().Oneofs().ByName("body").Fields()
		for i := range frames.Len() {
			fields := frames.Get(i).Message().Fields()
			for j := range fields.Len() {
				if name := string(fields.Get(j).Name()); !strings.Contains(text, name) {
					t.Errorf("docs/protocol.md does not speak of %s.%s", frames.Get(i).Name(), name)
				}
			}
		}
	}
}

// FuzzDecode feeds both codecs with anything: they refuse or read, and never panic.
func FuzzDecode(f *testing.F) {
	f.Add(true, []byte("\x0a\x011\x2a\x00"))
	f.Add(false, []byte(`{"type":"post","id":"1","body":{"text":"hi"}}`))
	f.Fuzz(func(t *testing.T, binary bool, payload []byte) {
		for _, c := range []codec{jsonCodec{depth: 32, members: 4096}, protoCodec{depth: 32, members: 4096}} {
			frame, err := c.decode(binary, payload)
			if err == nil && frame.Body == nil {
				t.Errorf("%s read %q as nothing", c.Name(), payload)
			}
			if post := frame.GetPost(); err == nil && post != nil && len(post.Body) > 0 && !json.Valid(post.Body) {
				t.Errorf("%s let a broken body pass: %q", c.Name(), post.Body)
			}
		}
	})
}
