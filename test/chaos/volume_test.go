//go:build chaos && linux

package chaos

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestReplicasMove gives a cluster much to keep, adds a node, and removes another: what that takes
// is what copying replicas takes.
func TestReplicasMove(t *testing.T) {
	size := int64(32 << 20)
	if *long {
		size = 1 << 30
	}
	c := newCluster(t, 3)
	first := c.nodes["n1"]
	w := gather(c, shape{conversations: 10, members: 2, rate: 50}, c.others(nil))
	w.balance()
	w.fill(first, size)
	began := time.Now()
	n4 := c.add(4)
	c.start(n4)
	c.ready(n4)
	c.healed(4)
	told.add(t, fmt.Sprintf("a fourth node beside three of %d MB has its replicas after", dirSize(first.data())>>20), since(began), "")
	w.remove(first)
	s := spreadOf(w.waits(began))
	told.add(t, "sends while replicas move", s.String(), "p99 1s")
	if s.p99 > 10*time.Second {
		t.Errorf("sends: %s", s)
	}
	w.check(c.others(first))
}

// fill stores events that do not compress, in conversations of its own all over the shards, until a
// node's directory has that size.
func (w *crowd) fill(n *node, size int64) {
	w.t.Helper()
	const conversations, each = 128, 32 << 10
	began := time.Now()
	for dirSize(n.data()) < size {
		var g errgroup.Group
		const atOnce = 16
		g.SetLimit(atOnce)
		for range conversations {
			g.Go(func() error { return w.keep(n.url, each) })
		}
		w.cluster.must(g.Wait())
	}
	w.t.Logf("%d MB after %s", dirSize(n.data())>>20, since(began))
}

// keep stores some large events in a new conversation.
func (w *crowd) keep(at string, size int) error {
	const events = 8
	var made struct{ ID string }
	if err := w.tenant.post(at, "/v1/conversations", map[string]any{}, &made); err != nil {
		return fmt.Errorf("make a conversation: %w", err)
	}
	var member struct{ ID string }
	join := map[string]any{"state": "joined", "user": map[string]any{"name": w.chatters[0].user}, "channel": map[string]any{"type": "app"}}
	if err := w.tenant.post(at, "/v1/conversations/"+made.ID+"/members", join, &member); err != nil {
		return fmt.Errorf("make a member: %w", err)
	}
	text := make([]byte, base64.StdEncoding.DecodedLen(size))
	for range events {
		if _, err := rand.Read(text); err != nil {
			return err
		}
		body := map[string]any{"type": "text", "from": member.ID, "body": map[string]any{"text": base64.StdEncoding.EncodeToString(text)}}
		if err := w.tenant.post(at, "/v1/conversations/"+made.ID+"/events", body, nil); err != nil {
			return fmt.Errorf("store an event: %w", err)
		}
	}
	return nil
}
