package hub

import (
	"context"
	"errors"
	"fmt"
	"time"

	"parley/edge/socket"
	"parley/internal/cadence"
	"parley/persistence/keys"
	nodev1 "parley/proto/node/v1"
)

// clockTick is how often due rooms and sessions are looked at.
const clockTick = 50 * time.Millisecond

// claimsMax bounds the interests that are on their way to be confirmed again, so that a large edge
// does not flood the leaders: at each tick of the clock as many leave as were answered.
const claimsMax = 256

// register implements world.
func (h *Hub) register(r *room) {
	h.claiming.Add(1)
	h.spawn(func() {
		reply, err := h.send(r.address, h.version.Add(1), false)
		now, err := standingOf(r.address, reply, err)
		h.claiming.Add(-1)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.registered(now, err)
	})
}

// withdraw implements world. The caller holds the room's lock; the room is gone already.
func (h *Hub) withdraw(r *room) {
	h.drop(r)
	// Numbered now: a registration by the room's successor is younger, whatever arrives first.
	version := h.version.Add(1)
	h.spawn(func() {
		if _, err := h.send(r.address, version, true); err != nil {
			h.options.Logger.Debug("interest was not withdrawn", "id", r.address.id, "error", err)
		}
	})
}

// drop removes a room that is gone.
func (h *Hub) drop(r *room) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.rooms[r.address] == r {
		delete(h.rooms, r.address)
	}
	delete(h.timers, r)
	h.metrics.rooms.Set(float64(len(h.rooms)))
}

// interest makes the message that registers or withdraws.
func (h *Hub) interest(a address, version uint64, withdraw bool) *nodev1.Interest {
	return &nodev1.Interest{Version: version, ApplicationId: a.application, Id: a.id, Withdraw: withdraw}
}

// standingOf reads the answer to a registration.
func standingOf(a address, reply *nodev1.InterestReply, err error) (standing, error) {
	if err == nil && reply.NotLeader {
		err = errors.New("not the leader")
	}
	if err != nil {
		return standing{}, fmt.Errorf("register interest in %s: %w", a.id, err)
	}
	return standing{head: reply.Head, shard: keys.Shard(reply.Shard), gone: reply.Gone}, nil
}

func (h *Hub) send(a address, version uint64, withdraw bool) (*nodev1.InterestReply, error) {
	ctx, done, err := h.question(h.claims)
	if err != nil {
		return nil, err
	}
	defer done()
	return h.cluster.Interest(ctx, h.interest(a, version, withdraw))
}

// question waits for a free place among the questions of a kind on their way.
func (h *Hub) question(places chan struct{}) (context.Context, func(), error) {
	select {
	case places <- struct{}{}:
	case <-h.ctx.Done():
		return nil, nil, h.ctx.Err()
	}
	ctx, cancel := context.WithTimeout(h.ctx, h.options.AskWithin)
	return ctx, func() { cancel(); <-places }, nil
}

// fetch implements world.
func (h *Hub) fetch(r *room, from uint64) {
	h.spawn(func() {
		reply, err := h.read(r.address, from)
		events, head, err := pageOf(r.address, from, reply, err)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.fetched(from, events, head, err)
	})
}

// pageItems is the largest page that the cluster gives.
const pageItems = 100

func (h *Hub) read(a address, from uint64) (*nodev1.Reply, error) {
	ctx, done, err := h.question(h.asks)
	if err != nil {
		return nil, err
	}
	defer done()
	return h.cluster.ListEvents(ctx, reader(a), a.id, h.page(from))
}

// reader asks for events as an administrator of the application: that its subscribers may read
// was checked when they subscribed.
func reader(a address) *nodev1.Principal {
	return &nodev1.Principal{ApplicationId: a.application, Admin: true}
}

// page asks for events from a sequence on.
func (h *Hub) page(from uint64) *nodev1.ListEvents {
	return &nodev1.ListEvents{Start: from, Page: &nodev1.Page{Size: pageItems}, BytesMax: h.options.PageBytes}
}

