package hub

import (
	"context"
	"slices"
	"time"

	"parley/edge/auth"
	"parley/internal/cadence"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
)

// Revocable is a connection whose session ends when nobody has a right to it any more.
type Revocable interface {
	// Revoke ends the session: its application is gone, or else the key of its token is not one of the
	// application's any more. It must not block, nor call the hub.
	Revoke(gone bool)
}

// watchEvery is how long, at most, a session outlives the right to it once this node knows.
const watchEvery = time.Second

// settling is how long after a change of keys a token that was verified before it may still open a
// session, or renew one: longer than any command takes.
const settling = 30 * time.Second

// tenant is what the watch knows of an application with sessions here.
type tenant struct {
	present, previous string    // its keys, in PEM
	until             time.Time // until then its sessions are looked at each time
}

// watch ends, once a second, the sessions to which nobody has a right any more: one look for each
// application, and one at the sessions of those that have changed.
func (h *Hub) watch() {
	ticker := cadence.NewTicker(watchEvery)
	defer ticker.Stop()
	known := map[string]tenant{}
	for {
		select {
		case <-h.ctx.Done():
			return
		case now := <-ticker.C:
			known = h.review(known, now)
		}
	}
}

// review is one round of watch. It takes what is known of the applications and gives it anew.
func (h *Hub) review(known map[string]tenant, now time.Time) map[string]tenant {
	next := map[string]tenant{}
	for _, id := range h.sessions.applications() {
		seen := h.sessions.given()
		a, err := h.application(id)
		switch {
		case code.Has(err, code.ApplicationNotFound):
			h.revoke(id, nil, seen)
			continue
		case err != nil: // nobody can tell at the moment
			h.options.Logger.Debug("an application could not be looked at", "application", id, "error", err)
			if t, ok := known[id]; ok {
				next[id] = t
			}
			continue
		}
		t, ok := known[id]
		if !ok || t.present != a.GetPublicKey() || t.previous != a.GetPreviousPublicKey() {
			t = tenant{a.GetPublicKey(), a.GetPreviousPublicKey(), now.Add(settling)}
		}
		if now.Before(t.until) {
			h.revoke(id, a, seen)
		}
		next[id] = t
	}
	return next
}

func (h *Hub) application(id string) (*eventv1.Application, error) {
	ctx, cancel := context.WithTimeout(h.ctx, h.options.AskWithin)
	defer cancel()
	return h.cluster.Application(ctx, id)
}

// revoke ends the sessions of an application whose tokens were signed with none of its keys: all of them
// if it is gone, which is nil. Of tokens that were given since they were seen it says nothing: they may have been
// verified after the application was looked at. The next round does.
func (h *Hub) revoke(id string, a *eventv1.Application, seen uint64) {
	why := "key"
	if a == nil {
		why = "application"
	}
	conns, first := h.sessions.signedByOthers(id, auth.Fingerprints(a), seen)
	h.metrics.revoked.WithLabelValues(why).Add(float64(first))
	for _, conn := range conns {
		conn.Revoke(a == nil)
	}
}

// applications are those of which there are sessions.
func (g *registry) applications() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]string, 0, len(g.ofTenant))
	for id := range g.ofTenant {
		list = append(list, id)
	}
	return list
}

// given is how many tokens sessions were opened or renewed with.
func (g *registry) given() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tokens
}

// signedByOthers gives the connections of an application's sessions whose tokens none of the keys signed, of the
// tokens that were seen, and how many of them it gives for the first time: one that is about to have its session is
// not ended yet.
func (g *registry) signedByOthers(application string, keys []auth.Fingerprint, seen uint64) (list []Revocable, first int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for l := range g.ofTenant[application] {
		if l.token > seen || slices.Contains(keys, l.session.SignedBy) {
			continue
		}
		conn, ok := l.conn.(Revocable)
		if !ok {
			continue
		}
		list = append(list, conn)
		if !l.revoked {
			l.revoked = true
			first++
		}
	}
	return list, first
}

// Renewed notes the key of the token with which a session of conn goes on.
func (h *Hub) Renewed(sessionID string, conn Replaced, signedBy auth.Fingerprint) {
	g := h.sessions
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.byID[sessionID]; l != nil && l.conn == conn {
		g.sign(l, signedBy)
	}
}
