package limit

import (
	"sync"
	"time"
)

// Recent is a map that remembers what was used last: at least as much as its size, and never more
// than twice that, whatever one value weighs apart. It keeps two generations: what is used moves to
// the young one, and when that is full the old one is forgotten whole. So a flood of strange keys
// costs bounded memory, no timer and no list. It is safe for use from any goroutine.
type Recent[K comparable, V any] struct {
	size   int
	weigh  func(k K, v V) int
	forget func(keys int)

	mu    sync.Mutex // guards what follows
	young generation[K, V]
	old   generation[K, V]
	began time.Time // of young, as Expire was told; zero = since its last call
}

// generation is values with what they weigh together.
type generation[K comparable, V any] struct {
	values map[K]V
	weight int
}

// NewRecent makes a Recent whose size, which must be positive, counts keys. forget, when not nil,
// hears how many keys were dropped at once because too many were in use; it is called with the lock
// held and must not call back.
func NewRecent[K comparable, V any](size int, forget func(keys int)) *Recent[K, V] {
	r := NewWeighed(size, func(K, V) int { return 1 })
	if forget != nil {
		r.forget = forget
	}
	return r
}

// NewWeighed makes a Recent whose size, which must be positive, is in the unit of weigh: say, bytes.
// weigh is called with the lock held, must always say the same of the same key and value, and never
// less than 1. So a value may not be changed once it was put.
func NewWeighed[K comparable, V any](size int, weigh func(k K, v V) int) *Recent[K, V] {
	return &Recent[K, V]{
		size: size, weigh: weigh, forget: func(int) {}, young: generation[K, V]{values: make(map[K]V)},
	}
}

// Get finds the value of k and marks k as used.
func (r *Recent[K, V]) Get(k K) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.get(k)
}

func (r *Recent[K, V]) get(k K) (V, bool) {
	if v, ok := r.young.values[k]; ok {
		return v, true
	}
	v, ok := r.old.values[k]
	if ok {
		r.put(k, v)
	}
	return v, ok
}

// Put sets the value of k and marks k as used.
func (r *Recent[K, V]) Put(k K, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(k, v)
}

func (r *Recent[K, V]) put(k K, v V) {
	w := r.weigh(k, v)
	was, young := r.young.values[k]
	if young {
		r.young.weight -= r.weigh(k, was)
	} else {
		r.old.remove(k, r.weigh)
	}
	if r.young.weight > 0 && r.young.weight+w > r.size {
		delete(r.young.values, k)
		if dropped := len(r.old.values); dropped > 0 {
			r.forget(dropped)
		}
		r.turn(time.Time{})
	}
	r.young.values[k] = v
	r.young.weight += w
}

// turn makes the young generation the old one. Guarded by mu.
func (r *Recent[K, V]) turn(now time.Time) {
	r.old, r.young, r.began = r.young, generation[K, V]{values: make(map[K]V)}, now
}

// remove takes k out, if it is there.
func (g *generation[K, V]) remove(k K, weigh func(K, V) int) {
	if v, ok := g.values[k]; ok {
		delete(g.values, k)
		g.weight -= weigh(k, v)
	}
}

// Expire forgets what was not used for life and, when it is called often, at the latest what was not used
// for twice that. Whoever uses a Recent whose values are worth nothing after a while calls it before each
// use: it looks at no key.
func (r *Recent[K, V]) Expire(now time.Time, life time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.began.IsZero():
		r.began = now
	case now.Sub(r.began) >= life:
		r.turn(now)
	}
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
	r.young.remove(k, r.weigh)
	r.old.remove(k, r.weigh)
}

// Len is how many keys are held now.
func (r *Recent[K, V]) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.young.values) + len(r.old.values)
}

// Weight is what those that are held weigh together.
func (r *Recent[K, V]) Weight() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.young.weight + r.old.weight
}
