package runtime

import (
	"sync"

	"parley/actors/placement"
	"parley/cluster/membership"
	"parley/cluster/shard"
	eventv1 "parley/proto/event/v1"
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
	r.nudge()
}

// nudge has whoever waits for a change look again.
func (r *relay) nudge() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// addressBook finds the Raft addresses of other nodes: in the gossip, which hears first of a new
// one, else where the node was when it was last a member.
type addressBook struct {
	members *membership.Members
	public  *public
}

// Address implements transport.Addresses.
func (b *addressBook) Address(node string) (address string, ok bool) {
	if n, ok := b.members.View().Find(node); ok && n.Meta.Raft != "" {
		return n.Meta.Raft, true
	}
	stores, err := placement.Stores(b.public)
	if err != nil {
		return "", false
	}
	for _, s := range stores {
		if s.Node == node && s.State != eventv1.StoreState_STORE_STATE_REMOVED {
			return s.Raft, true
		}
	}
	return "", false
}
