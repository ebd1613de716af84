package fanout

import (
	"container/list"

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

// edgeInterest is what one edge wants of one shard. Withdrawals are remembered, newest last, so
// that a registration overtaken by its own withdrawal does not come back.
type edgeInterest struct {
	incarnation uint64
	keys        map[key]struct{}
	withdrawn   map[key]*list.Element
	order       *list.List // of withdrawal
}

type withdrawal struct {
	key     key
	version uint64
}

// withdrawnMax bounds the withdrawals remembered per edge and shard: far more than can be on
// their way at once.
const withdrawnMax = 1024

func newTable(epoch shard.Epoch, entriesMax int) *table {
	return &table{
		epoch: epoch, max: entriesMax,
		wants: make(map[key]map[*destination]uint64), edges: make(map[*destination]*edgeInterest),
	}
}

// apply takes a registration or withdrawal; what is older than what is known is ignored. It says
// false when the table is full.
func (t *table) apply(d *destination, i *nodev1.Interest) bool {
	e := t.edges[d]
	if e == nil || e.incarnation < i.EdgeIncarnation {
		t.forget(d)
		e = &edgeInterest{incarnation: i.EdgeIncarnation, keys: map[key]struct{}{}, withdrawn: map[key]*list.Element{}, order: list.New()}
		t.edges[d] = e
	}
	k := key{i.ApplicationId, i.Id}
	if i.EdgeIncarnation < e.incarnation || i.Version <= t.wants[k][d] || i.Version <= e.withdrawnAt(k) {
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

func (e *edgeInterest) withdrawnAt(k key) uint64 {
	if w, ok := e.withdrawn[k]; ok {
		return w.Value.(withdrawal).version
	}
	return 0
}

func (e *edgeInterest) remember(k key, version uint64) {
	e.unremember(k)
	e.withdrawn[k] = e.order.PushBack(withdrawal{k, version})
	if e.order.Len() > withdrawnMax {
		oldest := e.order.Remove(e.order.Front()).(withdrawal)
		delete(e.withdrawn, oldest.key)
	}
}

func (e *edgeInterest) unremember(k key) {
	if w, ok := e.withdrawn[k]; ok {
		e.order.Remove(w)
		delete(e.withdrawn, k)
	}
}
