//go:build !race || nodes

package webhook_test

import (
	"context"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/actors/driver"
	"parley/actors/runtime"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
	"parley/test/solo"
)

// cluster starts nodes that know each other, and waits until every shard has a copy on each.
func cluster(t *testing.T, names ...string) map[string]*runtime.Runtime {
	t.Helper()
	nodes, join := map[string]*runtime.Runtime{}, []string(nil)
	for _, name := range names {
		o := quickly(t, vfs.NewMem())
		o.NodeName, o.Join = name, join
		nodes[name] = solo.Open(t, o)
		join = append(join, nodes[name].Addresses().Gossip)
	}
	look(t, nodes[names[0]], "three copies of everything", func(p *driver.Picture) bool {
		for i := range p.View.Shards {
			if s := &p.View.Shards[i]; p.Busy(s) || len(s.Members) != len(names) {
				return false
			}
		}
		return len(p.Members()) == len(names) && p.View.UnderReplicated() == 0
	})
	return nodes
}

// look looks at the cluster through a node until it is as wanted.
func look(t *testing.T, r *runtime.Runtime, what string, wanted func(*driver.Picture) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if p, err := r.Picture(ctx); err == nil && wanted(p) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s never came", what)
		}
	}
}

// leader is the node that leads a shard.
func leader(p *driver.Picture, s keys.Shard) string {
	seen := p.Seen[uint32(s)]
	i := slices.IndexFunc(seen.GetReplicas(), func(r *nodev1.ObservedReplica) bool { return r.Id == seen.Leader })
	if i < 0 {
		return ""
	}
	return seen.Replicas[i].Node
}

// TestTheNextLeaderDelivers: events that wait for a webhook when their shard's leader is lost are
// delivered by the next one, in order; and dead letters are listed and brought back through any node.
func TestTheNextLeaderDelivers(t *testing.T) {
	nodes := cluster(t, "a", "b", "c")
	defer func() {
		for _, r := range nodes {
			solo.Close(t, r)
		}
	}()
	var status atomic.Int64
	status.Store(http.StatusInternalServerError)
	hooks := receive(t, func(w http.ResponseWriter, _ told) { w.WriteHeader(int(status.Load())) })
	hear(t, nodes["a"], app, hooks.URL, nil)
	for name, r := range nodes { // each must have heard of the webhook before it decides for it
		look(t, r, name+" knows of the webhook", func(*driver.Picture) bool {
			a, err := r.API().Application(t.Context(), app)
			return err == nil && a.EventUrl.GetAddress() == hooks.URL
		})
	}
	con, ann := room(t, nodes["a"], app, "tea", nil)
	for _, text := range numbers(10) {
		say(t, nodes["a"], ann, con, text)
	}
	hooks.until(t, "an attempt", func(all []told) bool { return len(all) > 0 })

	home, lost := keys.ShardOf(app, con, 2), ""
	look(t, nodes["b"], "a leader", func(p *driver.Picture) bool { lost = leader(p, home); return lost != "" })
	solo.Close(t, nodes[lost])
	delete(nodes, lost)
	before := len(hooks.until(t, "nothing", func([]told) bool { return true }))
	status.Store(http.StatusOK)
	all := hooks.until(t, "ten texts from the next leader", func(all []told) bool { return len(texts(all[before:], con)) == 10 })
	if got := texts(all[before:], con); !slices.Equal(got, numbers(10)) {
		t.Fatalf("received %v", got)
	}

	status.Store(http.StatusGone)
	var left []*runtime.Runtime
	for _, r := range nodes {
		left = append(left, r)
	}
	say(t, left[0], ann, con, "refused")
	untilLetters(t, left[0], 1)
	status.Store(http.StatusOK)
	before = len(hooks.until(t, "nothing", func([]told) bool { return true }))
	for i, r := range left { // one of them does not lead the shard
		if letters := untilLetters(t, r, 1-i); i == 0 && letters.DeadLetters[0].Row.SourceId != con {
			t.Fatalf("letters %v", letters)
		}
		look(t, r, "all shards led while it is asked", func(*driver.Picture) bool {
			_, err := r.Redeliver(t.Context(), app, &nodev1.Redeliver{Kind: nodev1.Kind_KIND_WEBHOOK})
			return err == nil
		})
	}
	hooks.until(t, "the refused one", func(all []told) bool { return slices.Equal(texts(all[before:], con), []string{"refused"}) })
}
