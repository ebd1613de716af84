package shard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/cluster/transport"
	"parley/persistence/keys"
)

// towns is a cluster of real Hosts over real sockets in one process.
type towns struct {
	t      testing.TB
	shards keys.Shard
	nodes  map[string]*town
	next   ReplicaID
}

// town is one node.
type town struct {
	*host
	name  string
	lives uint64
	roads *roads
	gone  chan Removal
}

// roads are the proxies by which a node reaches the others.
type roads struct {
	mu sync.Mutex
	to map[string]*proxy
}

// Address implements transport.Addresses.
func (r *roads) Address(node string) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.to[node]
	if p == nil {
		return "", false
	}
	return p.listener.Addr().String(), true
}

func (r *roads) set(node string, p *proxy) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to[node] = p
}

func newTowns(t testing.TB, shards keys.Shard, names ...string) *towns {
	c := unopenedTowns(t, shards, names...)
	st := testStore(t, c.nodes[names[0]].fs)
	if err := errors.Join(Bootstrap(t.Context(), st, names[0], uint32(shards)), st.Close()); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		c.revive(name)
	}
	return c
}

// unopenedTowns have no stores yet; revive opens them.
func unopenedTowns(t testing.TB, shards keys.Shard, names ...string) *towns {
	c := &towns{t: t, shards: shards, nodes: map[string]*town{}, next: ReplicaID(shards) + 2}
	for _, name := range names {
		n := &town{name: name, roads: &roads{to: map[string]*proxy{}}, gone: make(chan Removal, 100)}
		o := testOptions(name)
		o.KeepEntries = 16
		o.Removed = func(r Removal) { n.gone <- r }
		n.host = &host{t: t, fs: vfs.NewMem(), o: o}
		c.nodes[name] = n
	}
	return c
}

// start opens a node on its store.
func (c *towns) start(n *town) {
	c.t.Helper()
	n.lives++
	o := transport.DefaultTCPOptions()
	o.Identity = transport.Identity{Cluster: "c", Node: n.name, Store: "store-" + n.name, Incarnation: n.lives}
	tcp, err := transport.ListenTCP("127.0.0.1:0", n.roads, o)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, other := range c.nodes {
		if other != n {
			other.roads.set(n.name, newProxy(c.t, tcp.Addr().String()))
		}
	}
	n.leads = newLeads()
	if n.Host, err = Open(n.store, tcp, n.leads, n.o); err != nil {
		c.t.Fatal(err)
	}
}

// kill takes a node off the network without a word; revive brings it back on its disk.
func (c *towns) kill(name string) {
	c.t.Helper()
	n := c.nodes[name]
	for _, other := range c.nodes {
		if other != n {
			other.roads.to[name].close()
		}
	}
	if err := errors.Join(n.Host.Close(), n.store.Close()); err != nil {
		c.t.Fatal(err)
	}
	n.Host = nil
}

func (c *towns) revive(name string) {
	c.t.Helper()
	n := c.nodes[name]
	n.store = testStore(c.t, n.fs)
	c.start(n)
}

func (c *towns) close() {
	for _, n := range c.nodes {
		if n.Host != nil {
			c.kill(n.name)
		}
	}
}

// silence holds back, or lets go, all that a node sends and gets.
func (c *towns) silence(name string, on bool) {
	for _, n := range c.nodes {
		for to, p := range n.roads.to {
			if n.name == name || to == name {
				p.freeze(on)
			}
		}
	}
}

// await polls what no callback tells, at the pace of Raft's clock.
func (c *towns) await(what string, holds func() bool) {
	c.t.Helper()
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	limit := time.NewTimer(30 * time.Second)
	defer limit.Stop()
	for !holds() {
		select {
		case <-pace.C:
		case <-limit.C:
			for _, n := range c.nodes {
				if n.Host != nil {
					status, err := n.Status(context.Background(), 1)
					c.t.Logf("%s: %+v %v", n.name, status, err)
				}
			}
			c.t.Fatalf("%s: waited too long", what)
		}
	}
}

// leader gives the node that leads a shard and is ready, waiting for one.
func (c *towns) leader(s keys.Shard) (leader *town, epoch Epoch) {
	c.t.Helper()
	c.await("a leader", func() bool {
		for _, n := range c.nodes {
			if n.Host == nil {
				continue
			}
			if lead := n.Lead(s); lead.Local && lead.Ready {
				leader, epoch = n, lead.Epoch
				return true
			}
		}
		return false
	})
	return leader, epoch
}

