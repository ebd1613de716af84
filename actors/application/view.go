package application

import (
	"bytes"
	"sync"

	"parley/actors/conversation/row"
	"parley/persistence/keys"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
)

// viewMax bounds the parsed applications that a View keeps.
const viewMax = 4096

// View is a node's copy of the applications: each parsed once, as long as its row is the same, which one
// read in memory tells at each use. The row's revision would not: after an unsafe recovery it may come
// again, with other content. Safe for concurrent use.
type View struct {
	meta store.Reader

	mu    sync.Mutex // guards known
	known map[string]parsed
}

type parsed struct {
	row         []byte
	application *eventv1.Application
}

// NewView makes a View over the applied state of the meta shard on this node.
func NewView(meta store.Reader) *View { return &View{meta: meta, known: make(map[string]parsed)} }

// Get gives an application as this node sees it now, tombstones included; nil when there is none.
// The result is shared: read only.
func (v *View) Get(app string) (*eventv1.Application, error) {
	entity, err := id.Parse(id.Application, app)
	if err != nil {
		return nil, nil // not an application's id
	}
	key := keys.Application(entity)
	found, ok, err := v.meta.Get(key)
	if err != nil || !ok {
		return nil, err
	}
	v.mu.Lock()
	p := v.known[app]
	v.mu.Unlock()
	if p.application != nil && bytes.Equal(p.row, found) {
		return p.application, nil
	}
	p = parsed{found, new(eventv1.Application)}
	if err := row.Decode(key, found, p.application); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.known) >= viewMax {
		clear(v.known) // rare, and each costs one parsing to know again
	}
	v.known[app] = p
	return p.application, nil
}
