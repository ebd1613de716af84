package application

import (
	"encoding/binary"
	"sync"

	"parley/actors/conversation/row"
	"parley/actors/grain"
	"parley/persistence/keys"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// viewMax bounds the parsed applications that a View keeps.
const viewMax = 4096

// View is a node's copy of the applications: parsed once per revision, and checked against the
// applied head row at each use, which is one read in memory. Safe for concurrent use.
type View struct {
	meta store.Reader

	mu    sync.Mutex // guards known
	known map[string]parsed
}

type parsed struct {
	head        []byte // its key
	revision    uint64
	application *eventv1.Application
}

// NewView makes a View over the applied state of the meta shard on this node.
func NewView(meta store.Reader) *View { return &View{meta: meta, known: make(map[string]parsed)} }

// Get gives an application as this node sees it now, tombstones included; nil when there is none.
// The result is shared: read only.
func (v *View) Get(app string) (*eventv1.Application, error) {
	v.mu.Lock()
	p, known := v.known[app]
	v.mu.Unlock()
	if !known {
		head, err := grain.HeadKey(grain.Entity{Shard: keys.Meta, Kind: nodev1.Kind_KIND_APPLICATION, Application: app, ID: app})
		if err != nil {
			return nil, nil // not an application's id
		}
		p.head = head
	}
	head, ok, err := v.meta.Get(p.head)
	if err != nil || !ok || len(head) < 8 {
		return nil, err
	}
	if revision := binary.BigEndian.Uint64(head); !known || p.revision != revision {
		p.revision = revision
		return v.read(app, p)
	}
	return p.application, nil
}

// read parses the row. It may be newer than the head that was read before it, never older: then
// the next use parses it once more.
func (v *View) read(app string, p parsed) (*eventv1.Application, error) {
	entity, err := id.Parse(id.Application, app)
	if err != nil {
		return nil, nil
	}
	p.application, err = row.Find[eventv1.Application](v.meta, keys.Application(entity))
	if err != nil || p.application == nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.known) >= viewMax {
		clear(v.known) // rare, and each costs one read to know again
	}
	v.known[app] = p
	return p.application, nil
}
