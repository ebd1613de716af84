package transport

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
)

// Memory is a network in one process whose packets a test or simulation delivers one by one, in
// the order it likes. Nothing moves by itself and nothing is random, so a run is as
// deterministic as its driver.
type Memory struct {
	mu    sync.Mutex // guards all below
	nodes map[string]*Endpoint
	cut   map[route]bool
	queue []Packet
}

// Packet is a batch under way.
type Packet struct {
	From, To string
	Batch    []byte
}

// route is one direction between two nodes.
type route struct{ from, to string }

// NewMemory makes a network without nodes.
func NewMemory() *Memory {
	return &Memory{nodes: map[string]*Endpoint{}, cut: map[route]bool{}}
}

// Endpoint gives a node its place in the network. A second call for the same node takes the
// place of the first, as a restarted process does.
func (n *Memory) Endpoint(node string) *Endpoint { return &Endpoint{network: n, node: node} }

// Pending lists the packets under way, in the order of sending.
func (n *Memory) Pending() []Packet {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]Packet(nil), n.queue...)
}

// Deliver hands the i-th pending packet to its receiver; over a cut route, or to a node that is
// not there, it is lost.
func (n *Memory) Deliver(i int) {
	p, h := n.take(i)
	if h != nil {
		h.Receive(p.From, p.Batch)
	}
}

// Drop loses the i-th pending packet.
func (n *Memory) Drop(i int) { n.take(i) }

// Duplicate sends the i-th pending packet once more, last.
func (n *Memory) Duplicate(i int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.queue[i]
	p.Batch = bytes.Clone(p.Batch)
	n.queue = append(n.queue, p)
}

// DeliverAll delivers what is pending now, oldest first, and says how many packets that were.
// What is sent meanwhile waits.
func (n *Memory) DeliverAll() int {
	count := len(n.Pending())
	for range count {
		n.Deliver(0)
	}
	return count
}

// Cut loses everything from one node to another, until Heal. The other direction stays.
func (n *Memory) Cut(from, to string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[route{from, to}] = true
}

// Isolate cuts a node off in both directions.
func (n *Memory) Isolate(node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for other := range n.nodes {
		if other != node {
			n.cut[route{node, other}], n.cut[route{other, node}] = true, true
		}
	}
}

// Heal undoes every cut.
func (n *Memory) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
}

// take removes a packet and finds who is to get it, nil for nobody.
func (n *Memory) take(i int) (Packet, Handler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.queue[i]
	n.queue = append(n.queue[:i], n.queue[i+1:]...)
	return p, n.reach(p.From, p.To)
}

// reach finds the handler of a node as seen from another; the caller holds mu.
func (n *Memory) reach(from, to string) Handler {
	e := n.nodes[to]
	if e == nil || n.cut[route{from, to}] {
		return nil
	}
	return e.handler
}

// Endpoint is a node's Transport in a Memory network.
type Endpoint struct {
	network *Memory
	node    string
	handler Handler // guarded by network.mu
}

// Start implements Transport.
func (e *Endpoint) Start(h Handler) error {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	e.handler = h
	e.network.nodes[e.node] = e
	return nil
}

// Send implements Transport.
func (e *Endpoint) Send(node string, batch []byte) {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	if e.network.nodes[e.node] != e {
		return // closed, or replaced by a restart
	}
	e.network.queue = append(e.network.queue, Packet{From: e.node, To: node, Batch: bytes.Clone(batch)})
}

// SendSnapshot implements Transport: the whole stream is delivered at once, or not at all.
func (e *Endpoint) SendSnapshot(ctx context.Context, node string, header []byte, body func(io.Writer) error) error {
	var stream bytes.Buffer
	if err := body(&stream); err != nil {
		return fmt.Errorf("cut snapshot: %w", err)
	}
	e.network.mu.Lock()
	h := e.network.reach(e.node, node)
	closed := e.network.nodes[e.node] != e
	e.network.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if h == nil {
		return fmt.Errorf("snapshot to %s: %w", node, ErrUnreachable)
	}
	return h.ReceiveSnapshot(ctx, e.node, bytes.Clone(header), &stream)
}

// Close implements Transport. What the node sent before is still under way.
func (e *Endpoint) Close() error {
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	if e.network.nodes[e.node] == e {
		delete(e.network.nodes, e.node)
	}
	return nil
}
