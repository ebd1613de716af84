package raftlog

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"pgregory.net/rapid"

	"parley/persistence/keys"
)

const (
	testShard   = keys.Shard(3)
	testReplica = 42
)

// silent keeps Pebble's routine messages out of the test's output.
type silent struct{}

func (silent) Infof(string, ...any)      {}
func (silent) Errorf(string, ...any)     {}
func (silent) Fatalf(f string, v ...any) { panic(fmt.Sprintf(f, v...)) }

type fatal interface {
	Helper()
	Fatal(...any)
}

func openDB(t fatal, fs vfs.FS) *pebble.DB {
	t.Helper()
	db, err := pebble.Open("log", &pebble.Options{FS: fs, MemTableSize: 256 << 10, Logger: silent{}})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func commit(t fatal, db *pebble.DB, w *Write) {
	t.Helper()
	b := db.NewBatch()
	if err := w.Stage(b); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(pebble.Sync); err != nil {
		t.Fatal(err)
	}
}

func entry(index, term uint64, payload string) *raftpb.Entry {
	return &raftpb.Entry{Index: new(index), Term: new(term), Type: raftpb.EntryNormal.Enum(), Data: []byte(payload)}
}

func applied(index, term uint64) Applied {
	return Applied{
		Position: Position{index, term}, Conf: raftpb.EnsureConfState(&raftpb.ConfState{Voters: []uint64{testReplica}}),
		Members: []Member{{testReplica, "n1"}},
	}
}

// fresh makes a replica as a bootstrap does, and opens its log.
func fresh(t fatal, db *pebble.DB, tailBytes int) *Log {
	t.Helper()
	b := db.NewBatch()
	if err := StageNew(b, testShard, testReplica, Position{FirstIndex - 1, FirstTerm}); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(pebble.Sync); err != nil {
		t.Fatal(err)
	}
	l, err := Open(db, testShard, testReplica, applied(FirstIndex-1, FirstTerm), tailBytes)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestFreshLogNeedsSnapshot shows invariant I5: a fresh shard's first entry is beyond what an
// empty replica could be brought up from.
func TestFreshLogNeedsSnapshot(t *testing.T) {
	db := openDB(t, vfs.NewMem())
	defer db.Close()
	l := fresh(t, db, 1<<20)
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	term, err := l.Term(FirstIndex - 1)
	if first != FirstIndex || last != FirstIndex-1 || term != FirstTerm || err != nil {
		t.Fatalf("log %d..%d, term %d, %v", first, last, term, err)
	}
	if _, err := l.Entries(1, 2, 1<<20); !errors.Is(err, raft.ErrCompacted) {
		t.Fatalf("entry 1: %v", err)
	}
}

// TestLogAgreesWithModel lets appends, overwrites, truncations, snapshots and restarts happen in
// any order, and compares with a slice.
func TestLogAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem()
		db := openDB(t, fs)
		defer func() { db.Close() }()
		tail := rapid.SampledFrom([]int{1, 500, 1 << 20}).Draw(t, "tail")
		l := fresh(t, db, tail)
		m := model{before: Position{FirstIndex - 1, FirstTerm}, applied: applied(FirstIndex-1, FirstTerm), term: FirstTerm}
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0, 1:
				w := m.append(t)
				commit(t, db, w)
				l.Appended(w.Entries)
			case 2:
				w := m.truncate(t)
				commit(t, db, w)
				l.SetApplied(m.applied)
				l.Truncated(*w.Truncate)
			case 3:
				w := m.install()
				commit(t, db, w)
				l.Reset(m.applied)
			case 4:
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				db = openDB(t, fs)
				var err error
				if l, err = Open(db, testShard, testReplica, m.applied, tail); err != nil {
					t.Fatal(err)
				}
			case 5:
				m.apply(t)
				l.SetApplied(m.applied)
				before, most := l.TailBytes(), rapid.IntRange(0, 1000).Draw(t, "most")
				l.Trim(most)
				if after := l.TailBytes(); after > before || after > most && m.applied.Index == m.last() {
					t.Fatalf("%d of %d bytes are left, %d were allowed", after, before, most)
				}
				if l.offset > m.applied.Index+1 {
					t.Fatalf("%d is applied, and what is before %d forgotten", m.applied.Index, l.offset)
				}
			}
			m.compare(t, l)
		}
	})
}

