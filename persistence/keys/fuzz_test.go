package keys_test

import (
	"bytes"
	"cmp"
	"testing"

	"parley/persistence/keys"
)

// drawn takes parts of keys off fuzzed bytes, zero when they are used up.
type drawn []byte

func (d *drawn) bytes(n int) []byte {
	out := make([]byte, n)
	*d = (*d)[copy(out, *d):]
	return out
}

func (d *drawn) uuid() keys.UUID { return keys.UUID(d.bytes(16)) }

func (d *drawn) number() (n uint64) {
	for _, b := range d.bytes(8) {
		n = n<<8 | uint64(b)
	}
	return n
}

// text is up to 16 bytes.
func (d *drawn) text() string { return string(d.bytes(int(d.bytes(1)[0] % 17))) }

// pair is a key of two drawings of its parts; equal says whether these are the same.
type pair struct {
	name  string
	keys  [2][]byte
	equal bool
}

// FuzzKeys: what differs in a part differs in its key, every key lies in its shard's span and under
// no other one's prefix, numbers sort as numbers, and what a key says is read back from it.
func FuzzKeys(f *testing.F) {
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 200))
	f.Add([]byte("\x00\x00\x00\x01 a conversation and two users with nearly the same client id a/b a /b"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		d := drawn(raw)
		s := keys.Shard(uint32(d.number()))
		lo, hi := keys.Span(s)
		for _, p := range pairs(s, &d) {
			if same := bytes.Equal(p.keys[0], p.keys[1]); same != p.equal {
				t.Errorf("%s: %x and %x; their parts are the same: %v", p.name, p.keys[0], p.keys[1], p.equal)
			}
			for _, k := range p.keys {
				if bytes.Compare(k, lo) < 0 || hi != nil && bytes.Compare(k, hi) >= 0 {
					t.Errorf("%s: %x lies outside %x to %x", p.name, k, lo, hi)
				}
			}
		}
		checkReading(t, s, &d)
	})
}

func pairs(s keys.Shard, d *drawn) []pair {
	type parts struct {
		app, conversation, user keys.UUID
		sequence                uint64
		kind, text              string
	}
	draw := func() parts {
		return parts{d.uuid(), d.uuid(), d.uuid(), d.number(), [...]string{"user", "conversation"}[d.bytes(1)[0]%2], d.text()}
	}
	a := draw()
	b := a
	// One part differs, perhaps.
	switch other := draw(); d.bytes(1)[0] % 7 {
	case 0:
		b.app = other.app
	case 1:
		b.conversation = other.conversation
	case 2:
		b.user = other.user
	case 3:
		b.sequence = other.sequence
	case 4:
		b.text = other.text
	case 5:
		b.kind = other.kind
	}
	both := func(name string, equal bool, key func(p parts) []byte) pair {
		return pair{name, [2][]byte{key(a), key(b)}, equal}
	}
	here := a.app == b.app && a.conversation == b.conversation
	return []pair{
		both("event", here && a.sequence == b.sequence, func(p parts) []byte { return keys.Event(s, p.app, p.conversation, p.sequence) }),
		both("dedup", here && a.user == b.user && a.text == b.text, func(p parts) []byte { return keys.Dedup(s, p.app, p.conversation, p.user, p.text) }),
		both("receipt", here && a.sequence == b.sequence && a.user == b.user, func(p parts) []byte { return keys.Receipt(s, p.app, p.conversation, p.sequence, p.user) }),
		both("name", a.app == b.app && a.kind == b.kind && a.text == b.text, func(p parts) []byte { return keys.Name(s, p.app, p.kind, p.text) }),
		both("membership", here && a.user == b.user, func(p parts) []byte { return keys.Membership(s, p.app, p.user, p.conversation) }),
	}
}

// checkReading draws rows whose keys are read back.
func checkReading(t *testing.T, s keys.Shard, d *drawn) {
	app, e := d.uuid(), d.uuid()
	first, second := d.number(), d.number()
	one, two := keys.Event(s, app, e, first), keys.Event(s, app, e, second)
	if keys.EventSequence(one) != first || bytes.Compare(one, two) != cmp.Compare(first, second) {
		t.Errorf("events %d and %d: %x, %x", first, second, one, two)
	}
	created := int64(first >> 1)
	if at, id := keys.ListedEntity(keys.ListedPosition(keys.Listed(s, app, 1, created, e))); at != created || id != e {
		t.Errorf("listed at %d as %x, read at %d as %x", created, e, at, id)
	}
	row := keys.DueRow{DueMs: created, Application: app, Sum: keys.Sum(d.bytes(32)), Holder: e, Generation: second}
	if got := keys.DueOf(keys.Due(s, row)); got != row {
		t.Errorf("due %+v, read %+v", row, got)
	}
	if got := keys.LogIndex(keys.LogEntry(s, first, second)); got != second {
		t.Errorf("log entry %d, read %d", second, got)
	}
	prefix := keys.Receipts(s, app, e, first)
	key := keys.Receipt(s, app, e, first, app)
	if end := keys.End(prefix); !bytes.HasPrefix(key, prefix) || bytes.Compare(key, end) >= 0 {
		t.Errorf("%x is not under %x, which ends at %x", key, prefix, end)
	}
}
