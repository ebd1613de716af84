// Package world runs conversations, users, names, applications, blobs and images over rows in memory, for tests:
// real machines and real queries, with commits, outbox delivery and restarts done by hand. It has
// no goroutine and no clock of its own.
package world

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"parley/actors/application"
	"parley/actors/blob"
	"parley/actors/blob/image"
	"parley/actors/conversation"
	"parley/actors/grain"
	"parley/actors/name"
	"parley/actors/query"
	"parley/actors/user"
	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/persistence/store"
	nodev1 "parley/proto/node/v1"
)

// World is a cluster's state and its live grains.
type World struct {
	// Now is the clock, Unix milliseconds; tests set it.
	Now int64
	// Forgetful worlds throw every machine away after each batch: what the next one knows comes
	// from rows alone.
	Forgetful bool
	// Twice delivers every outbox row two times.
	Twice bool
	// Fanout is what left for edges, in order; tests clear it.
	Fanout []*nodev1.Fanout

	shards uint32
	rows   Rows
	live   map[grain.Entity]*grainOf
	outbox []*nodev1.OutboxRow
}

type grainOf struct {
	machine  grain.Machine
	revision uint64
}

// Result is the answer to one command of a batch.
type Result struct {
	Reply  *nodev1.Reply
	Err    error
	Proven bool
	Writes bool
}

// New makes an empty world.
func New(shards uint32) *World {
	return &World{Now: 1_600_000_000_000, shards: shards, rows: Rows{}, live: map[grain.Entity]*grainOf{}}
}

// Rows gives the state. It is live: callers only read it.
func (w *World) Rows() Rows { return w.rows }

// Pending is how many outbox rows wait.
func (w *World) Pending() int { return len(w.outbox) }

// Do runs commands on one entity as one batch, and commits it.
func (w *World) Do(kind nodev1.Kind, app, entity string, cmds ...*nodev1.Command) ([]Result, error) {
	e := grain.Entity{Shard: keys.ShardOf(app, entity, w.shards), Kind: kind, Application: app, ID: entity}
	if kind == nodev1.Kind_KIND_APPLICATION {
		e.Shard = keys.Meta
	}
	g := w.live[e]
	if g == nil {
		g = &grainOf{machine: machineOf(e)}
		w.live[e] = g
	}
	headKey, errKey := grain.HeadKey(e) // what cannot be has none, and writes nothing
	var head []byte
	if row, ok := w.rows[string(headKey)]; ok && errKey == nil {
		g.revision, head = binary.BigEndian.Uint64(row), row[8:]
	}
	results, ops, err := w.batch(g, head, cmds)
	if err != nil {
		return nil, err
	}
	if len(ops) > 0 {
		if errKey != nil {
			return nil, errKey
		}
		w.commit(ops)
		row := binary.BigEndian.AppendUint64(nil, g.revision+1)
		w.rows[string(headKey)] = append(row, g.machine.Head()...)
	}
	g.machine.Settle()
	if w.Forgetful {
		delete(w.live, e)
	}
	return results, nil
}

func (w *World) batch(g *grainOf, head []byte, cmds []*nodev1.Command) (results []Result, ops []store.Op, err error) {
	var rows []*nodev1.OutboxRow
	for _, cmd := range cmds {
		if err := g.machine.Load(w.rows, g.revision, head, cmd); err != nil {
			return nil, nil, err
		}
		d, err := g.machine.Decide(w.Now, cmd)
		if err != nil {
			results = append(results, Result{Err: err})
			continue
		}
		g.machine.Evolve(d)
		results = append(results, Result{Reply: d.Reply, Proven: d.Proven, Writes: d.Writes()})
		ops = append(ops, d.Ops...)
		rows = append(rows, d.Outbox...)
		w.Fanout = append(w.Fanout, d.Fanout...)
	}
	if size := sizeOf(ops, rows); size > shard.WriteBytesMax {
		return nil, nil, fmt.Errorf("%d bytes: %w", size, shard.ErrTooLarge)
	}
	w.outbox = append(w.outbox, rows...)
	return results, ops, nil
}