// change makes a change of configuration, again until it holds. Of an attempt whose leader has lost the lead
// nobody knows what came of it: the next one asks for what is still missing.
func (c *towns) change(s keys.Shard, changes ...Change) {
	c.t.Helper()
	c.await(fmt.Sprintf("change %+v of shard %d", changes, s), func() bool {
		n, _ := c.leader(s)
		status, err := n.Status(c.t.Context(), s)
		if err != nil || status.Joint {
			return false
		}
		missing := slices.DeleteFunc(slices.Clone(changes), func(ch Change) bool { return holds(status, ch) })
		if len(missing) == 0 {
			return true
		}
		done := make(chan error, 1)
		n.ChangeConf(s, 0, missing, func(err error) { done <- err })
		err = <-done
		if err != nil && !errors.Is(err, ErrNotCaughtUp) && !errors.Is(err, ErrChangeInFlight) {
			c.t.Logf("change of shard %d: %v", s, err)
		}
		return err == nil
	})
}

// holds says that a change has been made.
func holds(status Status, ch Change) bool {
	at := slices.IndexFunc(status.Replicas, func(r ReplicaStatus) bool { return r.Replica == ch.Replica })
	switch ch.Kind {
	case AddLearner:
		return at >= 0
	case AddVoter:
		return at >= 0 && status.Replicas[at].Voter
	default:
		return at < 0
	}
}

// handOver lets a node lead a shard, and gives its replica there.
func (c *towns) handOver(s keys.Shard, name string) (id ReplicaID) {
	c.t.Helper()
	c.await("a hand-over to "+name, func() bool {
		now, _ := c.leader(s)
		status, err := now.Status(c.t.Context(), s)
		at := slices.IndexFunc(status.Replicas, func(r ReplicaStatus) bool { return r.Node == name })
		if err != nil || at < 0 {
			return false
		}
		if id = status.Replicas[at].Replica; now.name != name {
			now.Transfer(s, id)
		}
		return now.name == name
	})
	return id
}

// learner makes a learner of a shard on a node.
func (c *towns) learner(s keys.Shard, name string) ReplicaID {
	c.t.Helper()
	id := c.next
	c.next++
	if err := c.nodes[name].AddReplica(s, id); err != nil {
		c.t.Fatal(err)
	}
	c.change(s, Change{Kind: AddLearner, Replica: id, Node: name})
	return id
}

// grow takes every shard from one voter to three in one joint change.
func (c *towns) grow(names ...string) {
	c.t.Helper()
	for s := keys.Meta; s <= c.shards; s++ {
		var changes []Change
		for _, name := range names {
			changes = append(changes, Change{Kind: AddVoter, Replica: c.learner(s, name)})
		}
		c.change(s, changes...)
	}
}

// post writes the next event of a conversation through whoever leads, as a client that retries:
// an outcome that is unknown is looked up.
func (c *towns) post(s keys.Shard, conversation byte, base uint64) {
	c.t.Helper()
	for {
		n, epoch := c.leader(s)
		if revisionOf(c.t, n.Reader(), post(s, conversation, 0)) > base {
			return
		}
		if n.write(s, epoch, post(s, conversation, base)) == nil {
			return
		}
	}
}

// agree waits until nodes have a revision, and compares every event with what was written.
func (c *towns) agree(s keys.Shard, conversation byte, revision uint64, names ...string) {
	c.t.Helper()
	for _, name := range names {
		n := c.nodes[name]
		c.await(name+" at the head", func() bool {
			return revisionOf(c.t, n.Reader(), post(s, conversation, 0)) == revision
		})
		app, id, count := keys.UUID{1}, keys.UUID{conversation}, uint64(0)
		err := n.Reader().Scan(keys.Event(s, app, id, 0), keys.Event(s, app, id, 1<<40), false, func(_, value []byte) (bool, error) {
			if count++; string(value) != fmt.Sprintf("event %d", count) {
				c.t.Errorf("%s: event %d is %q", name, count, value)
			}
			return true, nil
		})
		if err != nil || count != revision {
			c.t.Errorf("%s: %d events of %d, %v", name, count, revision, err)
		}
	}
}

// postWithout writes through the others, as post does.
func (c *towns) postWithout(lost *town, base uint64) {
	c.t.Helper()
	c.await("a write without "+lost.name, func() bool {
		for _, n := range c.nodes {
			if n == lost || n.Host == nil {
				continue
			}
			lead := n.Lead(1)
			if !lead.Local || !lead.Ready {
				continue
			}
			if revisionOf(c.t, n.Reader(), post(1, 7, 0)) > base || n.write(1, lead.Epoch, post(1, 7, base)) == nil {
				return true
			}
		}
		return false
	})
}