// model is a log as a slice.
type model struct {
	before  Position
	entries []*raftpb.Entry
	applied Applied
	term    uint64
}

func (m *model) last() uint64 { return m.before.Index + uint64(len(m.entries)) }

// append writes after the applied index, perhaps over a tail of an earlier term.
func (m *model) append(t *rapid.T) *Write {
	w := &Write{Shard: testShard, Replica: testReplica, Last: m.last()}
	first := rapid.Uint64Range(m.applied.Index+1, m.last()+1).Draw(t, "first")
	if first <= m.last() {
		m.term++
	}
	m.entries = m.entries[:first-m.before.Index-1]
	for range rapid.IntRange(1, 6).Draw(t, "count") {
		w.Entries = append(w.Entries, entry(m.last()+1+uint64(len(w.Entries)), m.term, rapid.StringN(0, 60, -1).Draw(t, "payload")))
	}
	m.entries = append(m.entries, w.Entries...)
	return w
}

// apply applies some of what is not applied yet.
func (m *model) apply(t *rapid.T) {
	index := rapid.Uint64Range(m.applied.Index, m.last()).Draw(t, "applied")
	m.applied = applied(index, m.termAt(index))
}

func (m *model) truncate(t *rapid.T) *Write {
	to := rapid.Uint64Range(m.before.Index, m.last()).Draw(t, "to")
	m.applied = applied(m.last(), m.termAt(m.last()))
	at := Position{to, m.termAt(to)}
	m.entries, m.before = m.entries[to-m.before.Index:], at
	return &Write{Shard: testShard, Replica: testReplica, Truncate: &at}
}

func (m *model) install() *Write {
	m.term++
	m.applied = applied(m.last()+10, m.term)
	m.before, m.entries = m.applied.Position, nil
	return &Write{Shard: testShard, Replica: testReplica, Reset: &m.applied.Position}
}

func (m *model) termAt(index uint64) uint64 {
	if index == m.before.Index {
		return m.before.Term
	}
	return m.entries[index-m.before.Index-1].GetTerm()
}

func (m *model) compare(t *rapid.T, l *Log) {
	t.Helper()
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	if first != m.before.Index+1 || last != m.last() {
		t.Fatalf("log %d..%d, model %d..%d", first, last, m.before.Index+1, m.last())
	}
	for index := m.before.Index; index <= last; index++ {
		if term, err := l.Term(index); err != nil || term != m.termAt(index) {
			t.Fatalf("term of %d is %d, %v; model %d", index, term, err, m.termAt(index))
		}
	}
	if first > last {
		return
	}
	lo := rapid.Uint64Range(first, last).Draw(t, "lo")
	got, err := l.Entries(lo, last+1, ^uint64(0))
	if err != nil || len(got) != int(last+1-lo) {
		t.Fatalf("entries from %d: %d, %v", lo, len(got), err)
	}
	for i, e := range got {
		want := m.entries[lo-m.before.Index-1+uint64(i)]
		if e.GetIndex() != want.GetIndex() || e.GetTerm() != want.GetTerm() || string(e.Data) != string(want.Data) {
			t.Fatalf("entry %v, model %v", e, want)
		}
	}
	few, err := l.Entries(lo, last+1, 50)
	if err != nil || len(few) == 0 || len(few) > 1 && sum(few) > 50 {
		t.Fatalf("limited entries: %d of %d bytes, %v", len(few), sum(few), err)
	}
}

func sum(entries []*raftpb.Entry) (n int) {
	for _, e := range entries {
		n += len(e.Data)
	}
	return n
}

