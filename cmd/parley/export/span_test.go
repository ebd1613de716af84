package export

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// counted counts what is read of a file.
type counted struct {
	file
	size *int
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.file.Read(p)
	*c.size += n
	return n, err
}

func (c counted) ReadAt(p []byte, at int64) (int, error) {
	n, err := c.file.ReadAt(p, at)
	*c.size += n
	return n, err
}

// seen reads with the limit given and says how many bytes were read; the count goes on with Events.
func seen(t *testing.T, spansMax int, path string) (*Export, *int) {
	t.Helper()
	size := new(int)
	x, err := read(&files{spansMax: spansMax, open: func(name string) (file, error) {
		f, err := os.Open(name)
		return counted{f, size}, err
	}}, []string{path})
	if err != nil {
		t.Fatal(err)
	}
	return x, size
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func numbered(conversation int) string {
	return fmt.Sprintf("CON-11111111-1111-4111-8111-%012d", conversation)
}

// said is an event whose body has all that could lead a reader of JSON astray.
func said(conversation, id int) string {
	return fmt.Sprintf(`{"conversation_id": "%s", "id": %d, "type": "text", "timestamp": "2018-03-01T10:00:00Z",
		"body": {"text": "%d/%d \"}],[{\\", "more": [[], {}, {"id": 1, "a,b": null}, -1.5e3, true]}}`, numbered(conversation), id, conversation, id)
}

// mixed are events of many conversations, one of each in turn.
func mixed(conversations, events int) []string {
	var all []string
	for id := 1; id <= events; id++ {
		for c := range conversations {
			all = append(all, said(c, id))
		}
	}
	return all
}

func compact(item string) string {
	return strings.ReplaceAll(strings.ReplaceAll(item, "\n", ""), "\t", "")
}

// TestAFileIsReadThreeTimesAtMost: once to find what it holds, once to check each history, once to send
// it; however many conversations it has and however they are mixed.
func TestAFileIsReadThreeTimesAtMost(t *testing.T) {
	const conversations, events = 20, 20
	items := mixed(conversations, events)
	lines := make([]string, len(items))
	for i, item := range items {
		lines[i] = compact(item)
	}
	for name, text := range map[string]string{
		"array.json":  "\n[" + strings.Join(items, " ,\n ") + "]\n",
		"line.json":   "[" + strings.Join(lines, ",") + "]",
		"pages.json":  `[{"events":[` + strings.Join(items[:99], ",") + `]},{"_embedded":{"data":{"events":[` + strings.Join(items[99:], ",\n") + `]}}}]`,
		"lines.jsonl": strings.Join(lines, "\n"),
		"pages.jsonl": "\n[" + strings.Join(lines[:7], ",") + "]\r\n\r\n" + `{"data": [` + strings.Join(lines[7:], ", ") + "]}\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			x, size := seen(t, conversations*events, write(t, name, text))
			if x.Fatal+x.Warnings > 0 || len(x.Conversations) != conversations {
				t.Fatal(len(x.Conversations), x.Problems)
			}
			if *size > 2*len(text) {
				t.Errorf("read %d bytes of a file of %d", *size, len(text))
			}
			for number, c := range x.Conversations {
				all, err := c.Events()
				if err != nil || len(all) != events {
					t.Fatal(len(all), err)
				}
				for i, e := range all {
					var body struct{ Text string }
					if want := fmt.Sprintf(`%d/%d "}],[{\`, number, i+1); json.Unmarshal(e.Body, &body) != nil || body.Text != want {
						t.Fatalf("%s, want %s", e.Body, want)
					}
				}
			}
			if *size > 3*len(text) {
				t.Errorf("read %d bytes of a file of %d", *size, len(text))
			}
		})
	}
}

// TestPlacesInAPage: problems name the lines at which things stand, whatever the order of the page.
func TestPlacesInAPage(t *testing.T) {
	event := func(id int) string {
		return fmt.Sprintf(`{"id": %d, "type": "text",
   "timestamp": "never"}`, id)
	}
	page := func(member string) string {
		return `{
 "events": [` + event(1) + `,
` + event(2) + `
 ],
 "_links": {"self": {"href": "/conversations/` + numbered(1) + `"}},
 "members": [
  {"id": "` + member + `", "state": "LEFT"}
 ]
}`
	}
	x, _ := seen(t, 2, write(t, "answer.json", "["+page("MEM-1")+",\n"+page("MEM-2")+"]"))
	var places []string
	for _, p := range x.Problems {
		places = append(places, fmt.Sprintf("%d:%s", p.Line, p.Field))
	}
	want := "2:timestamp 4:timestamp 13:timestamp 15:timestamp 9:id 9:user_id 20:id 20:user_id"
	if got := strings.Join(places, " "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestPlacesAreLimited: what is remembered of where events stand has a limit, and neighbours share.
func TestPlacesAreLimited(t *testing.T) {
	items := mixed(2, 8)
	var sorted []string
	for c := range 2 {
		for id := range 8 {
			sorted = append(sorted, items[2*id+c])
		}
	}
	for name, text := range map[string]string{
		"sorted.json": "[" + strings.Join(sorted, ", ") + "]", "sorted.jsonl": compact(strings.Join(sorted, "~")),
		"mixed.json": "[" + strings.Join(items, ", ") + "]", "mixed.jsonl": compact(strings.Join(items, "~")),
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, name, strings.ReplaceAll(text, "~", "\n \n"))
			for _, most := range []int{1, 2, 15, 16} {
				x, err := read(&files{open: openFile, spansMax: most}, []string{path})
				enough := most >= 16 || most >= 2 && strings.HasPrefix(name, "sorted")
				if enough != (err == nil) {
					t.Errorf("with %d places: %v", most, err)
				}
				if enough && err == nil && x.Count() != (Counts{Conversations: 2, Events: 16}) {
					t.Errorf("with %d places: %+v", most, x.Count())
				}
			}
		})
	}
	if size := reflect.TypeFor[span]().Size(); size != 24 {
		t.Errorf("a span takes %d bytes", size)
	}
}

// TestAFileThatHasChanged since it was checked is not imported.
func TestAFileThatHasChanged(t *testing.T) {
	for name, after := range map[string]string{
		"shorter":              said(0, 1)[:100],
		"no JSON":              strings.ReplaceAll(said(0, 1), `":`, `"]`),
		"another conversation": said(1, 1),
		"another kind":         strings.Replace(said(0, 1), `"type"`, `"kind"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, "events.json", said(0, 1))
			x, _ := seen(t, 1, path)
			if err := os.WriteFile(path, []byte(after), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := x.Conversations[0].Events(); !errors.Is(err, errChanged) || !strings.Contains(err.Error(), path) {
				t.Error(err)
			}
		})
	}
}

// FuzzValues: an array is taken apart as encoding/json does it, and nothing that is not JSON stops it.
func FuzzValues(f *testing.F) {
	for _, seed := range []string{"[]", "[ ]", `[1, "a\\\"]", {"b,c": [{}]} ,null]`, "[[],{}]", "[]}", `["`, `["\`, "[{]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if raw = bytes.TrimSpace(raw); len(raw) < 2 {
			return
		}
		var got [][]byte
		for start, value := range values(raw[1 : len(raw)-1]) {
			if len(value) == 0 || !bytes.HasPrefix(raw[1+start:], value) {
				t.Fatalf("%q at %d of %q", value, start, raw)
			}
			got = append(got, value)
		}
		var want []json.RawMessage
		if raw[0] != '[' || json.Unmarshal(raw, &want) != nil {
			return
		}
		if len(got) != len(want) {
			t.Fatalf("%q, want %q", got, want)
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("%q, want %q", got[i], want[i])
			}
		}
	})
}
