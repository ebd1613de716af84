//go:build mutants

// Package mutants shows that the tests can fail: each mutant is the product with one promise
// broken on purpose, built through an overlay, and the simulation must catch it.
package mutants

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

type mutant struct {
	name string
	file string // within the module
	old  string // occurs exactly once in file
	new  string
}

var all = []mutant{
	{"log is written without sync", "cluster/shard/logwriter.go", "\tif !sync {", "\tif sync = false; !sync {"},
	{"dedup is forgotten", "actors/conversation/load.go",
		"known, ok := l.view.firsts[key]", "known, ok := first{}, key != (client{})"},
	{"ack before commit", "actors/grain/shell.go",
		"\t\t\ts.emit(Propose{Write", "\t\t\tfor _, v := range b.verdicts {\n\t\t\t\ts.answer(v.respond, v.reply)\n\t\t\t}\n\t\t\tb.verdicts = nil\n\t\t\ts.emit(Propose{Write"},
	{"fan-out before commit", "actors/grain/shell.go",
		"\t\t\ts.emit(Propose{Write", "\t\t\ts.emit(Broadcast{Items: b.fanout})\n\t\t\tb.fanout = nil\n\t\t\ts.emit(Propose{Write"},
}

func TestEveryMutantIsCaught(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		t.Run(m.name, func(t *testing.T) {
			output, err := run(t, root, m)
			if err == nil {
				t.Errorf("the simulation passes with this mutant:\n%s", output)
			}
			if strings.Contains(output, "build failed") {
				t.Errorf("the mutant does not build:\n%s", output)
			}
		})
	}
}

// run builds and runs the simulation with the mutant in place of its file.
func run(t *testing.T, root string, m mutant) (string, error) {
	t.Helper()
	original := filepath.Join(root, m.file)
	source, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		t.Fatalf("%q occurs %d times in %s: bring the mutant up to date", m.old, n, m.file)
	}
	dir := t.TempDir()
	changed := filepath.Join(dir, "mutant.go")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(source), m.old, m.new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	test := exec.Command("go", "test", "-overlay", list, "-count=1", "./test/sim")
	test.Dir = root
	output, err := test.CombinedOutput()
	return string(output), err
}
