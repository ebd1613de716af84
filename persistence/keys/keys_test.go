package keys_test

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"parley/persistence/keys"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files")

// golden compares got with a file, which is the contract with data that is already on disks.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s changed: stored data would not be found any more.\n%s", name, got)
	}
}

var (
	app  = keys.UUID{0xa0, 15: 0x01}
	conv = keys.UUID{0xc0, 15: 0x02}
	user = keys.UUID{0xd0, 15: 0x03}
	mem  = keys.UUID{0xe0, 15: 0x04}
	sum  = keys.Sum{0xf0, 31: 0x05}
)

func TestKeysAreGolden(t *testing.T) {
	const s = keys.Shard(0x01020304)
	var b strings.Builder
	for _, k := range []struct {
		name string
		key  []byte
	}{
		{"Replica", keys.Replica(s)},
		{"Conversation", keys.Conversation(s, app, conv)},
		{"Head(conversation)", keys.Head(s, app, conv, keys.KindConversation)},
		{"Head(user)", keys.Head(s, app, user, keys.KindUser)},
		{"Head(name)", keys.Head(s, app, user, keys.KindName)},
		{"Head(application)", keys.Head(keys.Meta, app, app, keys.KindApplication)},
		{"Event", keys.Event(s, app, conv, 0x1112131415161718)},
		{"Member", keys.Member(s, app, conv, mem)},
		{"MemberOrder", keys.MemberOrder(s, app, conv, 7)},
		{"MemberOfUser", keys.MemberOfUser(s, app, conv, user)},
		{"Dedup", keys.Dedup(s, app, conv, user, "client-1")},
		{"Receipt", keys.Receipt(s, app, conv, 7, mem)},
		{"Receipts", keys.Receipts(s, app, conv, 7)},
		{"Cursor", keys.Cursor(s, app, conv, mem)},
		{"User", keys.User(s, app, user)},
		{"Membership", keys.Membership(s, app, user, conv)},
		{"Memberships", keys.Memberships(s, app, user)},
		{"MembershipOrder", keys.MembershipOrder(s, app, user, 0x2122232425262728, conv)},
		{"MembershipOrders", keys.MembershipOrders(s, app, user)},
		{"Devices", keys.Devices(s, app, user)},
		{"Deleted", keys.Deleted(s, app, user)},
		{"Name", keys.Name(s, app, "user", "ann")},
		{"Application", keys.Application(app)},
		{"Applications", keys.Applications()},
		{"Credential", keys.Credential("key")},
		{"Credentials", keys.Credentials()},
		{"Settings", keys.Settings()},
		{"Store", keys.Store(app)},
		{"Stores", keys.Stores()},
		{"ShardMap", keys.ShardMap(s)},
		{"ShardMaps", keys.ShardMaps()},
		{"Placement", keys.Placement()},
		{"Head(placement)", keys.Head(keys.Meta, keys.UUID{}, app, keys.KindPlacement)},
		{"Listed", keys.Listed(s, app, keys.KindUser, 0x2122232425262728, user)},
		{"Listing", keys.Listing(s, app, keys.KindUser)},
		{"Outbox", keys.Outbox(s, 2, 9, conv[:], user[:], 3, 4)},
		{"OutboxRows", keys.OutboxRows(s)},
		{"OutboxKind", keys.OutboxKind(s, 9)},
		{"DeadLetter", keys.DeadLetter(s, app, 9, 0x2122232425262728, user)},
		{"DeadLetters", keys.DeadLetters(s, app, 9)},
		{"Head(blob)", keys.Head(s, app, user, keys.KindBlob)},
		{"Head(image)", keys.Head(s, app, user, keys.KindImage)},
		{"Blob", keys.Blob(s, app, sum)},
		{"Chunk", keys.Chunk(s, app, sum, 5)},
		{"Chunks", keys.Chunks(s, app, sum)},
		{"Hold", keys.Hold(s, app, sum, user)},
		{"Image", keys.Image(s, app, user)},
		{"Due", keys.Due(s, keys.DueRow{DueMs: 6, Application: app, Sum: sum, Holder: user, Generation: 7})},
		{"DueRows", keys.DueRows(s)},
		{"LogEntry", keys.LogEntry(s, 5, 6)},
		{"LogState", keys.LogState(s, 5)},
		{"LogTruncated", keys.LogTruncated(s, 5)},
		{"StoreIdentity", keys.StoreIdentity()},
		{"StoreLife", keys.StoreLife()},
		{"LocalReplica", keys.LocalReplica(s)},
		{"LocalReplicas", keys.LocalReplicas()},
		{"PublicCopy", keys.PublicCopy()},
		{"RecoveryMarker", keys.RecoveryMarker()},
	} {
		fmt.Fprintf(&b, "%-20s %s\n", k.name, hex.EncodeToString(k.key))
	}
	for i, p := range keys.ConversationPrefixes(s, app, conv) {
		fmt.Fprintf(&b, "ConversationPrefixes[%d]  %s\n", i, hex.EncodeToString(p))
	}
	lo, hi := keys.Span(s)
	fmt.Fprintf(&b, "Span                 %x %x\n", lo, hi)
	golden(t, "testdata/keys.txt", b.String())
}

