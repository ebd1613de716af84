//go:build mutants

package mutants

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// clusterMutant is a mutant of what nodes do together. It may need several edits of one file.
type clusterMutant struct {
	name  string
	file  string
	edits [][2]string // each old text occurs exactly once
	by    string      // the package whose own tests notice, "" = the simulation does
}

var clustered = []clusterMutant{
	{"log is written without sync", "cluster/shard/logwriter.go", [][2]string{{"\tif !sync {", "\tif sync = false; !sync {"}}, ""},
	{"a vote is not persisted", "cluster/shard/ready.go", [][2]string{
		{"t.write.Vote, g.vote = &vote, vote", "g.vote = vote"}}, "./cluster/shard"},
	{"dedup is forgotten with the view", "actors/conversation/load.go", [][2]string{
		{"known.sequence, l.err = l.rows.first(l.reader, key.user, key.id)", "known.sequence, l.err = 0, error(nil)"}}, ""},
	{"the fence is off", "cluster/shard/applier.go", [][2]string{{"if !current || revision.number != base {", "if false {"}}, ""},
	{"reads take no read index", "cluster/shard/read.go", [][2]string{
		{"g.reads.queued = append(g.reads.queued, in.done)", "c.answerRead(in.done, Epoch(g.term), nil)"}}, ""},
	{"a deposed leader reads", "cluster/shard/boot.go", [][2]string{{"raft.ReadOnlySafe", "raft.ReadOnlyLeaseBased"}}, ""},
	{"a gap is not fetched", "edge/hub/room.go", [][2]string{{"\tr.fetch(r.last+1, nil)\n", ""}}, ""},
	{"a hole in a feed is not noticed", "actors/fanout/inbound.go", [][2]string{{"missing = b.Feed > expected", "missing = false"}}, "./actors/fanout"},
	{"ack before the quorum", "cluster/shard/ready.go", [][2]string{{"\t\t\tg.appending--\n", "\t\t\tg.appending--\n" +
		"\t\t\tfor i := range g.waiting {\n\t\t\t\tfor _, done := range g.waiting[i].done {\n\t\t\t\t\tc.answer(done, nil)\n\t\t\t\t}\n\t\t\t\tg.waiting[i].done = nil\n\t\t\t}\n"}}, ""},
	{"a snapshot without its configuration", "cluster/shard/engine.go", [][2]string{
		{"ConfState: in.applied.Conf,", "ConfState: &raftpb.ConfState{},"}}, ""},
	{"replica ids are given twice", "actors/placement/machine.go", [][2]string{
		{"\t\t\tc.row.NextReplica++\n", "\t\t\tdefer func() { c.row.NextReplica++ }()\n"},
		{"if r.Id >= c.row.NextReplica ||", "if"}}, ""},
	{"a removed replica may be made again", "cluster/shard/replica.go", [][2]string{
		{"if l.shard == s && (!l.Removed || l.Replica >= uint64(id)) {", "if l.shard == s && !l.Removed && l.Replica == uint64(id) {"}}, ""},
	{"the log is cut beyond what is durable", "persistence/store/durable.go", [][2]string{
		{"OnlyReadGuaranteedDurable: true,", ""}, {"flushed, err := s.state.db.AsyncFlush()", "flushed, err := make(chan struct{}), error(nil)\n\tclose(flushed)"}}, ""},
	{"an outbox row goes before its ack", "actors/outbox/lanes.go", [][2]string{
		{"\t\tq.out = append(q.out, Deliver{", "\t\tq.acked = append(q.acked, removal{key: l.rows[0].Key})\n\t\tq.out = append(q.out, Deliver{"}}, ""},
	{"a departed replica is kept", "cluster/shard/removal.go", [][2]string{{"Confirmed: to == confirmed,", "Confirmed: false,"}}, ""},
	{"an edge does not hear of new leaders", "actors/fanout/inbound.go", [][2]string{
		{"\tif news {\n\t\ti.resync(", "\tif false {\n\t\ti.resync("}}, ""},
}

var only = flag.String("mutant", "", "run those cluster mutants alone whose name contains this")

// TestEveryClusterMutantIsCaught runs each against simulated clusters.
func TestEveryClusterMutantIsCaught(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range clustered {
		if !strings.Contains(m.name, *only) {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			dir := t.TempDir()
			if m.by != "" {
				m.tested(t, root, m.overlay(t, root, dir))
				return
			}
			binary := filepath.Join(dir, "sim")
			build := exec.Command("go", "test", "-c", "-overlay", m.overlay(t, root, dir), "-o", binary, "./test/sim/cluster")
			build.Dir = root
			if output, err := build.CombinedOutput(); err != nil {
				t.Fatalf("the mutant does not build: %v\n%s", err, output)
			}
			output, err := exec.Command(binary, "-test.run", "TestClusters", "-test.timeout", "15m", "-sim.seeds", "150").CombinedOutput()
			if err == nil || strings.Contains(string(output), "test timed out") { // time that ran out tells nothing
				t.Errorf("the simulation passes with this mutant, or has no end:\n%s", output)
			}
			for line := range strings.Lines(string(output)) {
				if strings.Contains(line, "violations") || strings.Contains(line, "panic:") || strings.Contains(line, "_test.go") {
					t.Logf("caught: %s", strings.TrimSpace(line))
					break
				}
			}
		})
	}
}

// tested runs the tests of one package with the mutant: what it breaks heals too soon, or happens too
// rarely, for a simulated cluster to show it.
func (m clusterMutant) tested(t *testing.T, root, overlay string) {
	t.Helper()
	test := exec.Command("go", "test", "-overlay", overlay, "-count=1", m.by)
	test.Dir = root
	output, err := test.CombinedOutput()
	if err == nil || strings.Contains(string(output), "build failed") {
		t.Errorf("the tests of %s pass with this mutant, or it does not build:\n%s", m.by, output)
	}
	for line := range strings.Lines(string(output)) {
		if strings.Contains(line, "_test.go") {
			t.Logf("caught: %s", strings.TrimSpace(line))
			break
		}
	}
}

// overlay writes the mutant and what has it built in the place of its file.
func (m clusterMutant) overlay(t *testing.T, root, dir string) string {
	t.Helper()
	original := filepath.Join(root, m.file)
	source, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	text := string(source)
	for _, e := range m.edits {
		if n := strings.Count(text, e[0]); n != 1 {
			t.Fatalf("%q occurs %d times in %s: bring the mutant up to date", e[0], n, m.file)
		}
		text = strings.Replace(text, e[0], e[1], 1)
	}
	changed, list := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	return list
}
