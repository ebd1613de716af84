package shard

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"pgregory.net/rapid"

	"parley/persistence/keys"
	"parley/persistence/store"
)

func encodeEntry(epoch Epoch, writes ...Write) []byte {
	b := appendEntryHeader(nil, epoch, len(writes))
	for i := range writes {
		b = appendWrite(b, &writes[i])
	}
	return b
}

// decodeEntry reads an entry as apply does.
func decodeEntry(b []byte) (epoch Epoch, writes []Write, ok bool) {
	r := entryReader{b: b}
	epoch, count := r.header()
	for range count {
		w := Write{Entity: r.bytes(), Base: r.uvarint(), Head: r.bytes()}
		for n := r.count(); n > 0; n-- {
			w.Ops = append(w.Ops, r.op())
		}
		writes = append(writes, w)
	}
	return epoch, writes, !r.bad && len(r.b) == 0
}

// TestGoldenEntry pins the layout: entries of earlier versions stand in logs and are on the way
// to other nodes.
func TestGoldenEntry(t *testing.T) {
	b := encodeEntry(6,
		Write{Entity: []byte("entity"), Base: 300, Head: []byte("head"), Ops: []store.Op{
			store.Put([]byte("k"), []byte("v")), store.Delete([]byte("gone")), store.DeleteRange([]byte("lo"), []byte("hi")),
		}},
		Write{Entity: []byte("other")},
	)
	golden, err := os.ReadFile("golden/entry_v1.hex")
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(b); got != strings.TrimSpace(string(golden)) {
		t.Fatalf("entry is\n%s\ngolden\n%s", got, golden)
	}
}

func TestEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		some := rapid.SliceOfN(rapid.Byte(), 0, 20)
		op := rapid.Custom(func(t *rapid.T) store.Op {
			switch rapid.IntRange(1, 3).Draw(t, "kind") {
			case 1:
				return store.Put(some.Draw(t, "key"), some.Draw(t, "value"))
			case 2:
				return store.Delete(some.Draw(t, "key"))
			}
			return store.DeleteRange(some.Draw(t, "lo"), some.Draw(t, "hi"))
		})
		writes := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Write {
			return Write{
				Entity: some.Draw(t, "entity"), Base: rapid.Uint64().Draw(t, "base"),
				Head: some.Draw(t, "head"), Ops: rapid.SliceOfN(op, 0, 5).Draw(t, "ops"),
			}
		}), 0, 5).Draw(t, "writes")
		epoch := Epoch(rapid.Uint64().Draw(t, "epoch"))
		b := encodeEntry(epoch, writes...)
		size := entryHeaderMax
		for i := range writes {
			size += sizeOf(&writes[i])
		}
		if len(b) > size {
			t.Fatalf("entry of %d bytes was estimated at %d", len(b), size)
		}
		gotEpoch, got, ok := decodeEntry(b)
		if !ok || gotEpoch != epoch || fmt.Sprint(got) != fmt.Sprint(writes) {
			t.Fatalf("%v, %v came back as %v, %v, %v", epoch, writes, gotEpoch, got, ok)
		}
		if cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut"); len(writes) > 0 {
			if _, _, ok := decodeEntry(b[:cut]); ok {
				t.Fatalf("entry cut at %d of %d was taken", cut, len(b))
			}
		}
	})
}

func FuzzEntryAndBatch(f *testing.F) {
	f.Add(encodeEntry(6, post(1, 7, 0)))
	f.Add(appendMessage(nil, 3, &raftpb.Message{Type: raftpb.MsgApp.Enum(), To: new(uint64(2)), Context: []byte("c"),
		Entries: []*raftpb.Entry{{Term: new(uint64(6)), Index: new(uint64(12)), Data: []byte("payload")}}}))
	f.Add(appendNote(nil, kindQuiesce, 3, note{1, 2, 3, 4}))
	f.Fuzz(func(_ *testing.T, b []byte) {
		decodeEntry(b)
		_ = readBatch(b, func(item) {})
	})
}

func TestBatchRoundTrip(t *testing.T) {
	app := &raftpb.Message{
		Type: raftpb.MsgApp.Enum(), To: new(uint64(2)), From: new(uint64(1)), Term: new(uint64(6)), LogTerm: new(uint64(5)),
		Index: new(uint64(10)), Commit: new(uint64(9)), Vote: new(uint64(0)), Reject: new(true), RejectHint: new(uint64(8)),
		Context: []byte("context"), Entries: []*raftpb.Entry{
			{Term: new(uint64(6)), Index: new(uint64(11)), Type: raftpb.EntryNormal.Enum(), Data: []byte("a")},
			{Term: new(uint64(6)), Index: new(uint64(12)), Type: raftpb.EntryConfChangeV2.Enum()},
		},
	}
	q := note{to: 4, from: 3, term: 6, commit: 12}
	var items []item
	if err := readBatch(appendNote(appendMessage(nil, 7, app), kindLeaving, 8, q), func(it item) { items = append(items, it) }); err != nil {
		t.Fatal(err)
	}
	if len(items) != 2 || items[0].shard != 7 || items[0].message.String() != app.String() {
		t.Fatalf("message came back as %v", items)
	}
	if items[1].shard != 8 || items[1].note != q || items[1].kind != kindLeaving {
		t.Fatalf("note came back as %+v", items[1])
	}
}

func TestCheckRefusesForeignKeys(t *testing.T) {
	app, c := keys.UUID{1}, keys.UUID{7}
	lo, hi := keys.Span(1)
	for name, w := range map[string]Write{
		"no entity":        {},
		"entity elsewhere": {Entity: keys.Head(2, app, c, keys.KindUser)},
		"entity no head":   {Entity: keys.User(1, app, c)},
		"foreign shard":    {Ops: []store.Op{store.Put(keys.User(2, app, c), nil)}},
		"another head":     {Ops: []store.Op{store.Put(keys.Head(1, app, c, keys.KindUser), nil)}},
		"replica row":      {Ops: []store.Op{store.Delete(keys.Replica(1))}},
		"whole shard":      {Ops: []store.Op{store.DeleteRange(lo, hi)}},
		"into next table":  {Ops: []store.Op{store.DeleteRange(keys.Conversation(1, app, c), keys.Event(1, app, c, 1))}},
		"unknown op":       {Ops: []store.Op{{Kind: 9, Key: keys.User(1, app, c)}}},
	} {
		if w.Entity == nil && name != "no entity" {
			w.Entity = keys.Head(1, app, c, keys.KindUser)
		}
		if err := check(1, &w); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good := post(1, 7, 0)
	for _, prefix := range keys.ConversationPrefixes(1, app, c) {
		good.Ops = append(good.Ops, store.DeleteRange(prefix, keys.End(prefix)))
	}
	if err := check(1, &good); err != nil {
		t.Fatalf("a proper write gave %v", err)
	}
	if !bytes.HasPrefix(good.Entity, lo) {
		t.Fatal("entity outside its shard")
	}
}