// TestTermBeforeTheTail shows that the term that an idle group is asked for first when it wakes, its
// last entry's, is known without the disk, also when nothing is left in memory.
func TestTermBeforeTheTail(t *testing.T) {
	db := openDB(t, vfs.NewMem())
	defer db.Close()
	l := fresh(t, db, 1<<20)
	w := &Write{Shard: testShard, Replica: testReplica, Entries: []*raftpb.Entry{entry(11, 6, "a"), entry(12, 7, "b")}}
	commit(t, db, w)
	l.Appended(w.Entries)
	l.SetApplied(applied(12, 7))
	l.Trim(0)
	if err := db.Delete(keys.LogEntry(testShard, testReplica, 12), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	last, _ := l.LastIndex()
	if term, err := l.Term(last); last != 12 || term != 7 || err != nil || l.TailBytes() != 0 {
		t.Fatalf("the last entry is %d of term %d, %v; %d bytes are kept", last, term, err, l.TailBytes())
	}
}

// TestInterruptedInstall shows the second half of invariant I6: when the state is of a snapshot
// but the log is still the old one, Open sets the log right, and for good.
func TestInterruptedInstall(t *testing.T) {
	for name, at := range map[string]Position{"log too short": {90, 7}, "log of another term": {13, 7}} {
		t.Run(name, func(t *testing.T) {
			db := openDB(t, vfs.NewMem())
			defer db.Close()
			l := fresh(t, db, 1<<20)
			w := &Write{Shard: testShard, Replica: testReplica, Entries: []*raftpb.Entry{
				entry(11, 6, "a"), entry(12, 6, "b"), entry(13, 6, "c"), entry(14, 6, "d"),
			}, Vote: &Vote{Term: 6, For: 9, Commit: 10}}
			commit(t, db, w)
			commit(t, db, &Write{Shard: testShard, Replica: testReplica, Announce: &Announcement{l.Before(), at}})
			for range 2 { // the second time there is nothing left to do
				var err error
				if l, err = Open(db, testShard, testReplica, applied(at.Index, at.Term), 1<<20); err != nil {
					t.Fatal(err)
				}
				first, _ := l.FirstIndex()
				last, _ := l.LastIndex()
				hard, _, _ := l.InitialState()
				if first != at.Index+1 || last != at.Index || hard.GetCommit() != at.Index || hard.GetTerm() != 7 || hard.GetVote() != 0 {
					t.Fatalf("log %d..%d, %v", first, last, hard)
				}
			}
		})
	}
}

// TestDamageIsAnError shows that a hole, a short row or a log truncated beyond the state never
// passes for an end of the log.
func TestDamageIsAnError(t *testing.T) {
	for name, harm := range map[string]func(db *pebble.DB) error{
		"lost end": func(db *pebble.DB) error {
			return db.Delete(keys.LogEntry(testShard, testReplica, 13), pebble.Sync)
		},
		"lost all": func(db *pebble.DB) error {
			return db.DeleteRange(keys.LogEntry(testShard, testReplica, 0), keys.LogEntry(testShard, testReplica, 99), pebble.Sync)
		},
		"lost commit": func(db *pebble.DB) error {
			return db.Set(keys.LogState(testShard, testReplica), Vote{6, 1, 14}.encode(), pebble.Sync)
		},
		"another term": func(db *pebble.DB) error {
			return db.Set(keys.LogEntry(testShard, testReplica, 13), binary.BigEndian.AppendUint64(nil, 5), pebble.Sync)
		},
		"another snapshot": func(db *pebble.DB) error {
			row := Announcement{Position{10, 5}, Position{14, 6}}.encode()
			return errors.Join(db.Set(keys.LogTruncated(testShard, testReplica), row, pebble.Sync),
				db.Delete(keys.LogEntry(testShard, testReplica, 13), pebble.Sync))
		},
		"hole": func(db *pebble.DB) error { return db.Delete(keys.LogEntry(testShard, testReplica, 12), pebble.Sync) },
		"short": func(db *pebble.DB) error {
			return db.Set(keys.LogEntry(testShard, testReplica, 12), []byte("x"), pebble.Sync)
		},
		"vote": func(db *pebble.DB) error {
			return db.Set(keys.LogState(testShard, testReplica), []byte("x"), pebble.Sync)
		},
		"truncation": func(db *pebble.DB) error { return db.Set(keys.LogTruncated(testShard, testReplica), nil, pebble.Sync) },
		"beyond state": func(db *pebble.DB) error {
			return db.Set(keys.LogTruncated(testShard, testReplica), Position{14, 6}.encode(), pebble.Sync)
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := openDB(t, vfs.NewMem())
			defer db.Close()
			fresh(t, db, 1<<20)
			commit(t, db, &Write{Shard: testShard, Replica: testReplica, Entries: []*raftpb.Entry{
				entry(11, 6, "a"), entry(12, 6, "b"), entry(13, 6, "c"),
			}})
			if err := harm(db); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(db, testShard, testReplica, applied(13, 6), 1<<20); !errors.Is(err, ErrDamaged) {
				t.Fatalf("open gave %v", err)
			}
		})
	}
}