// pageOf reads the answer to a page: events from a sequence on without holes, and the head that
// was known when they were read.
func pageOf(a address, from uint64, reply *nodev1.Reply, err error) ([]*nodev1.EventView, uint64, error) {
	if err != nil {
		return nil, 0, fmt.Errorf("read events of %s: %w", a.id, err)
	}
	for i, v := range reply.Events {
		if v.GetEvent().GetSequence() != from+uint64(i) {
			return nil, 0, fmt.Errorf("read events of %s: %d stands in the place of %d", a.id, v.GetEvent().GetSequence(), from+uint64(i))
		}
	}
	return reply.Events, reply.GetHead().GetSequence(), nil
}

// schedule implements world.
func (h *Hub) schedule(r *room) { h.pump.AddPass(r) }

// resume implements world.
func (h *Hub) resume(s *Subscription) { h.pump.Add(turn{s}) }

// turn is a paused subscription's, on the pump: what wakes it holds locks that the room's come
// before.
type turn struct{ subscription *Subscription }

// Flush implements socket.Task.
func (t turn) Flush(*socket.Scratch) {
	r := t.subscription.room
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resume(t.subscription)
}

// wake implements world.
func (h *Hub) wake(r *room, after time.Duration) { h.wakeAt(r, time.Now().Add(after)) }

// wakeAt has r ticked at a time, or earlier.
func (h *Hub) wakeAt(r *room, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old, ok := h.timers[r]; !ok || at.Before(old) {
		h.timers[r] = at
	}
}

// now implements world.
func (h *Hub) now() time.Time { return time.Now() }

// clock ticks rooms whose time has come, confirms interests that may be lost and, once a second,
// old ones, and forgets old sessions.
func (h *Hub) clock() {
	ticker := cadence.NewTicker(clockTick)
	defer ticker.Stop()
	var second int64
	for {
		select {
		case <-h.ctx.Done():
			return
		case now := <-ticker.C:
			for _, r := range h.due(now) {
				r.mu.Lock()
				r.tick()
				r.mu.Unlock()
			}
			if now.Unix() != second {
				second = now.Unix()
				h.refresh(now, h.everyRoom())
				h.sessions.sweep(now)
			}
			if lost := h.takeLost(); lost != nil {
				h.doubt(lost, h.everyRoom())
			}
			h.claim(claimsMax - int(h.claiming.Load()))
		}
	}
}

// due takes the rooms whose time has come.
func (h *Hub) due(now time.Time) []*room {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []*room
	for r, at := range h.timers {
		if !at.After(now) {
			list = append(list, r)
			delete(h.timers, r)
		}
	}
	return list
}

// refresh lines up the rooms whose interest was confirmed too long ago.
func (h *Hub) refresh(now time.Time, all []*room) {
	for _, r := range all {
		r.mu.Lock()
		if r.known && now.Sub(r.confirmed) >= h.options.Refresh {
			h.lineUp(r)
		}
		r.mu.Unlock()
	}
}

// takeLost gives a test for the shards whose interests may be lost since the last call, nil for none.
func (h *Hub) takeLost() func(keys.Shard) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.lost) == 0 {
		return nil
	}
	lost := h.lost
	h.lost = map[keys.Shard]struct{}{}
	return func(s keys.Shard) bool {
		_, ok := lost[s]
		return ok || s == 0
	}
}

// doubt lines up the rooms of shards where interests may be lost.
func (h *Hub) doubt(lost func(keys.Shard) bool, all []*room) {
	for _, r := range all {
		r.mu.Lock()
		if lost(r.shard) {
			r.doubt()
			h.lineUp(r)
		}
		r.mu.Unlock()
	}
}

// lineUp has r registered again, unless it has nobody to register for. The caller holds its lock.
func (h *Hub) lineUp(r *room) {
	if !r.lined && !r.gone && r.size > 0 {
		r.lined = true
		h.again = append(h.again, r)
	}
}

// claim registers the next of those in line, at most so many.
func (h *Hub) claim(most int) {
	for most > 0 && len(h.again) > 0 {
		r := h.again[0]
		h.again[0] = nil
		h.again = h.again[1:]
		r.mu.Lock()
		r.lined = false
		if !r.gone && r.size > 0 && !r.registering { // an answer on its way asks again if need be
			r.ask()
			most--
		}
		r.mu.Unlock()
	}
}

func (h *Hub) everyRoom() []*room {
	h.mu.RLock()
	defer h.mu.RUnlock()
	all := make([]*room, 0, len(h.rooms))
	for _, r := range h.rooms {
		all = append(all, r)
	}
	return all
}
