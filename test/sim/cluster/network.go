package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"parley/cluster/transport"
)

// network carries Raft batches, which may be lost, doubled and reordered, and messages between
// nodes, which arrive in order and at most once.
type network struct {
	w    *World
	cut  map[route]bool
	last map[route]time.Duration // when the last message of a route arrives

	// Of the faults of this moment, in percent.
	loss, doubled int
	slow          time.Duration // the longest delay
}

// route is one direction between two nodes.
type route struct{ from, to string }

const usualDelay = 2 * time.Millisecond

func newNetwork(w *World) *network {
	return &network{w: w, cut: map[route]bool{}, last: map[route]time.Duration{}, slow: usualDelay}
}

func (n *network) delay() time.Duration {
	d := 100*time.Microsecond + time.Duration(n.w.rng.Int64N(int64(n.slow)))
	if n.w.rng.IntN(50) == 0 {
		d += time.Duration(n.w.rng.Int64N(int64(10 * n.slow)))
	}
	return d
}

// calm ends all faults.
func (n *network) calm() {
	clear(n.cut)
	n.loss, n.doubled, n.slow = 0, 0, usualDelay
}

// open says that what is sent on a route arrives.
func (n *network) open(from, to string) bool { return from == to || !n.cut[route{from, to}] }

// batch sends a Raft batch.
func (n *network) batch(from, to string, b []byte) {
	times := 1
	if n.w.rng.IntN(100) < n.doubled {
		times = 2
	}
	b = bytes.Clone(b)
	for range times {
		if !n.open(from, to) || n.w.rng.IntN(100) < n.loss {
			continue
		}
		n.w.after(n.delay(), func() {
			if to := n.w.nodes[to]; to != nil && !to.dead && n.open(from, to.name) {
				to.run(func() { to.stepper.Receive(from, bytes.Clone(b)) })
			}
		})
	}
}

// message brings do to a node, after all messages that were sent there before. It is lost when the
// way is cut, or one of the two is not what it was when it was sent.
func (n *network) message(from *node, to string, do func(*node)) {
	target, r := n.w.nodes[to], route{from.name, to}
	if target == nil || from.dead || !n.open(from.name, to) || n.w.rng.IntN(200) < n.loss {
		return
	}
	at := max(n.w.now+n.delay(), n.last[r]+1)
	if from == target {
		at = n.w.now
	}
	n.last[r] = at
	n.w.after(at-n.w.now, func() {
		if !target.dead && n.w.nodes[to] == target && n.open(from.name, to) {
			target.run(func() { do(target) })
		}
	})
}

// endpoint is one life of a node on the network.
type endpoint struct{ node *node }

// Start implements transport.Transport.
func (endpoint) Start(transport.Handler) error { return nil }

// Send implements transport.Transport.
func (e endpoint) Send(to string, b []byte) {
	if !e.node.dead {
		e.node.w.net.batch(e.node.name, to, b)
	}
}

var errAway = errors.New("away")

// SendSnapshot implements transport.Transport: the stream arrives at once, in part or not at all.
func (e endpoint) SendSnapshot(ctx context.Context, to string, header []byte, body func(io.Writer) error) error {
	var stream bytes.Buffer
	if err := body(&stream); err != nil {
		return fmt.Errorf("cut snapshot: %w", err)
	}
	net, target := e.node.w.net, e.node.w.nodes[to]
	if target == nil || target.dead || target.paused || !net.open(e.node.name, to) || net.w.rng.IntN(100) < net.loss {
		return errAway
	}
	net.w.snapshots++
	var part io.Reader = &stream
	if net.w.rng.IntN(100) < net.loss {
		part = io.LimitReader(&stream, net.w.rng.Int64N(int64(stream.Len())))
	}
	err := target.stepper.ReceiveSnapshot(ctx, e.node.name, bytes.Clone(header), part)
	target.wake()
	return err
}

// Close implements transport.Transport.
func (endpoint) Close() error { return nil }

// silentAfter is after how long without a sign the others take a node for dead.
const silentAfter = 500 * time.Millisecond

// beat is what a node hears of the others without asking, ten times in a second: the liveness of
// its Raft connections, and gossip.
func (n *node) beat() {
	w := n.w
	for _, name := range w.names() {
		peer := w.nodes[name]
		if peer == n {
			continue
		}
		if !peer.dead && !peer.paused && w.net.open(name, n.name) && w.now >= n.rumour[name] {
			if n.silent(name) {
				n.stepper.PeerUp(name)
			}
			n.heard[name] = w.now
			n.gone[name] = false
			n.hearSpace(name, peer.full[name] || w.now < n.slur[name])
		} else if n.silent(name) && !n.gone[name] {
			n.gone[name] = true
			n.stepper.PeerDown(name)
			n.hearSpace(name, false) // of who is gone nothing is known
			n.fanout.Forget(name)
		}
	}
	n.wake()
}

// hearSpace takes note of whether a node's disk is full.
func (n *node) hearSpace(name string, full bool) {
	if n.full[name] != full {
		n.full[name] = full
		n.stepper.Space(name, full)
	}
}

func (n *node) silent(peer string) bool {
	at, known := n.heard[peer]
	return !known || n.w.now-at > silentAfter
}