func TestShardsOfEntitiesAreGolden(t *testing.T) {
	var b strings.Builder
	for _, shards := range []uint32{1, 64, 256} {
		for _, e := range []struct{ app, entity string }{
			{"", ""},
			{"8a3fe1d4-7c6d-4b56-9c1f-0c7f7a6f4e11", "CON-0de7a7b5-6f5a-4f6a-8a44-2f7a3d1c9b10"},
			{"8a3fe1d4-7c6d-4b56-9c1f-0c7f7a6f4e11", "USR-1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed"},
			{"8a3fe1d4-7c6d-4b56-9c1f-0c7f7a6f4e11", "user/ann"},
			{"8a3fe1d4-7c6d-4b56-9c1f-0c7f7a6f4e11", "conversation/Größe"},
		} {
			fmt.Fprintf(&b, "%3d %-36s %-40s %d\n", shards, e.app, e.entity, keys.ShardOf(e.app, e.entity, shards))
		}
	}
	golden(t, "testdata/shards.txt", b.String())
}

func TestEntitiesSpreadOverAllShardsButMeta(t *testing.T) {
	seen := map[keys.Shard]int{}
	for i := range 6400 {
		seen[keys.ShardOf("app", fmt.Sprint("CON-", i), 64)]++
	}
	if len(seen) != 64 || seen[keys.Meta] > 0 {
		t.Fatalf("%d shards used, %d entities in the meta shard", len(seen), seen[keys.Meta])
	}
	for s, n := range seen {
		if n < 50 || n > 160 {
			t.Errorf("shard %d has %d of 6400 entities", s, n)
		}
	}
}

func TestApplicationAndEntityAreKeptApart(t *testing.T) {
	same := 0
	for i := range 64 {
		if keys.ShardOf("a", fmt.Sprint("b", i), 1<<30) == keys.ShardOf("ab", fmt.Sprint(i), 1<<30) {
			same++
		}
	}
	if same > 0 {
		t.Errorf("%d entities of application a share the hash of one of application ab", same)
	}
}

func TestSpanEnclosesItsShardOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := keys.Shard(rapid.Uint32().Draw(t, "shard"))
		other := keys.Shard(rapid.Uint32().Draw(t, "other"))
		lo, hi := keys.Span(s)
		inside := func(k []byte) bool { return bytes.Compare(k, lo) >= 0 && bytes.Compare(k, hi) < 0 }
		if k := row(t, s); !inside(k) {
			t.Fatalf("%x is outside [%x, %x)", k, lo, hi)
		}
		if k := row(t, other); inside(k) != (other == s) {
			t.Fatalf("%x of shard %d is inside the span of %d", k, other, s)
		}
		if r := keys.Replica(s); bytes.Compare(r, row(t, s)) > 0 {
			t.Fatalf("a row of shard %d is before its replica row", s)
		}
	})
	if lo, hi := keys.Span(1<<32 - 1); bytes.Compare(lo, hi) >= 0 {
		t.Errorf("the last span is [%x, %x)", lo, hi)
	}
}

// parts is what a key is made of, and which table it is in.
type parts struct {
	table, text string
	n           [3]uint64
	ids         [3]keys.UUID
}

func uuid(t *rapid.T, label string) (u keys.UUID) {
	// Few different bytes, among them 0x00, 0xff and letters: neighbours and prefixes are likely.
	copy(u[:], rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 0xff}), 16, 16).Draw(t, label))
	return u
}

