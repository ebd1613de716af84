package shard

import (
	"net"
	"sync"
	"testing"
)

// proxy stands between one node and another, so that silence can be made without a death. A proxy
// that is down refuses, as a dead process does.
type proxy struct {
	listener net.Listener
	target   string
	group    sync.WaitGroup

	mu     sync.Mutex // guards all below
	frozen bool
	thaw   *sync.Cond
	conns  map[net.Conn]bool
	closed bool
}

func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target, conns: map[net.Conn]bool{}}
	p.thaw = sync.NewCond(&p.mu)
	p.group.Go(p.accept)
	return p
}

func (p *proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = in.Close()
			continue
		}
		if !p.keep(in, out) {
			_, _ = in.Close(), out.Close()
			return
		}
		p.group.Go(func() { p.pass(out, in) })
		p.group.Go(func() { p.pass(in, out) })
	}
}

// keep notes the two ends of a stream, for close to end; false when it has been.
func (p *proxy) keep(in, out net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.conns[in], p.conns[out] = true, true
	}
	return !p.closed
}

func (p *proxy) pass(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		for p.frozen && !p.closed {
			p.thaw.Wait()
		}
		p.mu.Unlock()
		if _, failed := to.Write(b[:n]); failed != nil || err != nil {
			return
		}
	}
}

// freeze holds everything back, or lets it go.
func (p *proxy) freeze(on bool) {
	p.mu.Lock()
	p.frozen = on
	p.mu.Unlock()
	p.thaw.Broadcast()
}

func (p *proxy) close() {
	p.mu.Lock()
	p.closed = true
	for conn := range p.conns {
		_ = conn.Close()
	}
	p.mu.Unlock()
	p.thaw.Broadcast()
	_ = p.listener.Close()
	p.group.Wait()
}
