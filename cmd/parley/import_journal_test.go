package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAFileThatIsNoJournal stays as it is, whatever it holds; what a crash has left of a journal's first line is
// none of anybody else's.
func TestAFileThatIsNoJournal(t *testing.T) {
	head := journalHead{Application: "a-1", Digest: "d"}
	for content, begun := range map[string]bool{
		"":                                   true,
		`{"version":1,"app`:                  true,
		`{"version":1,"application_id":"a-2`: false,
		`{"id":"USR-1","name":"jamie"}`:      false,
		"notes\n":                            false,
	} {
		path := filepath.Join(t.TempDir(), "users.json")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		j, err := openJournal(path, head)
		if err == nil {
			err = j.close()
		} else if !strings.Contains(err.Error(), "belongs to another import") {
			t.Errorf("%q: %v", content, err)
		}
		if (err == nil) != begun {
			t.Errorf("%q: taken for a journal: %v", content, err)
		}
		if left := string(must(os.ReadFile(path))); !begun && left != content {
			t.Errorf("%q has become %q", content, left)
		}
	}
}
