package transport

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"parley/internal/cadence"
)

// The reasons for which a batch is lost, as metric labels.
const (
	dropFull        = "buffer_full"
	dropUnreachable = "unreachable"
)

// redialDoublings bounds how often the pause between two dials doubles.
const redialDoublings = 4

// peer sends to one node. A frame of length 0 is a beat.
type peer struct {
	transport *TCP
	node      string
	wake      chan struct{} // capacity 1: any number of batches cost one wake
	beat      chan struct{} // capacity 1: say that we live, if there is nothing else to say

	mu     sync.Mutex // guards buffer
	buffer []byte     // frames that wait
}

// enqueue adds a batch to what waits, or drops it.
func (p *peer) enqueue(batch []byte) {
	p.mu.Lock()
	fits := len(p.buffer)+4+len(batch) <= p.transport.o.BufferBytes
	if fits {
		p.buffer = binary.BigEndian.AppendUint32(p.buffer, uint32(len(batch)))
		p.buffer = append(p.buffer, batch...)
	}
	p.mu.Unlock()
	if !fits {
		p.transport.drop(dropFull, len(batch))
		return
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// take gives what waits, in exchange for a buffer that is free.
func (p *peer) take(free []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	waiting := p.buffer
	p.buffer = free[:0]
	return waiting
}

// run dials when there is something to say, and sends until the connection breaks. A node that
// was reached once is dialed again by itself, as long as it has an address: what it takes for our
// silence would be our death.
func (p *peer) run() error {
	ctx, failures, reached := p.transport.ctx, 0, false
	for {
		if _, ok := p.transport.addresses.Address(p.node); !reached || !ok {
			select {
			case <-ctx.Done():
				return nil
			case <-p.wake:
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		conn, err := p.transport.dial(ctx, p.node, purposeBatches)
		if err != nil {
			p.transport.o.Logger.Debug("node not reached", "node", p.node, "err", err)
			p.transport.drop(dropUnreachable, len(p.take(nil)))
			p.transport.pause(ctx, failures)
			failures++
			continue
		}
		failures, reached = 0, true
		err = p.send(ctx, conn)
		_ = conn.Close() // it is broken or of no more use
		p.transport.o.Logger.Debug("connection ended", "node", p.node, "err", err)
	}
}

// send writes batches as they come and beats when none do.
func (p *peer) send(ctx context.Context, conn net.Conn) error {
	release := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer release()
	var free []byte
	for {
		frames := p.take(free)
		if len(frames) == 0 {
			frames = append(frames, 0, 0, 0, 0)
		}
		if err := conn.SetWriteDeadline(time.Now().Add(p.transport.o.StallAfter)); err != nil {
			return err
		}
		if _, err := conn.Write(frames); err != nil {
			p.transport.drop(dropUnreachable, len(frames))
			return err
		}
		free = frames
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-p.wake:
		case <-p.beat:
		}
	}
}

// beatLoop lets all connections beat at once: an idle node wakes up once a beat, whatever the
// number of its peers.
func (t *TCP) beatLoop() error {
	ticker := cadence.NewTicker(t.o.BeatInterval)
	defer ticker.Stop()
	for {
		select {
		case <-t.ctx.Done():
			return nil
		case <-ticker.C:
		}
		t.beat()
	}
}

func (t *TCP) beat() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.peers {
		select {
		case p.beat <- struct{}{}:
		default: // it is still writing
		}
	}
}

// pause waits after so many failures in a row, longer each time, with jitter so that a cluster does not
// dial in step.
func (t *TCP) pause(ctx context.Context, failures int) {
	longest := t.o.RedialAfter << min(failures, redialDoublings)
	timer := time.NewTimer(longest/2 + rand.N(longest/2+1))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
