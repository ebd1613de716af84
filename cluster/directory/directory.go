// Package directory is one node's table of who leads which shard, and where that node is. It is
// a hint: the local Raft groups are right about themselves, announcements of other nodes may be
// late, and the epoch in every write refuses what a stale entry let through.
package directory

import (
	"maps"
	"sync"
	"sync/atomic"

	"parley/cluster/shard"
	"parley/persistence/keys"
)

// nodesMax bounds the address book. For one more, those are forgotten that lead nothing: names come and go, and who is
// there says so again, every second.
const nodesMax = 1024

// Lead is who leads a shard, with the address at which that node's actors are reached.
type Lead struct {
	shard.Lead
	// Lost is set when this node led in Epoch and no longer does: it cannot lead in that epoch
	// again, whatever a late announcement says.
	Lost bool
	Addr string // host:port, "" = not known yet
}

// Serves says that grains of the shard may live on this node now (invariant I7).
func (l Lead) Serves() bool { return l.Local && l.Ready }

// Table maps shards to leads. Reads are lock free. Table implements shard.Observer, so the local
// host feeds it directly; Announce takes what other nodes say.
type Table struct {
	node  string
	leads []atomic.Pointer[Lead]

	mu        sync.Mutex // guards what follows, and orders writes and notifications
	addresses map[string]string
	watchers  []func(Lead)
}

// New makes the table of node, for shards 1..shards and the meta shard, with no lead known.
func New(node string, shards uint32) *Table {
	t := &Table{node: node, leads: make([]atomic.Pointer[Lead], shards+1), addresses: map[string]string{}}
	for i := range t.leads {
		t.leads[i].Store(&Lead{Lead: shard.Lead{Shard: keys.Shard(i)}})
	}
	return t
}

// Node is the name of the node that the table belongs to.
func (t *Table) Node() string { return t.node }

// Shards is the number of shards without the meta shard.
func (t *Table) Shards() uint32 { return uint32(len(t.leads) - 1) }

// Get gives the lead of s; a shard that does not exist has none.
func (t *Table) Get(s keys.Shard) Lead {
	if int(s) >= len(t.leads) {
		return Lead{Lead: shard.Lead{Shard: s}}
	}
	return *t.leads[s].Load()
}

// OnChange registers f, which is called after every change of a lead or of its address, in the
// order of the changes of one shard. f must neither block nor write to the table.
func (t *Table) OnChange(f func(Lead)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watchers = append(t.watchers, f)
}

// LeadChanged implements shard.Observer: it is Set without the answer.
func (t *Table) LeadChanged(l shard.Lead) { t.Set(l) }

// Set takes what the local host says about a shard that has a replica here. It gives false when
// the table knew as much or more: an older epoch, or nothing new in the same one.
func (t *Table) Set(l shard.Lead) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.put(l)
}

// Announce takes what another node says: node led s in epoch. What it says about this node is
// ignored, because the local host knows better.
func (t *Table) Announce(s keys.Shard, node string, epoch shard.Epoch) bool {
	if node == t.node || node == "" {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.put(shard.Lead{Shard: s, Node: node, Epoch: epoch, Ready: true})
}

// SetAddress says where a node's actors are reached.
func (t *Table) SetAddress(node, addr string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known, ok := t.addresses[node]
	if known == addr {
		return
	}
	if !ok && len(t.addresses) >= nodesMax {
		t.forgetIdle()
	}
	t.addresses[node] = addr
	for i := range t.leads {
		if l := *t.leads[i].Load(); l.Node == node {
			l.Addr = addr
			t.store(l)
		}
	}
}

// forgetIdle forgets the addresses of nodes that lead nothing; this node's own stays. Caller holds mu.
func (t *Table) forgetIdle() {
	leading := map[string]bool{t.node: true}
	for i := range t.leads {
		leading[t.leads[i].Load().Node] = true
	}
	maps.DeleteFunc(t.addresses, func(node, _ string) bool { return !leading[node] })
}

// Addr gives a node's address, or "" when it is not known.
func (t *Table) Addr(node string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.addresses[node]
}

// put stores l if it says more than the table knows. Caller holds mu.
func (t *Table) put(l shard.Lead) bool {
	if int(l.Shard) >= len(t.leads) {
		return false
	}
	old := *t.leads[l.Shard].Load()
	next := Lead{Lead: l, Addr: t.addresses[l.Node]}
	if l.Epoch == old.Epoch && old.Local && !l.Local {
		next.Lost = true
	}
	if l.Epoch < old.Epoch || (l.Epoch == old.Epoch && rank(next) <= rank(old)) {
		return false
	}
	t.store(next)
	return true
}

func (t *Table) store(l Lead) {
	t.leads[l.Shard].Store(&l)
	for _, f := range t.watchers {
		f(l)
	}
}

// rank orders what can be known about one epoch. A Raft term has at most one leader, so
// knowledge only grows: nobody known, known, ready, lost.
func rank(l Lead) int {
	switch {
	case l.Lost:
		return 3
	case l.Node == "":
		return 0
	case l.Ready:
		return 2
	default:
		return 1
	}
}
