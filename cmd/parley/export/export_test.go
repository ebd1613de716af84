package export_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/cmd/parley/export"
)

const lunch = "CON-11111111-1111-4111-8111-111111111111"

// TestAnswersOfTheOldService: pages of several generations, saved as they came, make one export. A page
// in falling order, an event that two pages have, one that none has, a member that no list has.
func TestAnswersOfTheOldService(t *testing.T) {
	x, err := export.Read("testdata/answers")
	if err != nil || x.Fatal != 0 {
		t.Fatal(err, x.Problems)
	}
	if got, want := x.Count(), (export.Counts{Users: 2, Conversations: 2, Members: 3, Events: 9}); got != want {
		t.Errorf("found %+v, want %+v", got, want)
	}
	if u := x.Users[0]; u.Name != "jamie" || u.DisplayName != "Jamie J" || string(u.Properties) != `{"custom_data": {"plan": "gold"}}` {
		t.Errorf("%+v", u)
	}
	c := x.Conversations[0]
	if c.ID != lunch || c.Name != "lunch" || string(c.Properties) != `{"ttl":60}` || c.Timestamp.Created != "2018-03-01T10:00:00.000Z" {
		t.Errorf("%+v", c)
	}
	var members []string
	for _, m := range c.Members() {
		members = append(members, fmt.Sprintf("%s %s %s", m.ID[len(m.ID)-1:], m.User.Name, m.State))
	}
	if got, want := strings.Join(members, ", "), "1 jamie JOINED, 2 alice LEFT, 3 alice INVITED"; got != want {
		t.Errorf("members: %s, want %s", got, want)
	}
	events, err := c.Events()
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for i, e := range events {
		if e.ID != uint64(i+1) {
			t.Errorf("event %d stands at %d", e.ID, i+1)
		}
		types = append(types, e.Type)
	}
	want := "member:joined member:joined text rtc:status text:seen " + export.MissingType + " member:left text member:invited"
	if got := strings.Join(types, " "); got != want {
		t.Errorf("events: %s", got)
	}
	if events[7].Deleted == "" || events[7].Body != nil || events[5].Deleted == "" || events[2].State.DeliveredTo["MEM-b0000000-0000-4000-8000-000000000002"] == "" {
		t.Error("deletions or receipts are lost")
	}
	if len(x.Problems) != 1 || x.Problems[0].Field != "id" || x.Problems[0].Line != 4 {
		t.Errorf("problems: %v", x.Problems) // events 6 is missing, told where event 7 stands
	}
}

