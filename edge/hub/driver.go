package hub

import (
	"context"
	"fmt"
	"time"

	nodev1 "parley/proto/node/v1"
)

// clockTick is how often due rooms and sessions are looked at.
const clockTick = 50 * time.Millisecond

// refreshMax bounds the interests that are confirmed again in one second, so that a large edge
// does not flood the leaders.
const refreshMax = 2000

// register implements world.
func (h *Hub) register(r *room) {
	h.spawn(func() {
		head, err := h.interest(r.address, false)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.registered(head, err)
	})
}

// withdraw implements world. The caller holds the room's lock; the room is gone already.
func (h *Hub) withdraw(r *room) {
	h.mu.Lock()
	if h.rooms[r.address] == r {
		delete(h.rooms, r.address)
	}
	delete(h.timers, r)
	h.metrics.rooms.Set(float64(len(h.rooms)))
	h.mu.Unlock()
	// Numbered now: a registration by the room's successor is younger, whatever arrives first.
	version := h.version.Add(1)
	h.spawn(func() {
		if _, err := h.send(r.address, version, true); err != nil {
			h.options.Logger.Debug("interest was not withdrawn", "id", r.address.id, "error", err)
		}
	})
}

// interest registers and gives the head.
func (h *Hub) interest(a address, withdraw bool) (uint64, error) {
	reply, err := h.send(a, h.version.Add(1), withdraw)
	if err != nil {
		return 0, err
	}
	if reply.NotLeader {
		return 0, fmt.Errorf("register interest in %s: not the leader", a.id)
	}
	return reply.Head, nil
}

func (h *Hub) send(a address, version uint64, withdraw bool) (*nodev1.InterestReply, error) {
	ctx, done, err := h.question()
	if err != nil {
		return nil, err
	}
	defer done()
	return h.cluster.Interest(ctx, &nodev1.Interest{
		EdgeIncarnation: h.options.Incarnation, Version: version,
		ApplicationId: a.application, Id: a.id, Withdraw: withdraw,
	})
}

// question waits for a free place among the questions on their way.
func (h *Hub) question() (context.Context, func(), error) {
	select {
	case h.asks <- struct{}{}:
	case <-h.ctx.Done():
		return nil, nil, h.ctx.Err()
	}
	ctx, cancel := context.WithTimeout(h.ctx, h.options.AskWithin)
	return ctx, func() { cancel(); <-h.asks }, nil
}

// fetch implements world.
func (h *Hub) fetch(r *room, from uint64) {
	h.spawn(func() {
		events, err := h.read(r.address, from)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.fetched(from, events, err)
	})
}

// pageItems is the largest page that the cluster gives.
const pageItems = 100

// read asks for events as an administrator of the application: that its subscribers may read was
// checked when they subscribed.
func (h *Hub) read(a address, from uint64) ([]*nodev1.EventView, error) {
	ctx, done, err := h.question()
	if err != nil {
		return nil, err
	}
	defer done()
	p := &nodev1.Principal{ApplicationId: a.application, Admin: true}
	reply, err := h.cluster.ListEvents(ctx, p, a.id, &nodev1.ListEvents{
		Start: from, Page: &nodev1.Page{Size: pageItems}, BytesMax: h.options.PageBytes})
	if err != nil {
		return nil, fmt.Errorf("read events of %s: %w", a.id, err)
	}
	for i, v := range reply.Events {
		if v.GetEvent().GetSequence() != from+uint64(i) {
			return nil, fmt.Errorf("read events of %s: %d stands in the place of %d", a.id, v.GetEvent().GetSequence(), from+uint64(i))
		}
	}
	return reply.Events, nil
}

// schedule implements world.
func (h *Hub) schedule(r *room) { h.pump.Add(r) }

// wake implements world.
func (h *Hub) wake(r *room, after time.Duration) {
	at := time.Now().Add(after)
	h.mu.Lock()
	defer h.mu.Unlock()
	if old, ok := h.timers[r]; !ok || at.Before(old) {
		h.timers[r] = at
	}
}

// now implements world.
func (h *Hub) now() time.Time { return time.Now() }

// clock ticks rooms whose time has come and, once a second, confirms old interests and forgets
// old sessions.
func (h *Hub) clock() {
	ticker := time.NewTicker(clockTick)
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
				h.refresh(now)
				h.sessions.sweep(now)
			}
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

// refresh confirms the interests that are older than Refresh, or than the last hole.
func (h *Hub) refresh(now time.Time) {
	hole := time.Unix(0, h.hole.Load())
	h.mu.RLock()
	all := make([]*room, 0, len(h.rooms))
	for _, r := range h.rooms {
		all = append(all, r)
	}
	h.mu.RUnlock()
	asked := 0
	for _, r := range all {
		r.mu.Lock()
		holed := !r.confirmed.After(hole)
		if r.known && !r.gone && r.size > 0 && (holed || now.Sub(r.confirmed) >= h.options.Refresh) {
			r.missed = r.missed || holed
			r.ask()
			asked++
		}
		r.mu.Unlock()
		if asked == refreshMax {
			return // the others a second later
		}
	}
}
