package system

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
)

// ringTimeout bounds how long Open waits for its own listener.
const ringTimeout = 30 * time.Second

// doorbell stands at the remote's door while it opens: the library starts to serve in the
// background, and Open must not return before connections are accepted. It rings once, by
// a connection that is never handed to gRPC.
type doorbell struct {
	credentials.TransportCredentials
	state *doorbellState
}

type doorbellState struct {
	mu   sync.Mutex // guards own; held while the own connection is made
	own  string     // local address of the connection that rings
	rang chan struct{}
}

func newDoorbell(inner credentials.TransportCredentials) *doorbell {
	return &doorbell{inner, &doorbellState{rang: make(chan struct{})}}
}

// ring returns when the listener at addr has accepted.
func (d *doorbell) ring(addr string) error {
	st := d.state
	st.mu.Lock()
	c, err := net.DialTimeout("tcp", addr, ringTimeout)
	if err != nil {
		st.mu.Unlock()
		return fmt.Errorf("reach own listener: %w", err)
	}
	st.own = c.LocalAddr().String()
	st.mu.Unlock()
	timer := time.NewTimer(ringTimeout)
	defer timer.Stop()
	select {
	case <-st.rang:
		return c.Close()
	case <-timer.C:
		return errors.Join(fmt.Errorf("own listener at %s does not accept", addr), c.Close())
	}
}

// ServerHandshake implements credentials.TransportCredentials.
func (d *doorbell) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	st := d.state
	st.mu.Lock()
	own := st.own != "" && st.own == c.RemoteAddr().String()
	if own {
		st.own = ""
	}
	st.mu.Unlock()
	if !own {
		return d.TransportCredentials.ServerHandshake(c)
	}
	close(st.rang)
	_ = c.Close() // it carried nothing
	return nil, nil, credentials.ErrConnDispatched
}

// Clone implements credentials.TransportCredentials.
func (d *doorbell) Clone() credentials.TransportCredentials {
	return &doorbell{d.TransportCredentials.Clone(), d.state}
}
