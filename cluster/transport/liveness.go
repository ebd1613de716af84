package transport

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// serveBatches hands on batches, and says when the node falls silent. Its newest connection is
// the one that counts: an older one is of an earlier life, or half open.
func (t *TCP) serveBatches(conn net.Conn, node string) error {
	t.comes(conn, node)
	err := t.readBatches(conn, node)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.probe(conn, node)
	}
	t.goes(conn, node)
	return err
}

// comes makes a connection the newest of its node. What the handler is told last is what is: a node that
// goes on one connection while it comes on the next is up.
func (t *TCP) comes(conn net.Conn, node string) {
	t.telling.Lock()
	defer t.telling.Unlock()
	t.mu.Lock()
	older := t.heard[node]
	t.heard[node] = conn
	t.mu.Unlock()
	if older != nil {
		_ = older.Close() // its reader finds that it was replaced
	}
	t.handler.PeerUp(node)
}

// goes says that a node is down, unless a newer connection has replaced this one.
func (t *TCP) goes(conn net.Conn, node string) {
	t.telling.Lock()
	defer t.telling.Unlock()
	t.mu.Lock()
	last := t.heard[node] == conn
	if last {
		delete(t.heard, node)
	}
	t.mu.Unlock()
	if last && t.ctx.Err() == nil {
		t.handler.PeerDown(node)
	}
}

// probe follows up a connection that broke. It returns when the node is back, when its listener
// refuses, or when it has been silent for SilentAfter. One refusal is a hint of death that comes
// long before the silence; one dial is not enough to see it, because a dying process's
// connections are reset before its listener is closed.
func (t *TCP) probe(broken net.Conn, node string) {
	ctx, cancel := context.WithTimeout(t.ctx, t.o.SilentAfter)
	defer cancel()
	again := time.NewTicker(t.o.ProbeInterval)
	defer again.Stop()
	for ctx.Err() == nil && t.newest(node) == broken {
		address, ok := t.addresses.Address(node)
		if !ok {
			return
		}
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		select {
		case <-ctx.Done():
		case <-again.C:
		}
	}
}

// newest gives the connection that a node sends its batches on.
func (t *TCP) newest(node string) net.Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.heard[node]
}

// life is one start of a node with one store.
type life struct {
	store       string
	incarnation uint64
}

// supersedes notes a node's life, unless a later one has been seen: then the hello comes from a
// process that was replaced, perhaps from a copy of its disk. Lives of different stores have no order: who has
// taken over the name of a node that was removed, on an empty disk, has a clock of its own, and Options.Admit
// keeps out the one that was removed.
func (t *TCP) supersedes(i Identity) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last := t.lives[i.Node]; i.Store == last.store && i.Incarnation < last.incarnation {
		return false
	}
	t.lives[i.Node] = life{i.Store, i.Incarnation}
	return true
}
