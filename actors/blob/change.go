package blob

import (
	"parley/actors/conversation/row"
	"parley/persistence/keys"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
)

// change is one step that a decision takes, with its effect on the view.
type change interface {
	encode(m *machine) []store.Op
	fold(m *machine)
}

type (
	blobChanged struct{ blob *eventv1.Blob }
	blobDropped struct{}
	chunkStored struct {
		index uint32
		bytes []byte
	}
	holdChanged struct {
		holder string
		hold   *eventv1.Hold
	}
	holdDropped struct{ holder string }
	objectDue   struct {
		generation uint64
		dueMs      int64
	}
	objectDone objectDue
)

func (c blobChanged) encode(m *machine) []store.Op {
	return []store.Op{row.Put(keys.Blob(m.entity.Shard, m.app, m.sum), c.blob)}
}
func (c blobChanged) fold(m *machine) { m.blob, m.generation = c.blob, c.blob.Generation }

func (c blobDropped) encode(m *machine) []store.Op {
	chunks := keys.Chunks(m.entity.Shard, m.app, m.sum)
	return []store.Op{store.Delete(keys.Blob(m.entity.Shard, m.app, m.sum)), store.DeleteRange(chunks, keys.End(chunks))}
}
func (c blobDropped) fold(m *machine) { m.blob = nil }

func (c chunkStored) encode(m *machine) []store.Op {
	return []store.Op{store.Put(keys.Chunk(m.entity.Shard, m.app, m.sum, c.index), c.bytes)}
}
func (c chunkStored) fold(*machine) {}

// encode also keeps the row that makes a sweep look at the hold.
func (c holdChanged) encode(m *machine) []store.Op {
	ops := m.unscheduled(c.holder)
	holder := row.UUID(id.Image, c.holder)
	ops = append(ops, row.Put(keys.Hold(m.entity.Shard, m.app, m.sum, holder), c.hold))
	if c.hold.DueMs == 0 {
		return ops
	}
	due := keys.DueRow{DueMs: c.hold.DueMs, Application: m.app, Sum: m.sum, Holder: holder}
	return append(ops, row.Put(keys.Due(m.entity.Shard, due), &eventv1.Due{Holder: c.holder}))
}
func (c holdChanged) fold(m *machine) { m.holds[c.holder] = c.hold }

func (c holdDropped) encode(m *machine) []store.Op {
	return append(m.unscheduled(c.holder), store.Delete(keys.Hold(m.entity.Shard, m.app, m.sum, row.UUID(id.Image, c.holder))))
}
func (c holdDropped) fold(m *machine) { m.holds[c.holder] = nil }

// unscheduled takes back the look at a hold, if one is to come.
func (m *machine) unscheduled(holder string) []store.Op {
	h := m.holds[holder]
	if h.GetDueMs() == 0 {
		return nil
	}
	due := keys.DueRow{DueMs: h.DueMs, Application: m.app, Sum: m.sum, Holder: row.UUID(id.Image, holder)}
	return []store.Op{store.Delete(keys.Due(m.entity.Shard, due))}
}

func (c objectDue) key(m *machine) []byte {
	return keys.Due(m.entity.Shard, keys.DueRow{DueMs: c.dueMs, Application: m.app, Sum: m.sum, Generation: c.generation})
}
func (c objectDue) encode(m *machine) []store.Op {
	return []store.Op{row.Put(c.key(m), &eventv1.Due{Generation: c.generation})}
}
func (c objectDue) fold(*machine) {}

func (c objectDone) encode(m *machine) []store.Op {
	return []store.Op{store.Delete(objectDue(c).key(m))}
}
func (c objectDone) fold(*machine) {}
