package transport

import (
	"net"
	"runtime"
	"sync"
	"testing"
)

// latest is a Handler that keeps what it was told last of a node.
type latest struct {
	*sink
	mu sync.Mutex // guards up
	up bool
}

func (l *latest) PeerUp(string) { l.note(true) }

func (l *latest) PeerDown(string) {
	runtime.Gosched() // let others in, if they may
	l.note(false)
}

func (l *latest) note(up bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = up
}

// TestWhoIsBackIsUp: a node that comes back while its old connection ends is told as up in the end.
func TestWhoIsBackIsUp(t *testing.T) {
	tcp, heard := listen(t, "c", "b", book{})
	told := &latest{sink: heard}
	tcp.handler = told
	older, _ := net.Pipe()
	tcp.comes(older, "a")
	for range 20_000 {
		newer, _ := net.Pipe()
		var both sync.WaitGroup
		both.Go(func() { tcp.goes(older, "a") })
		both.Go(func() { tcp.comes(newer, "a") })
		both.Wait()
		if !told.up {
			t.Fatal("the news of the end came after those of the return")
		}
		older = newer
	}
	if err := tcp.Close(); err != nil {
		t.Error(err)
	}
}
