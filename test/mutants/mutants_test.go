// Package mutants shows that the tests can fail: each mutant is the product with one promise
// broken on purpose, built through an overlay, and the simulation must catch it.
package mutants

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mutant is a product with a fault. It may need several edits of its one file.
type mutant struct {
	name  string
	file  string      // within the module
	edits [][2]string // what it has in the place of what; that occurs exactly once
	// by is the package whose own tests notice, because the fault heals too soon or is too rare for a simulation to
	// show, and which of them, if others wait for ever; "" = the simulation does.
	by string
}

// single are faults of one node, which the simulation of one shows.
var single = []mutant{
	{"log is written without sync", "cluster/shard/logwriter.go", [][2]string{{"\tif !sync {", "\tif sync = false; !sync {"}}, ""},
	{"dedup is forgotten", "actors/conversation/load.go", [][2]string{
		{"known, ok := l.view.firsts[key]", "known, ok := first{}, key != (client{})"}}, ""},
	{"ack before commit", "actors/grain/shell.go", [][2]string{
		{"\t\t\ts.emit(Propose{Write", "\t\t\tfor _, v := range b.verdicts {\n\t\t\t\ts.answer(v.respond, v.reply)\n\t\t\t}\n\t\t\tb.verdicts = nil\n\t\t\ts.emit(Propose{Write"}}, ""},
	{"fan-out before commit", "actors/grain/shell.go", [][2]string{
		{"\t\t\ts.emit(Propose{Write", "\t\t\ts.emit(Broadcast{Items: b.fanout})\n\t\t\tb.fanout = nil\n\t\t\ts.emit(Propose{Write"}}, ""},
	{"dedup is forgotten with the view", "actors/conversation/load.go", [][2]string{
		{"known.sequence, l.err = l.rows.first(l.reader, key.user, key.id)", "known.sequence, l.err = 0, error(nil)"}}, ""},
	{"revision fence is off", "cluster/shard/applier.go", [][2]string{{"if !current || revision.number != base {", "if !current {"}}, ""},
	{"those who left may read", "actors/conversation/access.go", [][2]string{
		{"return joined(m) || m.GetState() == eventv1.MemberState_MEMBER_STATE_INVITED", "return m != nil"}}, ""},
	{"a read cursor goes back", "actors/conversation/receipt.go", [][2]string{
		{"next.Seen = max(next.Seen, sequence)", "next.Seen = sequence"}}, ""},
	{"a gap is not fetched", "edge/hub/room.go", [][2]string{{"\tr.fetch(r.last+1, nil)\n", ""}}, ""},
	{"interest is not confirmed again", "edge/hub/driver.go", [][2]string{{"\t\t\tr.ask()\n", ""}}, ""},
	{"a kick is ignored by the hub", "edge/hub/arrival.go", [][2]string{{"if v.GetEvent().GetType() == typeLeft {", "if false {"}}, ""},
	{"a kick is ignored while catching up", "edge/hub/room.go", [][2]string{{"at := leaving(events, s)", "at := -1"}}, ""},
	{"catching up begins one late", "edge/hub/hub.go", [][2]string{{"s.next = *r.After + 1", "s.next = *r.After + 2"}}, ""},
	{"a page is one short for the room", "edge/hub/room.go", [][2]string{
		{"s.next += uint64(len(events))", "s.next += uint64(len(events)) - 1"}}, ""},
	{"deleted bodies stay in memory", "edge/hub/arrival.go", [][2]string{{"r.recent = after(r.recent, deletedBy(v))", ""}}, ""},
	{"pages read before the check are shown", "edge/hub/room.go", [][2]string{{"len(events) > 0 && head < s.floor", "false"}}, ""},
	{"a room behind the check serves", "edge/hub/room.go", [][2]string{{"r.last >= s.floor && ", ""}}, ""},
	{"a closed subscription hears on", "edge/hub/writer.go", [][2]string{{"if !s.ended.Load() {", "{"}}, ""},
}

// clustered are faults of what nodes do together.
var clustered = []mutant{
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
		{"OnlyReadGuaranteedDurable: true,", ""}, {"flushed, err = s.state.db.AsyncFlush()", "done := make(chan struct{})\n\t\tclose(done)\n\t\tflushed = done"}}, ""},
	{"an outbox row goes before its ack", "actors/outbox/flight.go", [][2]string{
		{"\tq.out = append(q.out, Deliver{", "\tq.acked = append(q.acked, removal{key: l.rows[0].Key})\n\tq.out = append(q.out, Deliver{"}}, ""},
	{"a departed replica is kept", "cluster/shard/removal.go", [][2]string{{"Confirmed: to == confirmed,", "Confirmed: false,"}}, "./cluster/shard -run=TestScripts"},
	{"an edge does not hear of new leaders", "actors/fanout/inbound.go", [][2]string{
		{"\tif news {\n\t\ti.resync(", "\tif false {\n\t\ti.resync("}}, ""},
}

// TestMutantsFit the product as it is: each takes the place of something.
func TestMutantsFit(t *testing.T) {
	for _, m := range append(single, clustered...) {
		m.overlay(t)
	}
}

// root is the module.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// overlay writes what has go build the mutant in the place of its file.
func (m mutant) overlay(t *testing.T) (path string) {
	t.Helper()
	original := filepath.Join(root(t), m.file)
	source, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	text := string(source)
	for _, e := range m.edits {
		if n := strings.Count(text, e[0]); n != 1 {
			t.Fatalf("%s: %q occurs %d times in %s: bring the mutant up to date", m.name, e[0], n, m.file)
		}
		text = strings.Replace(text, e[0], e[1], 1)
	}
	dir := t.TempDir()
	changed, path := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
