package runtime

import (
	"sync"
	"sync/atomic"

	"parley/cluster/membership"
	"parley/cluster/shard"
)

// relay tells changes of lead to everybody who follows them. The host speaks from the moment it
// is opened, the followers are made after it: until attach, changes wait here.
type relay struct {
	mu        sync.Mutex // guards all; calls to followers are made under it, to keep their order
	followers []shard.Observer
	backlog   []shard.Lead // at most a few per shard: start-up is short
	attached  bool
	changed   chan struct{} // capacity 1: any number of changes before a look cost one look
}

func newRelay() *relay { return &relay{changed: make(chan struct{}, 1)} }

// LeadChanged implements shard.Observer.
func (r *relay) LeadChanged(l shard.Lead) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.attached {
		r.backlog = append(r.backlog, l)
		return
	}
	r.tell(l)
}

// attach names the followers, in the order in which each change reaches them.
func (r *relay) attach(followers ...shard.Observer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.followers, r.attached = followers, true
	for _, l := range r.backlog {
		r.tell(l)
	}
	r.backlog = nil
}

func (r *relay) tell(l shard.Lead) {
	for _, f := range r.followers {
		f.LeadChanged(l)
	}
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// addressBook finds the Raft addresses of other nodes in the gossip. The transport has it before
// there is any gossip: then it is empty.
type addressBook struct {
	members atomic.Pointer[membership.Members]
}

// Address implements transport.Addresses.
func (b *addressBook) Address(node string) (address string, ok bool) {
	m := b.members.Load()
	if m == nil {
		return "", false
	}
	n, ok := m.View().Find(node)
	return n.Meta.Raft, ok && n.Meta.Raft != ""
}
