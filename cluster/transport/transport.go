// Package transport carries batches of encoded Raft messages and snapshot streams between
// nodes. It promises little, as Raft needs little: a batch arrives whole and unchanged or not
// at all, perhaps late, twice or out of order. It never blocks a sender; what does not fit a
// buffer is dropped and counted, and Raft sends again.
//
// Memory is a network that a test steps by hand; TCP is the real one.
package transport

import (
	"context"
	"errors"
	"io"
)

// The reasons for which a snapshot is not sent. Batches have no errors: they are dropped.
var (
	ErrRefused     = errors.New("node refuses this one")
	ErrRemoved     = errors.New("node was removed from the cluster")
	ErrUnreachable = errors.New("node is not reachable")
	ErrClosed      = errors.New("transport is closed")
)

// Handler is what a transport calls. Receive, PeerUp and PeerDown must not block; each may be
// called from several goroutines at once, but PeerUp and PeerDown of one node come in order.
type Handler interface {
	// Receive takes a batch. The bytes belong to the handler from now on.
	Receive(from string, batch []byte)

	// ReceiveSnapshot reads one snapshot's body to its end. The sender hears of an error only
	// that there was one.
	ReceiveSnapshot(ctx context.Context, from string, header []byte, body io.Reader) error

	// PeerUp says that a node was reached, for the first time or again.
	PeerUp(node string)

	// PeerDown says that a node has been silent for longer than the liveness limit. It is a
	// hint: the node may be alive.
	PeerDown(node string)
}

// Transport is one node's end of the network.
type Transport interface {
	// Start begins delivery to h. It is called once, before any other method but Close.
	Start(h Handler) error

	// Send queues a batch for a node and returns at once. The bytes may be reused afterwards.
	Send(node string, batch []byte)

	// SendSnapshot streams a snapshot: header first, then what body writes. It returns when the
	// receiver has taken all of it, or with an error.
	SendSnapshot(ctx context.Context, node string, header []byte, body func(io.Writer) error) error

	// Close ends delivery and waits for every goroutine of the transport. No method of the
	// handler runs after it.
	Close() error
}