// draw makes a key of any table, and what it was made of.
func draw(t *rapid.T, s keys.Shard, label string) (parts, []byte) {
	p := parts{ids: [3]keys.UUID{uuid(t, label+" a"), uuid(t, label+" b"), uuid(t, label+" c")}}
	a, b, c := p.ids[0], p.ids[1], p.ids[2]
	n := rapid.Uint64Range(0, 300).Draw(t, label+" n")
	text := rapid.StringOfN(rapid.SampledFrom([]rune{'a', 'b', 0, 'ÿ'}), 0, 4, -1).Draw(t, label+" text")
	type maker struct {
		table string
		ids   int
		n     uint64
		text  string
		key   []byte
	}
	all := []maker{
		{"replica", 0, 0, "", keys.Replica(s)},
		{"conversation", 2, 0, "", keys.Conversation(s, a, b)},
		{"head 1", 2, 0, "", keys.Head(s, a, b, keys.KindConversation)},
		{"head 2", 2, 0, "", keys.Head(s, a, b, keys.KindUser)},
		{"event", 2, n, "", keys.Event(s, a, b, n)},
		{"member", 3, 0, "", keys.Member(s, a, b, c)},
		{"order", 2, n, "", keys.MemberOrder(s, a, b, n)},
		{"of user", 3, 0, "", keys.MemberOfUser(s, a, b, c)},
		{"dedup", 3, 0, text, keys.Dedup(s, a, b, c, text)},
		{"receipt", 3, n, "", keys.Receipt(s, a, b, n, c)},
		{"cursor", 3, 0, "", keys.Cursor(s, a, b, c)},
		{"user", 2, 0, "", keys.User(s, a, b)},
		{"membership", 3, 0, "", keys.Membership(s, a, b, c)},
		{"name user", 1, 0, text, keys.Name(s, a, "user", text)},
		{"name conversation", 1, 0, text, keys.Name(s, a, "conversation", text)},
		{"listed", 2, n, "", keys.Listed(s, a, keys.KindUser, int64(n), b)},
		{"outbox", 2, n, text, keys.Outbox(s, 1, 2, append(a[:], text...), b[:], n, 0)},
		{"dead letter", 2, n, "", keys.DeadLetter(s, a, 9, int64(n), b)},
		{"blob", 1, n, "", keys.Blob(s, a, sumOf(n))},
		{"chunk", 1, n, "", keys.Chunk(s, a, sum, uint32(n))},
		{"hold", 2, n, "", keys.Hold(s, a, sumOf(n), b)},
		{"image", 2, 0, "", keys.Image(s, a, b)},
		{"due", 2, n, "", keys.Due(s, keys.DueRow{DueMs: int64(n), Application: a, Sum: sum, Holder: b})},
		{"log", 0, n, "", keys.LogEntry(s, 1, n)},
		{"log state", 0, n, "", keys.LogState(s, n)},
		{"log truncated", 0, n, "", keys.LogTruncated(s, n)},
		{"local", 0, 0, "", keys.LocalReplica(s)},
	}
	m := rapid.SampledFrom(all).Draw(t, label+" table")
	for i := m.ids; i < len(p.ids); i++ {
		p.ids[i] = keys.UUID{}
	}
	p.table, p.n[0], p.text = m.table, m.n, m.text
	return p, m.key
}

func sumOf(n uint64) keys.Sum { return keys.Sum{31: byte(n), 30: byte(n >> 8)} }

// row draws a key of the state.
func row(t *rapid.T, s keys.Shard) []byte {
	for {
		if p, k := draw(t, s, "row"); !strings.HasPrefix(p.table, "lo") {
			return k
		}
	}
}

func TestDifferentThingsHaveDifferentKeys(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, k := draw(t, 3, "one")
		q, l := draw(t, 3, "two")
		if (p == q) != bytes.Equal(k, l) {
			t.Fatalf("%+v is %x, %+v is %x", p, k, q, l)
		}
	})
}

func TestKeysSortAsTheirNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, n := rapid.Uint64().Draw(t, "m"), rapid.Uint64().Draw(t, "n")
		at, then := int64(m>>1), int64(n>>1)
		e, f := uuid(t, "e"), uuid(t, "f")
		for name, got := range map[string]int{
			"event":  bytes.Compare(keys.Event(1, app, conv, m), keys.Event(1, app, conv, n)),
			"order":  bytes.Compare(keys.MemberOrder(1, app, conv, m), keys.MemberOrder(1, app, conv, n)),
			"log":    bytes.Compare(keys.LogEntry(1, 1, m), keys.LogEntry(1, 1, n)),
			"outbox": bytes.Compare(keys.Outbox(1, 1, 1, e[:], f[:], m, 0), keys.Outbox(1, 1, 1, e[:], f[:], n, 0)),
		} {
			if got != cmp.Compare(m, n) {
				t.Fatalf("%s: %d and %d compare as %d", name, m, n, got)
			}
		}
		listed := bytes.Compare(
			keys.ListedPosition(keys.Listed(1, app, keys.KindUser, at, e)),
			keys.ListedPosition(keys.Listed(2, app, keys.KindUser, then, f)))
		if want := cmp.Or(cmp.Compare(at, then), slices.Compare(e[:], f[:])); listed != want {
			t.Fatalf("listed: (%d %x) and (%d %x) compare as %d", at, e, then, f, listed)
		}
	})
}

func TestNumbersAreReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, id := rapid.Uint64().Draw(t, "n"), uuid(t, "id")
		if got := keys.EventSequence(keys.Event(9, id, conv, n)); got != n {
			t.Fatalf("event %d reads back as %d", n, got)
		}
		if got := keys.EventSequence(keys.Receipt(9, id, conv, n, mem)); got != n {
			t.Fatalf("receipt of %d reads back as %d", n, got)
		}
		if got := keys.LogIndex(keys.LogEntry(9, 8, n)); got != n {
			t.Fatalf("log index %d reads back as %d", n, got)
		}
		due := keys.DueRow{DueMs: int64(n >> 1), Application: id, Sum: sumOf(n), Holder: uuid(t, "holder"), Generation: n}
		if got := keys.DueOf(keys.Due(9, due)); got != due {
			t.Fatalf("due %+v reads back as %+v", due, got)
		}
		at := int64(n >> 1)
		if ms, e := keys.ListedEntity(keys.ListedPosition(keys.Listed(9, app, keys.KindUser, at, id))); ms != at || e != id {
			t.Fatalf("listed (%d, %x) reads back as (%d, %x)", at, id, ms, e)
		}
	})
}

func TestPrefixesEncloseTheirRows(t *testing.T) {
	rows := keys.ConversationPrefixes(1, app, conv)
	within := func(k, prefix []byte) bool {
		return bytes.Compare(k, prefix) >= 0 && bytes.Compare(k, keys.End(prefix)) < 0
	}
	for name, c := range map[string]struct{ key, prefix []byte }{
		"receipts":     {keys.Receipt(1, app, conv, 7, mem), keys.Receipts(1, app, conv, 7)},
		"memberships":  {keys.Membership(1, app, user, conv), keys.Memberships(1, app, user)},
		"applications": {keys.Application(app), keys.Applications()},
		"credentials":  {keys.Credential("k"), keys.Credentials()},
		"listing":      {keys.Listed(1, app, keys.KindUser, 1<<62, user), keys.Listing(1, app, keys.KindUser)},
		"outbox":       {keys.Outbox(1, 255, 1<<31, conv[:], user[:], 1, 1), keys.OutboxRows(1)},
		"sink":         {keys.Outbox(1, 9, 1<<31, conv[:], user[:], 1, 1), keys.OutboxKind(1, 9)},
		"letters":      {keys.DeadLetter(1, app, 9, 1<<62, user), keys.DeadLetters(1, app, 9)},
		"local":        {keys.LocalReplica(1<<32 - 1), keys.LocalReplicas()},
		"chunks":       {keys.Chunk(1, app, sum, 1<<31), keys.Chunks(1, app, sum)},
		"due":          {keys.Due(1, keys.DueRow{DueMs: 1 << 62, Generation: 1 << 63}), keys.DueRows(1)},
		"events":       {keys.Event(1, app, conv, 1<<63), rows[0]},
		"cursors":      {keys.Cursor(1, app, conv, mem), rows[6]},
	} {
		if !within(c.key, c.prefix) {
			t.Errorf("%s: %x is outside of %x", name, c.key, c.prefix)
		}
	}
	for _, prefix := range rows { // what deletion of a conversation must leave
		for _, k := range [][]byte{keys.Conversation(1, app, conv), keys.Head(1, app, conv, 1), keys.Event(1, app, user, 1)} {
			if within(k, prefix) {
				t.Errorf("%x would be deleted with %x", k, prefix)
			}
		}
	}
}

func TestEndIsTheSmallestKeyAboveAPrefix(t *testing.T) {
	for prefix, want := range map[string]string{"a": "b", "a\xff": "b", "a\x00\xff\xff": "a\x01", "\xff": "", "": ""} {
		if got := keys.End([]byte(prefix)); string(got) != want {
			t.Errorf("End(%q) is %q, not %q", prefix, got, want)
		}
	}
}
