package solo

import (
	"io"
	"sync"
	"testing"
)

// output is a test's log until the test ends: a connection's last goroutine may speak after it.
type output struct {
	mu    sync.Mutex // guards ended
	ended bool
	to    io.Writer
}

func newOutput(t testing.TB) *output {
	o := &output{to: t.Output()}
	t.Cleanup(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.ended = true
	})
	return o
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return len(b), nil
	}
	return o.to.Write(b)
}