func TestGoldenRows(t *testing.T) {
	a := Applied{Position: Position{300, 7}, Members: []Member{{1, "n1"}, {12, "node-two"}}, Conf: &raftpb.ConfState{
		Voters: []uint64{1, 12}, Learners: []uint64{13}, VotersOutgoing: []uint64{1}, LearnersNext: []uint64{14}, AutoLeave: new(true),
	}}
	got := fmt.Sprintf("applied %s\nvote %s\nposition %s\nannounced %s\nlocal %s\ntombstone %s\n", hex.EncodeToString(a.Encode()),
		hex.EncodeToString(Vote{7, 12, 299}.encode()), hex.EncodeToString(Position{300, 7}.encode()),
		hex.EncodeToString(Announcement{Position{300, 7}, Position{400, 8}}.encode()),
		hex.EncodeToString(Local{Replica: 12}.Encode()), hex.EncodeToString(Local{Replica: 12, Removed: true}.Encode()))
	golden, err := os.ReadFile("testdata/rows_v1.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got != string(golden) {
		t.Fatalf("rows are\n%sgolden\n%s", got, golden)
	}
	back, err := DecodeApplied(a.Encode())
	if err != nil || back.Position != a.Position || back.Conf.String() != a.Conf.String() || fmt.Sprint(back.Members) != fmt.Sprint(a.Members) {
		t.Fatalf("%+v, %v", back, err)
	}
	for cut := range a.Encode() {
		if _, err := DecodeApplied(a.Encode()[:cut]); !errors.Is(err, ErrDamaged) {
			t.Fatalf("row cut at %d: %v", cut, err)
		}
	}
	if l, err := DecodeLocal(Local{Replica: 12, Removed: true}.Encode()); err != nil || l != (Local{12, true}) {
		t.Fatalf("%+v, %v", l, err)
	}
	if !strings.HasPrefix(got, "applied 01") {
		t.Fatal("row without version")
	}
}

// TestWhatIsNoRow is never taken for one: another version, a cut or a longer one, and what no writer writes.
func TestWhatIsNoRow(t *testing.T) {
	row := func(b []byte, change func(b []byte) []byte) []byte { return change(slices.Clone(b)) }
	a := applied(300, 7).Encode()
	tail := len(a) - len("\x00\x01\x2a\x02n1") // left automatically or not, one member, its id, its node
	for name, b := range map[string][]byte{
		"another version":    row(a, func(b []byte) []byte { b[0]++; return b }),
		"a longer one":       append(slices.Clone(a), 0),
		"neither yes nor no": row(a, func(b []byte) []byte { b[tail] = 2; return b }),
		"too many members":   row(a, func(b []byte) []byte { b[tail+1] = 0x7f; return b }),
		"too long a name":    row(a, func(b []byte) []byte { b[tail+3] = 0x7f; return b }),
		"nothing":            nil,
	} {
		if _, err := DecodeApplied(b); !errors.Is(err, ErrDamaged) {
			t.Errorf("applied, %s: %v", name, err)
		}
	}
	l := Local{Replica: 12}.Encode()
	for name, b := range map[string][]byte{
		"another version":    row(l, func(b []byte) []byte { b[0]++; return b }),
		"neither yes nor no": row(l, func(b []byte) []byte { b[1] = 2; return b }),
		"a longer one":       append(slices.Clone(l), 0),
		"a shorter one":      l[:9],
	} {
		if _, err := DecodeLocal(b); !errors.Is(err, ErrDamaged) {
			t.Errorf("local, %s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{"a longer one": make([]byte, 25), "a shorter one": make([]byte, 23)} {
		if _, err := decodeVote(b); !errors.Is(err, ErrDamaged) {
			t.Errorf("vote, %s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{"a longer one": make([]byte, 17), "half an announcement": make([]byte, 24), "nothing": nil} {
		if _, err := decodeBefore(b); !errors.Is(err, ErrDamaged) {
			t.Errorf("truncation, %s: %v", name, err)
		}
	}
	if got, err := decodeBefore(Announcement{Position{300, 7}, Position{400, 8}}.encode()); err != nil || got.Snapshot.Index != 400 || got.Before.Index != 300 {
		t.Errorf("an announcement reads as %+v, %v", got, err)
	}
}
