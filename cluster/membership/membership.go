// Package membership knows which nodes are there, by gossip. What it says is a hint: it may
// wake, order dials and start a campaign, but it never removes a replica, activates a grain or
// says who leads.
package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Options are what Members are made of. Start from DefaultOptions.
type Options struct {
	NodeName      string
	BindAddr      string   // host:port; port 0 = any free one, the same for TCP and UDP
	AdvertiseAddr string   // what other nodes dial; empty = the bound address. Port 0 = the bound port
	Join          []string // gossip addresses of others, a hint: tried until one answers
	Keys          [][]byte // gossip encryption, 16, 24 or 32 bytes each; the first one encrypts. nil = none
	Meta          Meta
	Logger        *slog.Logger
	Metrics       prometheus.Registerer

	Debounce     time.Duration // changes within it make one view
	JoinEvery    time.Duration // pause between attempts while nobody answered
	RejoinEvery  time.Duration // pause after somebody answered
	SettleFor    time.Duration // how long joining is repeated after the start, even with success
	LeaveTimeout time.Duration // how long Leave and UpdateMeta wait for others to hear of it
}

// DefaultOptions are the tunables of a production node; what identifies the node is left empty.
func DefaultOptions() Options {
	return Options{Debounce: 50 * time.Millisecond, JoinEvery: 250 * time.Millisecond, RejoinEvery: 5 * time.Second,
		SettleFor: time.Minute, LeaveTimeout: 2 * time.Second}
}

// Validate says what is missing or out of range.
func (o *Options) Validate() error {
	switch {
	case o.NodeName == "":
		return errors.New("a node name is needed")
	case o.Logger == nil || o.Metrics == nil:
		return errors.New("logger and metrics are needed")
	case min(o.Debounce, o.JoinEvery, o.RejoinEvery, o.SettleFor, o.LeaveTimeout) <= 0:
		return errors.New("all durations must be positive")
	}
	for _, k := range o.Keys {
		if err := memberlist.ValidateKey(k); err != nil {
			return fmt.Errorf("gossip key: %w", err)
		}
	}
	_, err := o.Meta.encode()
	return err
}

// Members is this node's part in the gossip. All methods may be called from any goroutine.
type Members struct {
	// Fixed at Open.
	o       Options
	list    *memberlist.Memberlist
	keyring *memberlist.Keyring // nil without encryption
	addr    string
	wake    chan struct{} // capacity 1: changes before a publication make one
	group   *errgroup.Group
	cancel  context.CancelFunc
	metrics *metrics

	meta   atomic.Pointer[[]byte] // as gossiped
	view   atomic.Pointer[View]
	closed atomic.Bool

	keysMu sync.Mutex // one change of keys at a time

	nodesMu sync.Mutex // guards nodes; taken under memberlist's locks, so nothing is called with it
	nodes   map[string]Node

	mu       sync.Mutex // guards watchers
	watchers map[chan *View]struct{}
}

