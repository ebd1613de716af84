package hub

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"parley/edge/dialect"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

// forget drops what was registered so far.
func (c *cluster) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interests = nil
}

// hold keeps all questions back until the gate that it gives is closed.
func (c *cluster) hold() (gate chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gate = make(chan struct{})
	return c.gate
}

// crowd subscribes to many conversations, spread over shards 1 to shards.
func crowd(h *Hub, c *cluster, rooms, shards int) {
	for i := range rooms {
		con := fmt.Sprintf("CON-%d", i)
		c.mu.Lock()
		c.shards[con] = uint32(1 + i%shards)
		c.mu.Unlock()
		listen(h, c, con)
	}
	synctest.Wait()
	elapse(time.Second)
	c.forget()
}

// TestOneShardMoved: of 10,000 conversations those of the shard are registered again, each once,
// under higher versions; for the others nothing is done.
func TestOneShardMoved(t *testing.T) {
	const rooms, shards = 10_000, 64
	edge(t, nil, func(t *testing.T, h *Hub, c *cluster) {
		crowd(h, c, rooms, shards)
		h.Resync([]keys.Shard{7})
		elapse(2 * clockTick)
		seen := map[string]bool{}
		for _, i := range c.interests {
			if i.Version <= rooms || seen[i.Id] || c.shards[i.Id] != 7 {
				t.Fatalf("%v of shard %d, seen before: %v", i, c.shards[i.Id], seen[i.Id])
			}
			seen[i.Id] = true
		}
		if want := (rooms-7)/shards + 1; len(seen) != want {
			t.Errorf("%d registered again, want %d", len(seen), want)
		}
	})
}

// TestEverythingMoved: all interests go out again, at most claimsMax at a time, and as fast as they
// are answered.
func TestEverythingMoved(t *testing.T) {
	const rooms = 4*claimsMax + 50
	edge(t, func(o *Options) { o.AsksMax = rooms }, func(t *testing.T, h *Hub, c *cluster) {
		crowd(h, c, rooms, 3)
		gate := c.hold()
		h.Resync([]keys.Shard{1, 2, 3})
		elapse(time.Second)
		if now, _ := c.atOnce(); now != claimsMax {
			t.Errorf("%d at once, want %d", now, claimsMax)
		}
		close(gate)
		elapse(5 * clockTick)
		if got := c.registrations(); got != rooms {
			t.Errorf("%d registered again within 5 ticks, want %d", got, rooms)
		}
	})
}

// TestLostWhileItIsRegistered: an interest that is lost while it is being registered is registered
// once more; the answer that was on its way says nothing about what follows.
func TestLostWhileItIsRegistered(t *testing.T) {
	edge(t, nil, func(t *testing.T, h *Hub, c *cluster) {
		gate := c.hold()
		tea, _ := listen(h, c, "CON-tea")
		synctest.Wait()
		h.Resync([]keys.Shard{5})
		elapse(2 * clockTick)
		close(gate)
		elapse(2 * clockTick)
		if got := c.registrations(); got != 2 {
			t.Errorf("%d registrations, want two", got)
		}
		h.Deliver(fed(c.post("CON-tea")))
		synctest.Wait()
		if tea.text() != "1 " {
			t.Errorf("heard %q", tea.text())
		}
	})
}

// TestLostWhileNobodyListened: a conversation without subscribers costs nothing when its shard
// moves; the next subscriber has its interest registered again before the refresh would.
func TestLostWhileNobodyListened(t *testing.T) {
	edge(t, nil, func(t *testing.T, h *Hub, c *cluster) {
		c.shards["CON-tea"] = 5
		_, first := listen(h, c, "CON-tea")
		synctest.Wait()
		h.Abandon(first)
		h.Resync([]keys.Shard{5})
		elapse(2 * clockTick)
		if got := c.registrations(); got != 1 {
			t.Errorf("%d registrations for nobody", got-1)
		}
		listen(h, c, "CON-tea")
		synctest.Wait()
		if got := c.registrations(); got != 2 {
			t.Errorf("%d registrations, want two", got)
		}
	})
}

