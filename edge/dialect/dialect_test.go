package dialect

import (
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	clientv1 "parley/proto/client/v1"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// payload takes the one frame of b apart.
func payload(t interface{ Fatalf(string, ...any) }, b []byte, op byte) []byte {
	if b[0] != 0x80|op {
		t.Fatalf("first byte %x", b[0])
	}
	head, n := 2, int(b[1])
	switch n {
	case 126:
		head, n = 4, int(binary.BigEndian.Uint16(b[2:]))
	case 127:
		head, n = 10, int(binary.BigEndian.Uint64(b[2:]))
	}
	if len(b) != head+n {
		t.Fatalf("%d bytes for a frame of %d+%d", len(b), head, n)
	}
	return b[head:]
}

// TestStringsAreThoseOfTheStandardLibrary compares our strings with what encoding/json reads.
func TestStringsAreThoseOfTheStandardLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")) + rapid.String().Draw(t, "text")
		standard, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var want, got string
		if err := json.Unmarshal(standard, &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(appendString(nil, s), &got); err != nil {
			t.Fatalf("%v in %q", err, appendString(nil, s))
		}
		if got != want {
			t.Fatalf("%q became %q, want %q", s, got, want)
		}
	})
}

// TestBothDialectsSayTheSame renders random events in both and compares.
func TestBothDialectsSayTheSame(t *testing.T) {
	text := rapid.StringMatching(`[ -~é€😀]{0,200}`)
	rapid.Check(t, func(t *rapid.T) {
		body, err := json.Marshal(map[string]string{"text": text.Draw(t, "text")})
		if err != nil {
			t.Fatal(err)
		}
		v := &nodev1.EventView{
			Event: &eventv1.Event{Sequence: rapid.Uint64Range(1, 1<<50).Draw(t, "sequence"), Type: text.Draw(t, "type"),
				FromMember: text.Draw(t, "from"), To: text.Draw(t, "to"), Body: body, ClientId: text.Draw(t, "client id"),
				TimestampMs: rapid.Int64Range(0, 1<<50).Draw(t, "timestamp"), DeletedMs: rapid.Int64Range(0, 1<<50).Draw(t, "deleted")},
			Author: &eventv1.Author{UserId: "USR-" + text.Draw(t, "user"), Name: text.Draw(t, "name"), CustomData: []byte(`{"secret":1}`)},
		}
		var frame clientv1.ServerFrame
		if err := frame.UnmarshalVT(payload(t, Proto{}.Events(nil, "CON-1", []*nodev1.EventView{v}), 2)); err != nil {
			t.Fatal(err)
		}
		var flat struct {
			Type, Conversation string
			Events             []struct {
				Sequence    uint64
				Type        string
				From, To    string
				User        struct{ ID, Name string }
				Body        json.RawMessage
				TimestampMs int64  `json:"timestamp_ms"`
				DeletedMs   int64  `json:"deleted_ms"`
				ClientID    string `json:"client_id"`
			}
		}
		if err := json.Unmarshal(payload(t, JSON{}.Events(nil, "CON-1", []*nodev1.EventView{v}), 1), &flat); err != nil {
			t.Fatal(err)
		}
		e := flat.Events[0]
		got := &clientv1.Event{Sequence: e.Sequence, Type: e.Type, From: e.From, To: e.To, Body: e.Body, TimestampMs: e.TimestampMs,
			DeletedMs: e.DeletedMs, ClientId: e.ClientID, User: &clientv1.User{Id: e.User.ID, Name: e.User.Name}}
		want := frame.GetEvents().Events[0]
		if flat.Type != "events" || flat.Conversation != frame.GetEvents().Conversation || !proto.Equal(got, want) {
			t.Fatalf("JSON says %v, protobuf %v", got, want)
		}
	})
}

// TestFramesAreAppended renders everything behind bytes that must stay.
func TestFramesAreAppended(t *testing.T) {
	view := &nodev1.EventView{Event: &eventv1.Event{Sequence: 1, Type: "text", Body: []byte(`{"text":"hi"}`)}}
	change := &nodev1.MembershipChange{Membership: &eventv1.Membership{ConversationId: "CON-1", State: eventv1.MemberState_MEMBER_STATE_JOINED}, Event: view}
	for _, d := range []Dialect{JSON{}, Proto{}} {
		for name, render := range map[string]func(dst []byte) []byte{
			"events":       func(dst []byte) []byte { return d.Events(dst, "CON-1", []*nodev1.EventView{view, view}) },
			"soft":         func(dst []byte) []byte { return d.Soft(dst, "CON-1", view) },
			"cursor":       func(dst []byte) []byte { return d.Cursor(dst, "CON-1", &eventv1.Cursor{MemberId: "MEM-1", Seen: 2}) },
			"membership":   func(dst []byte) []byte { return d.Membership(dst, change) },
			"reset":        func(dst []byte) []byte { return d.Reset(dst, "CON-1", 7) },
			"unsubscribed": func(dst []byte) []byte { return d.Unsubscribed(dst, "CON-1", Left) },
		} {
			alone := render(nil)
			if diff := cmp.Diff(append([]byte("before"), alone...), render([]byte("before"))); diff != "" {
				t.Errorf("%s %s: %s", d.Name(), name, diff)
			}
		}
	}
}

func TestEmptyBodyIsAnObject(t *testing.T) {
	deleted := &nodev1.EventView{Event: &eventv1.Event{Sequence: 1, Type: "text", DeletedMs: 5}}
	text := payload(t, JSON{}.Events(nil, "CON-1", []*nodev1.EventView{deleted}), 1)
	if want := `{"type":"events","conversation":"CON-1","events":[{"sequence":1,"type":"text","body":{},"deleted_ms":5}]}`; string(text) != want {
		t.Errorf("%s", text)
	}
}

func BenchmarkRender(b *testing.B) {
	views := []*nodev1.EventView{{
		Event: &eventv1.Event{Sequence: 1234, Type: "text", FromMember: "MEM-5f0d8c53-8a0e-4c46-9a26-1f0f2d7c11aa",
			Body: []byte(`{"text":"hello there, how are you?"}`), TimestampMs: 1_700_000_000_000, ClientId: "a-1"},
		Author: &eventv1.Author{UserId: "USR-9b7a8dc1-7f9e-4a7e-8a65-8a1f8a4ec3a1", Name: "ann"},
	}}
	for _, d := range []Dialect{JSON{}, Proto{}} {
		b.Run(d.Name(), func(b *testing.B) {
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				dst = d.Events(dst[:0], "CON-0de7a7b5-5e1e-4b5e-9a5e-0c5f4f1d2a11", views)
			}
		})
	}
}