// Open joins the gossip. It succeeds also when none of Options.Join answers: a node with data
// starts by itself, and joining goes on in the background.
func Open(o Options) (*Members, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("open membership: %w", err)
	}
	m := &Members{o: o, wake: make(chan struct{}, 1), watchers: map[chan *View]struct{}{}, nodes: map[string]Node{}}
	encoded, _ := o.Meta.encode() // Validate has tried it
	m.meta.Store(&encoded)
	m.view.Store(&View{})
	config, err := m.config()
	if err != nil {
		return nil, fmt.Errorf("open membership: %w", err)
	}
	if m.metrics, err = newMetrics(m); err != nil {
		return nil, fmt.Errorf("open membership: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m.cancel = cancel
	if err := m.attach(ctx, config); err != nil {
		cancel()
		m.metrics.unregister()
		return nil, fmt.Errorf("open membership: %w", err)
	}
	local := m.list.LocalNode()
	m.addr = net.JoinHostPort(local.Addr.String(), strconv.Itoa(int(local.Port)))
	m.publish()
	m.group, ctx = errgroup.WithContext(ctx)
	m.group.Go(func() error { m.publishLoop(ctx); return nil })
	if len(o.Join) > 0 {
		m.group.Go(func() error { m.joinLoop(ctx); return nil })
	}
	return m, nil
}

// attach begins to gossip. What it dials ends with ctx.
func (m *Members) attach(ctx context.Context, config *memberlist.Config) (err error) {
	if err := listen(ctx, config); err != nil {
		return err
	}
	if m.list, err = memberlist.Create(config); err != nil {
		return errors.Join(err, config.Transport.Shutdown())
	}
	return nil
}

// config prepares memberlist. Its delegates only set a flag: it calls them under its locks.
func (m *Members) config() (*memberlist.Config, error) {
	c := memberlist.DefaultLANConfig()
	c.Name = m.o.NodeName
	host, port, err := splitAddr(m.o.BindAddr)
	if err != nil {
		return nil, fmt.Errorf("bind address: %w", err)
	}
	c.BindAddr, c.BindPort = host, port
	c.AdvertisePort = port
	if m.o.AdvertiseAddr != "" {
		ahost, aport, err := splitAddr(m.o.AdvertiseAddr)
		if err != nil {
			return nil, fmt.Errorf("advertise address: %w", err)
		}
		ip, err := resolve(ahost)
		if err != nil {
			return nil, fmt.Errorf("advertise address: %w", err)
		}
		c.AdvertiseAddr, c.AdvertisePort = ip, aport
		if aport == 0 {
			c.AdvertisePort = port
		}
	}
	if len(m.o.Keys) > 0 {
		if m.keyring, err = memberlist.NewKeyring(m.o.Keys, m.o.Keys[0]); err != nil {
			return nil, fmt.Errorf("gossip keys: %w", err)
		}
		c.Keyring = m.keyring
	}
	c.Delegate, c.Events = delegate{m}, events{m}
	c.Alive, c.Merge = guard{m}, guard{m}
	c.DeadNodeReclaimTime = time.Second // a restarted node may come back at another address
	c.Logger = newLogger(m.o.Logger, m.closed.Load)
	return c, nil
}

// Addr is the gossip address that other nodes dial.
func (m *Members) Addr() string { return m.addr }

// View is the newest published view. It is never nil and never changes.
func (m *Members) View() *View { return m.view.Load() }

// Watch gives a channel that holds the newest view not yet taken, beginning with the present
// one: a slow watcher misses views in between, never the last. stop ends it.
func (m *Members) Watch() (views <-chan *View, stop func()) {
	c := make(chan *View, 1) // the newest view alone
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers[c] = struct{}{}
	c <- m.view.Load()
	return c, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, c)
	}
}

// UpdateMeta gossips a new description of this node. It waits a little for it to be on its way to the others.
func (m *Members) UpdateMeta(meta Meta) error {
	encoded, err := meta.encode()
	if err != nil {
		return fmt.Errorf("update meta: %w", err)
	}
	m.meta.Store(&encoded)
	if err := m.list.UpdateNode(m.o.LeaveTimeout); err != nil { // a node that is busy may need longer
		m.o.Logger.Debug("a new description of this node is not told to all yet", "error", err)
	}
	m.changed()
	return nil
}

// Leave tells the others that this node goes on purpose. Close follows.
func (m *Members) Leave() error {
	if err := m.list.Leave(m.o.LeaveTimeout); err != nil {
		return fmt.Errorf("leave gossip: %w", err)
	}
	return nil
}

// Close ends the gossip. Without Leave, others see a failure.
func (m *Members) Close() error {
	if !m.closed.CompareAndSwap(false, true) {
		return nil
	}
	m.cancel()
	err := errors.Join(m.group.Wait(), m.list.Shutdown())
	m.metrics.unregister()
	if err != nil {
		return fmt.Errorf("close membership: %w", err)
	}
	return nil
}
