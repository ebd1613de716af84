package engineio

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"parley/edge/socket"
)

func TestPayloads(t *testing.T) {
	for _, tc := range []struct {
		name    string
		version int
		packets []string
		text    string
	}{
		{"one", 3, []string{"2"}, "1:2"},
		{"two", 3, []string{`0{"sid":"x"}`, "40"}, `12:0{"sid":"x"}2:40`},
		{"characters beyond the first plane count twice", 3, []string{"4👋é"}, "4:4👋é"},
		{"digits in a packet", 3, []string{"412:3", "2"}, "5:412:31:2"},
		{"version 4", 4, []string{"0{}", "4👋", "2"}, "0{}\x1e4👋\x1e2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var text []byte
			for _, p := range tc.packets {
				text = appendPayload(text, tc.version, []byte(p))
			}
			if string(text) != tc.text {
				t.Errorf("%q", text)
			}
			packets, err := split(text, tc.version, len(tc.packets))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.packets, strings.Split(string(bytes.Join(packets, []byte("|"))), "|")); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestMalformedPayloads(t *testing.T) {
	for _, tc := range []struct {
		name    string
		version int
		text    string
	}{
		{"empty", 3, ""}, {"empty", 4, ""},
		{"no length", 3, ":2"},
		{"no colon", 3, "12"},
		{"longer than it is", 3, "5:2"},
		{"negative", 3, "-1:2"},
		{"in the middle of a character", 3, "2:4👋"},
		{"a length without end", 3, "999999999999:2"},
		{"too many", 3, strings.Repeat("1:2", 11)},
		{"too many", 4, strings.Repeat("2\x1e", 10) + "2"},
	} {
		if packets, err := split([]byte(tc.text), tc.version, 10); err == nil {
			t.Errorf("%s (version %d) was taken: %q", tc.name, tc.version, packets)
		}
	}
}

func TestUnframe(t *testing.T) {
	var frames []byte
	var want []string
	for _, n := range []int{0, 1, 124, 125, 126, 65_534, 65_535, 65_536} {
		content := strings.Repeat("x", n)
		want = append(want, "4"+content)
		frames = AppendMessage(frames, func(dst []byte) []byte { return append(dst, content...) })
	}
	var got []string
	if err := unframe(frames, func(packet []byte) { got = append(got, string(packet)) }); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, cut := range []int{1, len(frames) - 1} {
		if unframe(frames[:cut], func([]byte) {}) == nil {
			t.Errorf("%d bytes of %d were taken", cut, len(frames))
		}
	}
}

// fuzzPayload checks that what is split is exactly what was joined, and that nothing panics.
func fuzzPayload(f *testing.F, version int) {
	for _, seed := range []string{"1:2", "2:40", "12:0{\"sid\":\"x\"}2:40", "4:4👋é", "2\x1e3", "999:2", ":", "1:", "4:4\xff\xfe"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		const most = 64
		packets, err := split(text, version, most)
		if err != nil {
			return
		}
		if len(packets) == 0 || len(packets) > most {
			t.Fatalf("%d packets", len(packets))
		}
		var again []byte
		for i, p := range packets {
			again = appendPayload(again, version, p)
			if version >= 4 && i == 0 && len(p) == 0 {
				return // an empty first packet leaves no trace; the connection refuses it
			}
		}
		back, err := split(again, version, most)
		if err != nil {
			t.Fatalf("%q does not survive: %v", text, err)
		}
		if version == 3 && utf8.Valid(text) {
			if d := cmp.Diff(packets, back); d != "" {
				t.Fatal(d)
			}
		}
	})
}

func FuzzPayload3(f *testing.F) { fuzzPayload(f, 3) }

func FuzzPayload4(f *testing.F) { fuzzPayload(f, 4) }

func FuzzUnframe(f *testing.F) {
	f.Add(socket.AppendFrame(nil, socket.Text, []byte("2")))
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		if unframe(b, func(packet []byte) { total += len(packet) }) == nil && total > len(b) {
			t.Fatalf("%d bytes out of %d", total, len(b))
		}
	})
}
