package membership

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"

	"parley/internal/telemetry"
)

// changed asks for a publication. It is called under memberlist's locks.
func (m *Members) changed() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// publishLoop publishes changes, those within Debounce together.
func (m *Members) publishLoop(ctx context.Context) {
	timer := time.NewTimer(m.o.Debounce)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		}
		timer.Reset(m.o.Debounce)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		m.publish()
	}
}

// publish gives the present members to all watchers if they changed.
func (m *Members) publish() {
	m.nodesMu.Lock()
	old := m.view.Load()
	next := newView(old.Number+1, m.nodes)
	m.nodesMu.Unlock()
	if next.same(old) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.view.Store(next)
	for c := range m.watchers {
		select {
		case <-c: // the older view was not taken: nobody needs it any more
		default:
		}
		c <- next // never waits: capacity 1, emptied above, and mu keeps other writers out
	}
}

// joinLoop tries the given addresses until one answers, and again whenever this node is alone.
// After the start it goes on for a while: a node that comes back at another address is refused
// until its old self has been declared dead, and would not be heard of before the next full
// exchange of states.
func (m *Members) joinLoop(ctx context.Context) {
	settled := time.NewTimer(m.o.SettleFor)
	defer settled.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	settling, unheard := true, telemetry.NewSeldom(strangerEvery)
	for {
		select {
		case <-ctx.Done():
			return
		case <-settled.C:
			settling = false
			continue
		case <-timer.C:
		}
		pause := m.o.RejoinEvery
		if (settling || m.list.NumMembers() <= 1) && !m.join(unheard) {
			pause = m.o.JoinEvery
		}
		timer.Reset(pause/2 + rand.N(pause/2+1))
	}
}

// join gives false when nobody else answered. Why nobody does is told, but not at each attempt.
func (m *Members) join(unheard *telemetry.Seldom) bool {
	reached, err := m.list.Join(m.o.Join)
	if err == nil {
		m.metrics.joins.WithLabelValues("reached").Inc()
		return reached > 0 && m.list.NumMembers() > 1
	}
	m.metrics.joins.WithLabelValues("failed").Inc()
	why := strings.Join(strings.Fields(err.Error()), " ") // it has a line for each address
	log := m.o.Logger.Debug
	if reached == 0 {
		if _, say := unheard.Says("", time.Now()); say {
			log = m.o.Logger.Warn
		}
	}
	log("nodes to join do not answer", "reached", reached, "join", m.o.Join, "error", why)
	return reached > 0 && m.list.NumMembers() > 1
}

// delegate is what memberlist asks about this node.
type delegate struct{ m *Members }

// NodeMeta implements memberlist.Delegate.
func (d delegate) NodeMeta(int) []byte { return *d.m.meta.Load() }

// NotifyMsg implements memberlist.Delegate: Parley sends nothing by gossip.
func (delegate) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate.
func (delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (delegate) MergeRemoteState([]byte, bool) {}

// guard keeps clusters apart that meet by mistake, or because an address has changed hands.
type guard struct{ m *Members }

// NotifyAlive implements memberlist.AliveDelegate: an error makes memberlist ignore the node.
func (g guard) NotifyAlive(n *memberlist.Node) error { return g.m.check(n) }

// NotifyMerge implements memberlist.MergeDelegate: an error stops an exchange with another cluster.
func (g guard) NotifyMerge(peers []*memberlist.Node) error {
	for _, n := range peers {
		if err := g.m.check(n); err != nil {
			return err
		}
	}
	return nil
}

func (m *Members) check(n *memberlist.Node) error {
	var own Meta
	if err := json.Unmarshal(*m.meta.Load(), &own); err != nil {
		return nil // our own: it was encoded here
	}
	if other := newNode(n); own.foreign(other.Meta) {
		m.metrics.foreign.Inc()
		return fmt.Errorf("node %s at %s belongs to another cluster", other.Name, other.Addr)
	}
	return nil
}

// events is what memberlist tells, under its locks: the one place where its nodes may be read,
// because it changes them in place.
type events struct{ m *Members }

// NotifyJoin implements memberlist.EventDelegate.
func (e events) NotifyJoin(n *memberlist.Node) { e.m.learn(newNode(n)) }

// NotifyUpdate implements memberlist.EventDelegate.
func (e events) NotifyUpdate(n *memberlist.Node) { e.m.learn(newNode(n)) }

// NotifyLeave implements memberlist.EventDelegate.
func (e events) NotifyLeave(n *memberlist.Node) {
	e.m.nodesMu.Lock()
	delete(e.m.nodes, n.Name)
	e.m.nodesMu.Unlock()
	e.m.changed()
}

func (m *Members) learn(n Node) {
	m.nodesMu.Lock()
	m.nodes[n.Name] = n
	m.nodesMu.Unlock()
	m.changed()
}

func splitAddr(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q: %w", text, err)
	}
	return host, int(n), nil
}

// resolve gives an IP address, which is all that memberlist takes.
func resolve(host string) (string, error) {
	if net.ParseIP(host) != nil {
		return host, nil
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return "", err
	}
	return ips[0].String(), nil
}
