package main

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"parley/persistence/keys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestClusterOfThree: what the contest measures is replicated for real. Every shard is led by the
// node that is due, writes reach all disks, and without work everything falls idle.
func TestClusterOfThree(t *testing.T) {
	const shards, writes = 5, 10
	c, err := openCluster(filepath.Join(t.TempDir(), "c"), 3, shards)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), growWithin)
	defer cancel()
	before, err := c.syncs()
	if err != nil {
		t.Fatal(err)
	}
	l := load{shards: shards, body: make([]byte, 200)}
	done := make(chan error, 1)
	for s := keys.Shard(1); s <= shards; s++ {
		if lead := c.nodes[int(s)%3].Lead(s); !lead.Local || lead.Epoch != c.epochs[s] {
			t.Errorf("shard %d: %+v, its epoch is %d", s, lead, c.epochs[s])
		}
		for base := range uint64(writes) {
			w := l.event(s, int(s), base)
			c.commit(&w, s, func(err error) { done <- err })
			if err := <-done; err != nil {
				t.Fatalf("shard %d, write %d: %v", s, base, err)
			}
		}
	}
	after, err := c.syncs()
	if err != nil || after < before+2*writes {
		t.Errorf("%d syncs for %d writes of each shard on two nodes or more: %v", after-before, writes, err)
	}
	for _, n := range c.nodes {
		last := l.event(1, 1, writes-1).Ops[0].Key
		if err := until(ctx, n.name+" has the last event", func() bool {
			_, found, err := n.Reader().Get(last)
			return found || err != nil
		}); err != nil {
			t.Error(err)
		}
	}
	if err := until(ctx, "all replicas are idle", func() bool {
		awake, err := c.awake()
		return awake == 0 || err != nil
	}); err != nil {
		t.Error(err)
	}
}

// TestBare: the yardstick writes all that it says it has.
func TestBare(t *testing.T) {
	opened, err := openBare(filepath.Join(t.TempDir(), "b"), 4)
	if err != nil {
		t.Fatal(err)
	}
	before, err := opened.syncs()
	if err != nil {
		t.Fatal(err)
	}
	l := load{shards: 2, proposers: 4, body: make([]byte, 200)}
	done := make(chan error, 1)
	w := l.event(1, 1, 0)
	opened.commit(&w, 1, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, key := range [][]byte{w.Entity, w.Ops[0].Key, w.Ops[1].Key, w.Ops[2].Key} {
		_, closer, err := opened.(*bare).store.Log().Get(key)
		if err != nil {
			t.Fatalf("%x: %v", key, err)
		}
		if err := closer.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if after, err := opened.syncs(); err != nil || after == before {
		t.Errorf("a write was answered after no sync: %d before and after it, %v", after, err)
	}
	if err := opened.close(); err != nil {
		t.Error(err)
	}
}

func TestMiddle(t *testing.T) {
	rs := []result{{cpu: 3, perSync: 30}, {cpu: 1, perSync: 10}, {cpu: 2, perSync: 20}}
	if got := middle(rs); got.cpu != 2*time.Nanosecond || got.perSync != 20 || rs[0].cpu != 3 {
		t.Errorf("%+v of %+v", got, rs)
	}
}