// sizeOf is what a shard counts of a write, nearly.
func sizeOf(ops []store.Op, rows []*nodev1.OutboxRow) (size int) {
	for _, op := range ops {
		size += len(op.Key) + len(op.Value)
	}
	for _, row := range rows {
		size += row.SizeVT()
	}
	return size
}

func (w *World) commit(ops []store.Op) {
	for _, op := range ops {
		switch op.Kind {
		case store.OpPut:
			w.rows[string(op.Key)] = bytes.Clone(op.Value)
		case store.OpDelete:
			delete(w.rows, string(op.Key))
		case store.OpDeleteRange:
			maps.DeleteFunc(w.rows, func(key string, _ []byte) bool { return key >= string(op.Key) && key < string(op.End) })
		}
	}
}

// Deliver carries the outbox out, first in, first out, until it is empty.
func (w *World) Deliver() error {
	for len(w.outbox) > 0 {
		row := w.outbox[0]
		w.outbox = w.outbox[1:]
		for range w.deliveries() {
			results, err := w.Do(row.TargetKind, row.ApplicationId, row.TargetId, row.Command)
			if err != nil {
				return err
			}
			if results[0].Err != nil {
				return fmt.Errorf("outbox row for %s was refused: %w", row.TargetId, results[0].Err)
			}
		}
	}
	return nil
}

// Deliverable is how many links (source and target of outbox rows) have a row to deliver.
func (w *World) Deliverable() int { return len(w.links()) }

// links gives the index of each link's first row: only that one may be delivered.
func (w *World) links() []int {
	var firsts []int
	known := map[string]bool{}
	for i, row := range w.outbox {
		link := row.SourceId + "\x00" + row.TargetId
		if !known[link] {
			known[link] = true
			firsts = append(firsts, i)
		}
	}
	return firsts
}

// DeliverOne delivers the first row of the nth link. A row that is kept is delivered once more later,
// as after a crash before it was deleted.
func (w *World) DeliverOne(n int, kept bool) error {
	i := w.links()[n]
	row := w.outbox[i]
	if !kept {
		w.outbox = slices.Delete(w.outbox, i, i+1)
	}
	results, err := w.Do(row.TargetKind, row.ApplicationId, row.TargetId, row.Command)
	if err != nil {
		return err
	}
	return results[0].Err
}

func (w *World) deliveries() int {
	if w.Twice {
		return 2
	}
	return 1
}

// Restart throws all machines away.
func (w *World) Restart() { clear(w.live) }

// Ask answers a query.
func (w *World) Ask(kind nodev1.Kind, app, entity string, q *nodev1.Query) (*nodev1.Reply, error) {
	reply := query.Serve(w.rows, w.shards, &nodev1.GrainRequest{Kind: kind, ApplicationId: app, Id: entity, Query: q})
	return reply.Reply, grain.CodedError(reply.Error)
}

func machineOf(e grain.Entity) grain.Machine {
	switch e.Kind {
	case nodev1.Kind_KIND_CONVERSATION:
		return conversation.New(e)
	case nodev1.Kind_KIND_USER:
		return user.New(e)
	case nodev1.Kind_KIND_NAME:
		return name.New(e)
	case nodev1.Kind_KIND_BLOB:
		return blob.New(e)
	case nodev1.Kind_KIND_IMAGE:
		return image.New(e)
	default:
		return application.New(e)
	}
}

// Rows is a store.Reader over a map.
type Rows map[string][]byte

// Get implements store.Reader.
func (r Rows) Get(key []byte) ([]byte, bool, error) {
	value, ok := r[string(key)]
	return bytes.Clone(value), ok, nil
}

// Scan implements store.Reader.
func (r Rows) Scan(lo, hi []byte, reverse bool, visit func(key, value []byte) (bool, error)) error {
	var within []string
	for key := range r {
		if key >= string(lo) && key < string(hi) {
			within = append(within, key)
		}
	}
	slices.Sort(within)
	if reverse {
		slices.Reverse(within)
	}
	for _, key := range within {
		if more, err := visit([]byte(key), bytes.Clone(r[key])); err != nil || !more {
			return err
		}
	}
	return nil
}
