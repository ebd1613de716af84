package transport

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
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

// TestALongBatchIsNoSilence: over a slow way a large batch takes longer than a node may be silent. All the while it
// speaks; when it stops it is silent as ever.
func TestALongBatchIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := newSink()
		b := &TCP{o: testOptions("c", "b"), handler: heard}
		here, there := net.Pipe()
		defer there.Close()
		var reading errgroup.Group
		reading.Go(func() error { defer here.Close(); return b.readBatches(here, "a") })
		pace := time.NewTicker(b.o.SilentAfter / 2)
		defer pace.Stop()
		for _, piece := range []string{"\x00\x00\x00\x05", "b", "a", "t", "c", "h"} {
			if _, err := there.Write([]byte(piece)); err != nil {
				t.Fatal(err)
			}
			<-pace.C
		}
		want(t, heard.batches, "a:batch")
		if err := reading.Wait(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("it stopped: %v", err)
		}
	})
}
