package system

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	// peersMax bounds what is remembered about addresses. Beyond it all is forgotten, which
	// costs hints alone.
	peersMax = 4096
	// writerPause is how long the remote's writer sits on its queue after a failed dial before
	// it gives up; what is sent to it meanwhile comes back as a dead letter.
	writerPause = 2 * time.Second
)

var errPeersClosed = errors.New("actor system is closed")

// peers knows how the connections to other nodes fare, so that calls need not find out by waiting.
type peers struct {
	mu     sync.Mutex // guards all below
	by     map[string]*peer
	conns  map[*conn]struct{} // dialled and not yet closed
	closed chan struct{}      // set by close; closed when conns is empty
}

type peer struct {
	losses  uint64    // how often the remote gave its connection up
	refused time.Time // until when a message to it would surely not leave
	answer  time.Time // when it last answered a call
}

func newPeers() *peers { return &peers{by: map[string]*peer{}, conns: map[*conn]struct{}{}} }

// of gives the entry of addr. Caller holds mu.
func (p *peers) of(addr string) *peer {
	e := p.by[addr]
	if e == nil {
		if len(p.by) >= peersMax {
			clear(p.by)
		}
		e = &peer{}
		p.by[addr] = e
	}
	return e
}

// refuses says that a message to addr would surely not leave now.
func (p *peers) refuses(addr string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.by[addr]
	return e != nil && now.Before(e.refused)
}

// losses counts how often the remote gave the connection to addr up.
func (p *peers) losses(addr string) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of(addr).losses
}

// answered notes an answer from addr.
func (p *peers) answered(addr string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of(addr).answer = now
}

// lastAnswer is when addr last answered a call; zero = never, as far as is remembered.
func (p *peers) lastAnswer(addr string) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of(addr).answer
}

// lost notes that the remote gave a connection up: what it held is dropped or dead-lettered, and
// the next message makes a new one.
func (p *peers) lost(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.of(addr)
	e.losses++
	e.refused = time.Time{}
}

// connected notes that messages to addr leave.
func (p *peers) connected(addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of(addr).refused = time.Time{}
}

// dial is what gRPC dials with.
func (p *peers) dial(ctx context.Context, addr string) (net.Conn, error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", addr)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.of(addr).refused = time.Now().Add(writerPause)
		return nil, err
	}
	if p.closed != nil {
		return nil, errors.Join(errPeersClosed, raw.Close())
	}
	c := &conn{Conn: raw, peers: p, addr: addr}
	p.conns[c] = struct{}{}
	return c, nil
}

// drop closes the connections to addr. The remote notices, and tells of the loss once. (To
// publish its event in its place would end whatever connection is made next, for ever.)
func (p *peers) drop(addr string) {
	for _, c := range p.open(addr) {
		_ = c.Close() // the peer is gone: nothing is owed to it
	}
}

// open gives the connections to addr, or all for "".
func (p *peers) open(addr string) []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []*conn
	for c := range p.conns {
		if addr == "" || c.addr == addr {
			all = append(all, c)
		}
	}
	return all
}

// close refuses further dials and waits until the remote has closed every connection; those that
// are left at the timeout are closed here.
func (p *peers) close(timeout time.Duration) {
	p.mu.Lock()
	p.closed = make(chan struct{})
	if len(p.conns) == 0 {
		close(p.closed)
	}
	p.mu.Unlock()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.closed:
		return
	case <-timer.C:
	}
	for _, c := range p.open("") {
		_ = c.Close() // nothing was acknowledged on it that could be lost
	}
}

// conn is a dialled connection that says when it is closed.
type conn struct {
	net.Conn
	peers *peers
	addr  string
}

// Close implements net.Conn.
func (c *conn) Close() error {
	err := c.Conn.Close()
	p := c.peers
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.conns[c]; ok {
		delete(p.conns, c)
		if p.closed != nil && len(p.conns) == 0 {
			close(p.closed)
		}
	}
	return err
}