// TestProblemsNameTheirPlace: what is wrong is told with file, line and field, and nothing hides another.
func TestProblemsNameTheirPlace(t *testing.T) {
	const (
		user = `{"kind":"user","id":"USR-aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa","name":"jamie"}`
		con  = `{"kind":"conversation","id":"` + lunch + `","name":"lunch"}`
	)
	event := func(id int, rest string) string {
		return fmt.Sprintf(`{"kind":"event","conversation_id":"%s","id":%d,"type":"text","timestamp":"2018-03-01T10:00:0%dZ"%s}`, lunch, id, id, rest)
	}
	for _, c := range []struct {
		name, line, field string
		fatal             bool
	}{
		{"no JSON", `{"kind":`, "", true},
		{"an empty list", `[]`, "", true},
		{"a number", `7`, "", true},
		{"a text", `"x"`, "", true},
		{"null", `null`, "", true},
		{"an empty object", `{}`, "", true},
		{"a list of strangers", `[{}]`, "", true},
		{"a refusal", `{"code":"http:error:not-found","description":"x"}`, "", true},
		{"another name of a user", `{"kind":"user","id":"USR-aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa","name":"jim"}`, "name", true},
		{"another name of a conversation", `{"kind":"conversation","id":"` + lunch + `","name":"dinner"}`, "name", true},
		{"nothing known", `{"kind":"leg","id":"x"}`, "", true},
		{"a user's id", `{"kind":"user","id":"USR-1","name":"x"}`, "id", true},
		{"a long name", `{"kind":"user","id":"USR-bbbbbbbb-aaaa-4aaa-8aaa-aaaaaaaaaaaa","name":"` + strings.Repeat("x", 101) + `"}`, "name", true},
		{"a name twice", `{"kind":"user","id":"USR-bbbbbbbb-aaaa-4aaa-8aaa-aaaaaaaaaaaa","name":"jamie"}`, "name", true},
		{"no conversation", `{"kind":"event","id":1,"type":"text","timestamp":"2018-03-01T10:00:01Z"}`, "conversation_id", true},
		{"no state", `{"kind":"member","conversation_id":"` + lunch + `","id":"MEM-a0000000-0000-4000-8000-000000000001","user_id":"USR-aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"}`, "state", true},
		{"no such user", `{"kind":"member","conversation_id":"` + lunch + `","id":"MEM-a0000000-0000-4000-8000-000000000001","state":"JOINED","user_id":"USR-cccccccc-aaaa-4aaa-8aaa-aaaaaaaaaaaa"}`, "user_id", true},
		{"no time", `{"kind":"event","conversation_id":"` + lunch + `","id":1,"type":"text"}`, "timestamp", true},
		{"a body", event(1, `,"body":"text"`), "body", true},
		{"a sender", event(1, `,"from":"MEM-1"`), "from", true},
		{"a large hole", `{"kind":"event","conversation_id":"` + lunch + `","id":20000,"type":"text","timestamp":"2018-03-01T10:00:01Z"}`, "id", true},
		{"a small hole", event(3, ""), "id", false},
		{"an unknown sender", event(1, `,"from":"MEM-a0000000-0000-4000-8000-000000000009"`), "from", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "export.jsonl")
			if err := os.WriteFile(file, []byte(user+"\n"+con+"\n\n"+c.line+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			x, err := export.Read(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(x.Problems) == 0 {
				t.Fatal("nothing is wrong")
			}
			if p := x.Problems[0]; p.Line != 4 || p.File != file || p.Field != c.field || p.Fatal != c.fatal {
				t.Errorf("%+v", x.Problems)
			}
		})
	}
}

// TestSavedAnswers: one that holds nothing is fine, or worth a warning; one that is none is an error.
func TestSavedAnswers(t *testing.T) {
	for answer, want := range map[string]struct{ fatal, warnings int }{
		`[]`: {0, 1}, `{"page_size":10,"_links":{}}`: {0, 1}, `{"_embedded":{"data":{}}}`: {0, 1}, `{"_embedded":{"users":[]}}`: {0, 1},
		`{"_embedded":{"users":null}}`:                           {0, 1},
		`{"uuid":"` + lunch + `","name":"lunch","members":null}`: {0, 0}, `{"uuid":"` + lunch + `","name":"lunch","members":{}}`: {0, 0},
		`{}`: {1, 0}, `7`: {1, 0}, `null`: {1, 0}, `{"_embedded":{"users":[7,null]}}`: {2, 0},
		`{"code":"system:error:invalid-token","description":"x"}`: {1, 0},
	} {
		file := filepath.Join(t.TempDir(), "answer.json")
		if err := os.WriteFile(file, []byte(answer), 0o600); err != nil {
			t.Fatal(err)
		}
		if x, err := export.Read(file); err != nil || x.Fatal != want.fatal || x.Warnings != want.warnings {
			t.Errorf("%s: %v, %v", answer, err, x.Problems)
		}
	}
}

// TestTimesThatGoBack get the time of the event before: a history's times never fall.
func TestTimesThatGoBack(t *testing.T) {
	file := filepath.Join(t.TempDir(), "export.jsonl")
	text := ""
	for id, second := range []int{1: 5, 2: 3, 3: 4} {
		if id > 0 {
			text += fmt.Sprintf(`{"kind":"event","conversation_id":"%s","id":%d,"type":"text","timestamp":"2018-03-01T10:00:0%dZ","body":{"text":"x"}}`+"\n", lunch, id, second)
		}
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	x, err := export.Read(file)
	if err != nil || x.Fatal != 0 || x.Warnings != 2 {
		t.Fatal(err, x.Problems)
	}
	events, err := x.Conversations[0].Events()
	if err != nil || len(events) != 3 || events[1].Timestamp != "2018-03-01T10:00:05.000Z" || events[2].Timestamp != events[1].Timestamp {
		t.Error(err, events)
	}
}

func TestFilesThatCanNotBeRead(t *testing.T) {
	empty := t.TempDir()
	strange := filepath.Join(empty, "notes.txt")
	if err := os.WriteFile(strange, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{empty, strange, filepath.Join(empty, "missing.json")} {
		if _, err := export.Read(path); err == nil {
			t.Errorf("%s was read", path)
		}
	}
}
