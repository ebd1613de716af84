package limit

import "sync"

// Recent is a map that remembers at least the size most recently used keys and never holds more
// than twice as many. It keeps two generations: what is used moves to the young one, and when
// that is full the old one is forgotten whole. So a flood of strange keys costs bounded memory,
// no timer and no list. It is safe for use from any goroutine.
type Recent[K comparable, V any] struct {
	size   int
	forget func(keys int)

	mu    sync.Mutex // guards young and old
	young map[K]V
	old   map[K]V
}

// NewRecent makes a Recent of the given size, which must be positive. forget, when not nil, hears
// how many keys were dropped at once; it is called with the lock held and must not call back.
func NewRecent[K comparable, V any](size int, forget func(keys int)) *Recent[K, V] {
	return &Recent[K, V]{size: size, forget: forget, young: make(map[K]V)}
}

// Get finds the value of k and marks k as used.
func (r *Recent[K, V]) Get(k K) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.get(k)
}

func (r *Recent[K, V]) get(k K) (V, bool) {
	if v, ok := r.young[k]; ok {
		return v, true
	}
	v, ok := r.old[k]
	if ok {
		delete(r.old, k)
		r.put(k, v)
	}
	return v, ok
}

// Put sets the value of k and marks k as used.
func (r *Recent[K, V]) Put(k K, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.old, k)
	r.put(k, v)
}

func (r *Recent[K, V]) put(k K, v V) {
	if _, have := r.young[k]; !have && len(r.young) >= r.size {
		if r.forget != nil && len(r.old) > 0 {
			r.forget(len(r.old))
		}
		r.old, r.young = r.young, make(map[K]V)
	}
	r.young[k] = v
}

// Update replaces the value of k by what change makes of it; have says whether there was one.
// change runs under the lock: it must be short and must not call back.
func (r *Recent[K, V]) Update(k K, change func(v V, have bool) V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, have := r.get(k)
	r.put(k, change(v, have))
}

// Delete forgets k.
func (r *Recent[K, V]) Delete(k K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.young, k)
	delete(r.old, k)
}

// Len is how many keys are held now.
func (r *Recent[K, V]) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.young) + len(r.old)
}
