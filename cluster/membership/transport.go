package membership

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/memberlist"
)

// bindTries is how often a free port is looked for that TCP and UDP both have.
const bindTries = 10

// transport is memberlist's own network, but for the connections that it makes: they end with ctx.
// memberlist waits ten seconds for each address of a join that is silent, and asks nobody whether it is
// still wanted.
type transport struct {
	*memberlist.NetTransport
	ctx context.Context
}

// listen takes the addresses of c, and completes them when its port is 0.
func listen(ctx context.Context, c *memberlist.Config) error {
	o := &memberlist.NetTransportConfig{BindAddrs: []string{c.BindAddr}, BindPort: c.BindPort, Logger: c.Logger}
	tries := 1
	if c.BindPort == 0 {
		tries = bindTries
	}
	bound, err := memberlist.NewNetTransport(o)
	for ; err != nil && tries > 1; tries-- {
		bound, err = memberlist.NewNetTransport(o)
	}
	if err != nil {
		return fmt.Errorf("listen on %s: %w", c.BindAddr, err)
	}
	if c.BindPort == 0 {
		c.BindPort, c.AdvertisePort = bound.GetAutoBindPort(), bound.GetAutoBindPort()
	}
	c.Transport = &transport{bound, ctx}
	return nil
}

// DialTimeout implements memberlist.Transport.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	dialer := net.Dialer{Timeout: timeout}
	conn, err := dialer.DialContext(t.ctx, "tcp", a.Addr)
	if err != nil {
		return nil, err
	}
	return &dialed{conn, context.AfterFunc(t.ctx, func() { _ = conn.Close() })}, nil
}

// dialed is a connection that was made, and what keeps it from being closed by its context.
type dialed struct {
	net.Conn
	keep func() bool
}

// Close implements net.Conn.
func (d *dialed) Close() error {
	d.keep()
	return d.Conn.Close()
}
