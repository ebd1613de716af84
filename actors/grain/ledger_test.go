package grain

import (
	"bytes"
	"encoding/binary"
	"sort"

	"parley/internal/invariant"
	"parley/persistence/store"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// ledger is a machine small enough to be right by inspection: it numbers what is posted, once
// per client id, refuses "bad", and passes "soft" on without storing it.
type ledger struct {
	head    uint64
	loaded  bool
	settled int
	seen    map[string]uint64 // client ids of loaded and evolved entries
	fresh   map[string]bool   // evolved, not committed
}

func newLedger(Entity) Machine {
	return &ledger{seen: map[string]uint64{}, fresh: map[string]bool{}}
}

func entryKey(n uint64) []byte  { return binary.BigEndian.AppendUint64([]byte("e/"), n) }
func clientKey(c string) []byte { return []byte("c/" + c) }

func (l *ledger) Load(r store.Reader, _ uint64, head []byte, cmd *nodev1.Command) error {
	if !l.loaded && len(head) == 8 {
		l.head = binary.BigEndian.Uint64(head)
	}
	l.loaded = true
	if _, known := l.seen[cmd.ClientId]; known {
		return nil
	}
	v, ok, err := r.Get(clientKey(cmd.ClientId))
	if ok {
		l.seen[cmd.ClientId] = binary.BigEndian.Uint64(v)
	}
	return err
}

func (l *ledger) Decide(now int64, cmd *nodev1.Command) (Decision, error) {
	post := cmd.GetPostEvent()
	if post.Type == "bad" {
		return Decision{}, code.Invalid("type", "is bad")
	}
	item := &nodev1.Fanout{Id: "ledger", Head: l.head}
	if post.Type == "soft" {
		return Decision{Reply: &nodev1.Reply{TimestampMs: now}, Fanout: []*nodev1.Fanout{item}}, nil
	}
	if n, done := l.seen[cmd.ClientId]; done {
		invariant.That(n <= l.head, "%s is %d of %d", cmd.ClientId, n, l.head)
		return Decision{Reply: reply(n, true), Proven: true}, nil
	}
	n := l.head + 1
	item.Head = n
	number := binary.BigEndian.AppendUint64(nil, n)
	return Decision{
		Changes: cmd.ClientId, Reply: reply(n, false), Fanout: []*nodev1.Fanout{item},
		Ops: []store.Op{store.Put(entryKey(n), append([]byte(cmd.ClientId), post.Body...)), store.Put(clientKey(cmd.ClientId), number)},
		Outbox: []*nodev1.OutboxRow{{
			TargetKind: nodev1.Kind_KIND_USER, ApplicationId: "app", TargetId: "USR-x", Command: &nodev1.Command{ClientId: cmd.ClientId},
		}},
	}, nil
}

func reply(n uint64, duplicate bool) *nodev1.Reply {
	return &nodev1.Reply{Duplicate: duplicate, Event: &nodev1.EventView{Event: &eventv1.Event{Sequence: n}}}
}

func (l *ledger) Evolve(d Decision) {
	l.head++
	l.seen[d.Changes.(string)] = l.head
	l.fresh[d.Changes.(string)] = true
}

func (l *ledger) Head() []byte { return binary.BigEndian.AppendUint64(nil, l.head) }

func (l *ledger) Settle() {
	l.settled++
	clear(l.seen)
	clear(l.fresh)
}

// shelf is applied state in memory.
type shelf struct {
	rows    map[string][]byte
	fail    error            // every read fails with it
	reading func(key []byte) // hears of every Get before it, nil = nobody does
}

func newShelf() *shelf { return &shelf{rows: map[string][]byte{}} }

func (s *shelf) Get(key []byte) ([]byte, bool, error) {
	if s.reading != nil {
		s.reading(key)
	}
	v, ok := s.rows[string(key)]
	return bytes.Clone(v), ok, s.fail
}

func (s *shelf) Scan(lo, hi []byte, reverse bool, visit func(k, v []byte) (bool, error)) error {
	var ks []string
	for k := range s.rows {
		if k >= string(lo) && k < string(hi) {
			ks = append(ks, k)
		}
	}
	sort.Strings(ks)
	for i := range ks {
		k := ks[i]
		if reverse {
			k = ks[len(ks)-1-i]
		}
		if more, err := visit([]byte(k), s.rows[k]); err != nil || !more {
			return err
		}
	}
	return s.fail
}
