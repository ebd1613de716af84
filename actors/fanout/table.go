package fanout

import (
	"time"

	"parley/cluster/shard"
	nodev1 "parley/proto/node/v1"
)

// key names what an edge can want: a conversation, or a user.
type key struct{ application, id string }

// table is the interest in one led shard during one epoch. It outlives activations: it belongs to
// the leader's term. It is pure; the Fanout that owns it guards it.
type table struct {
	epoch   shard.Epoch
	wants   map[key]map[*destination]uint64 // -> version of the registration
	edges   map[*destination]*edgeInterest
	entries int
	max     int
}

// edgeInterest is what one edge wants of one shard. Withdrawals are remembered, with their versions, so
// that a registration overtaken by its own withdrawal does not come back: in two generations, of which
// the elder is forgotten when the younger is full, or has had its time.
type edgeInterest struct {
	incarnation uint64
	keys        map[key]struct{}
	withdrawn   map[key]uint64
	before      map[key]uint64 // the elder generation
}

const (
	// withdrawnMax bounds a generation of the withdrawals of an edge and shard: it is far more than can
	// be on their way at once.
	withdrawnMax = 512
	// withdrawnFor is the time of a generation: far longer than a registration may be on its way.
	withdrawnFor = 30 * time.Second
)

func newTable(epoch shard.Epoch, entriesMax int) *table {
	return &table{
		epoch: epoch, max: entriesMax,
		wants: make(map[key]map[*destination]uint64), edges: make(map[*destination]*edgeInterest),
	}
}

// apply takes a registration or withdrawal; what is older than what is known is ignored. It says
// false when the table is full, and to a life of the edge that began before the one that is known: that is over, or
// the edge has come back with an empty disk and a clock behind, and asks again until its former life is forgotten.
func (t *table) apply(d *destination, i *nodev1.Interest) bool {
	e := t.edges[d]
	if e == nil || e.incarnation < i.EdgeIncarnation {
		t.forget(d)
		e = &edgeInterest{incarnation: i.EdgeIncarnation, keys: map[key]struct{}{}, withdrawn: map[key]uint64{}}
		t.edges[d] = e
	}
	if i.EdgeIncarnation < e.incarnation {
		return false
	}
	k := key{i.ApplicationId, i.Id}
	if i.Version <= t.wants[k][d] || i.Version <= e.withdrawnAt(k) {
		return true
	}
	if i.Withdraw {
		t.remove(d, k)
		e.remember(k, i.Version)
		return true
	}
	if _, known := t.wants[k][d]; !known && t.entries >= t.max {
		return false
	}
	t.add(d, k, i.Version)
	return true
}

func (t *table) add(d *destination, k key, version uint64) {
	w := t.wants[k]
	if w == nil {
		w = make(map[*destination]uint64, 1)
		t.wants[k] = w
	}
	if _, known := w[d]; !known {
		t.entries++
	}
	w[d] = version
	e := t.edges[d]
	e.keys[k] = struct{}{}
	e.unremember(k)
}

func (t *table) remove(d *destination, k key) {
	w := t.wants[k]
	if _, known := w[d]; !known {
		return
	}
	t.entries--
	delete(w, d)
	delete(t.edges[d].keys, k)
	if len(w) == 0 {
		delete(t.wants, k)
	}
}

// forget drops all that an edge wants.
func (t *table) forget(d *destination) {
	e := t.edges[d]
	if e == nil {
		return
	}
	for k := range e.keys {
		t.remove(d, k)
	}
	delete(t.edges, d)
}

// age begins a new generation of withdrawals with every edge.
func (t *table) age() {
	for _, e := range t.edges {
		e.age()
	}
}

func (e *edgeInterest) age() {
	if len(e.withdrawn)+len(e.before) > 0 {
		e.before, e.withdrawn = e.withdrawn, map[key]uint64{}
	}
}

func (e *edgeInterest) withdrawnAt(k key) uint64 { return max(e.withdrawn[k], e.before[k]) }

func (e *edgeInterest) remember(k key, version uint64) {
	if len(e.withdrawn) >= withdrawnMax {
		e.age()
	}
	e.withdrawn[k] = version
}

func (e *edgeInterest) unremember(k key) {
	delete(e.withdrawn, k)
	delete(e.before, k)
}