// TestADeafLeaderHoldsUpItsOwnOnly: registrations that are not answered do not keep others from
// reading what they missed.
func TestADeafLeaderHoldsUpItsOwnOnly(t *testing.T) {
	edge(t, func(o *Options) { o.AsksMax = 2 }, func(t *testing.T, h *Hub, c *cluster) {
		tea, _ := listen(h, c, "CON-tea")
		synctest.Wait()
		c.mu.Lock()
		c.deaf = make(chan struct{})
		c.mu.Unlock()
		for i := range 10 {
			listen(h, c, fmt.Sprintf("CON-%d", i))
		}
		synctest.Wait()
		c.post("CON-tea")
		h.Deliver(fed(c.post("CON-tea")))
		synctest.Wait()
		if tea.text() != "1 2 " {
			t.Errorf("heard %q", tea.text())
		}
		close(c.deaf)
	})
}

// TestALostDeletionIsFound: the registration says that the conversation, or the user, is gone; it
// is as if the deletion had come.
func TestALostDeletionIsFound(t *testing.T) {
	edge(t, nil, func(t *testing.T, h *Hub, c *cluster) {
		tea, sub := listen(h, c, "CON-tea")
		ann := &ear{}
		follow := h.Follow("app", "USR-ann", plain{}, ann)
		synctest.Wait()
		c.mu.Lock()
		c.gone["CON-tea"], c.gone["USR-ann"] = true, true
		c.mu.Unlock()
		h.Resync([]keys.Shard{5}) // that of the other two is not known
		elapse(2 * clockTick)
		if tea.text() != "!deleted " || sub.Why() != dialect.Deleted || !sub.Over() {
			t.Errorf("heard %q, ended %v", tea.text(), sub.Over())
		}
		if !ann.ended || follow.Why() != dialect.Deleted {
			t.Errorf("the session of a deleted user goes on")
		}
	})
}

// TestGoneBeforeItWasKnown: it was deleted between the check of the subscription and the
// registration.
func TestGoneBeforeItWasKnown(t *testing.T) {
	s := newStage(t, DefaultOptions())
	var l listener
	s.subscribe(&l, "USR-a", 0)
	s.room.registered(standing{gone: true}, nil)
	s.asked = false
	s.settle(t)
	if !l.ended || l.text() != "!deleted " {
		t.Errorf("heard %q, ended %v", l.text(), l.ended)
	}
}

// follower is a listener that counts what it may have missed.
type follower struct {
	listener
	missed int
}

func (f *follower) Membership(*nodev1.MembershipChange) {}
func (f *follower) Missed()                             { f.missed++ }

// TestFollowersAreToldWhatIsCertain: Missed comes once the interest is sure again, not before.
func TestFollowersAreToldWhatIsCertain(t *testing.T) {
	s := newStage(t, DefaultOptions())
	s.room.user = true
	f := &follower{}
	s.room.subscribe(&Subscription{user: "USR-a", dialect: plain{}, to: f, at: -1, room: s.room})
	s.settle(t)
	if f.missed != 1 {
		t.Fatalf("told %d times at the beginning", f.missed)
	}
	s.room.ask() // a refresh is on its way
	s.room.doubt()
	s.asked = false
	s.room.registered(standing{}, nil)
	if f.missed != 1 || !s.asked {
		t.Fatalf("told %d times by an answer from before the loss; asked again: %v", f.missed, s.asked)
	}
	s.asked = false
	s.room.registered(standing{}, errors.New("no"))
	if f.missed != 1 {
		t.Fatal("told before it is certain")
	}
	s.settle(t)
	s.room.tick()
	s.settle(t)
	if f.missed != 2 {
		t.Errorf("told %d times", f.missed)
	}
}
