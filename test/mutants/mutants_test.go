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
	{"dedup is forgotten with the view", "actors/conversation/load.go",
		"known.sequence, l.err = l.rows.first(l.reader, key.user, key.id)", "known.sequence, l.err = 0, error(nil)"},
	{"revision fence is off", "cluster/shard/applier.go", "if !current || revision.number != base {", "if !current {"},
	{"those who left may read", "actors/conversation/access.go",
		"return joined(m) || m.GetState() == eventv1.MemberState_MEMBER_STATE_INVITED", "return m != nil"},
	{"a read cursor goes back", "actors/conversation/receipt.go", "next.Seen = max(next.Seen, sequence)", "next.Seen = sequence"},
	{"a gap is not fetched", "edge/hub/room.go", "\tr.fetch(r.last+1, nil)\n", ""},
	{"interest is not confirmed again", "edge/hub/driver.go", "\t\t\tr.ask()\n", ""},
	{"a kick is ignored by the hub", "edge/hub/arrival.go", "if v.GetEvent().GetType() == typeLeft {", "if false {"},
	{"a kick is ignored while catching up", "edge/hub/room.go", "at := leaving(events, s)", "at := -1"},
	{"catching up begins one late", "edge/hub/hub.go", "s.next = *r.After + 1", "s.next = *r.After + 2"},
	{"a page is one short for the room", "edge/hub/room.go", "s.next += uint64(len(events))", "s.next += uint64(len(events)) - 1"},
	{"deleted bodies stay in memory", "edge/hub/arrival.go", "r.recent = after(r.recent, deletedBy(v))", ""},
	{"pages read before the check are shown", "edge/hub/room.go", "len(events) > 0 && head < s.floor", "false"},
	{"a room behind the check serves", "edge/hub/room.go", "r.last >= s.floor && ", ""},
	{"a closed subscription hears on", "edge/hub/writer.go", "if !s.ended.Load() {", "{"},
}

func TestEveryMutantIsCaught(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if output, err := simulate(root); err != nil {
		t.Fatalf("the tests fail without any mutant, so they tell nothing:\n%s", output)
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
	return simulate(root, "-overlay", list)
}

// simulate runs the tests that are to notice, built with flags.
func simulate(root string, flags ...string) (string, error) {
	test := exec.Command("go", append(append([]string{"test"}, flags...), "-count=1", "./edge/hub", "./test/sim")...)
	test.Dir = root
	output, err := test.CombinedOutput()
	return string(output), err
}
