package delivery

import "sync"

// Kept keeps what was made of credentials (parsed keys, tokens, connections), by the credential's id.
// It is bounded: the one that was made first gives way. Safe for concurrent use.
type Kept[T any] struct {
	max  int
	drop func(T)

	mu    sync.Mutex // guards what follows
	order []string
	byID  map[string]T
}

// NewKept makes a store of at most limit things; drop is told of each that gives way.
func NewKept[T any](limit int, drop func(T)) *Kept[T] {
	return &Kept[T]{max: limit, drop: drop, byID: make(map[string]T)}
}

// Get gives the thing of an id, and makes it when there is none. create must be quick: what takes
// time belongs into the first use.
func (k *Kept[T]) Get(id string, create func() T) T {
	k.mu.Lock()
	defer k.mu.Unlock()
	if have, ok := k.byID[id]; ok {
		return have
	}
	if len(k.order) >= k.max {
		k.drop(k.byID[k.order[0]])
		delete(k.byID, k.order[0])
		k.order = k.order[1:]
	}
	k.order = append(k.order, id)
	k.byID[id] = create()
	return k.byID[id]
}

// Close drops everything.
func (k *Kept[T]) Close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range k.order {
		k.drop(k.byID[id])
	}
	k.order, k.byID = nil, make(map[string]T)
}
