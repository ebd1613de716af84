package export_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"parley/cmd/parley/export"
)

// TestWhoCameBack: the oldest lists of members have no times and any order. Of one user, who has left came
// before, whoever stands between; the others stay where they are.
func TestWhoCameBack(t *testing.T) {
	member := func(number, user, state, times string) string {
		return `{"kind":"member","conversation_id":"` + lunch + `","id":"MEM-a0000000-0000-4000-8000-00000000000` + number +
			`","user_id":"USR-aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaa` + user + `","user_name":"u` + user + `","state":"` + state + `"` + times + `}`
	}
	for name, tc := range map[string]struct{ lines, want string }{
		"no times":   {member("1", "1", "JOINED", "") + "\n" + member("2", "2", "JOINED", "") + "\n" + member("3", "1", "LEFT", ""), "2 3 1"},
		"some times": {member("1", "1", "JOINED", "") + "\n" + member("2", "2", "JOINED", `,"timestamp":{"joined":"2017-01-01T00:00:00Z"}`) + "\n" + member("3", "1", "LEFT", `,"timestamp":{"left":"2018-01-01T00:00:00Z"}`), "2 3 1"},
		"twice":      {member("1", "1", "LEFT", "") + "\n" + member("2", "1", "INVITED", "") + "\n" + member("3", "2", "LEFT", "") + "\n" + member("4", "1", "LEFT", ""), "1 3 4 2"},
		"in order":   {member("1", "1", "LEFT", "") + "\n" + member("2", "2", "LEFT", "") + "\n" + member("3", "1", "JOINED", ""), "1 2 3"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "export.jsonl")
			if err := os.WriteFile(file, []byte(tc.lines+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			x, err := export.Read(file)
			if err != nil || x.Fatal != 0 {
				t.Fatal(err, x.Problems)
			}
			var order []string
			for _, m := range x.Conversations[0].Members() {
				order = append(order, m.ID[len(m.ID)-1:])
			}
			if got := strings.Join(order, " "); got != tc.want {
				t.Errorf("members: %s, want %s", got, tc.want)
			}
		})
	}
}
