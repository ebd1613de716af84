package store

import "sync"

// gate lets readers in until it is shut, and lets Close wait until the last one has left.
// Pebble panics when it is read after Close; behind the gate a late reader gets ErrClosed.
type gate struct {
	mu     sync.RWMutex // guards shut against enter
	shut   bool
	inside sync.WaitGroup
}

func (g *gate) enter() error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.shut {
		return ErrClosed
	}
	g.inside.Add(1)
	return nil
}

func (g *gate) leave() { g.inside.Done() }

// close says whether this call shut the gate, and returns when nobody is inside.
func (g *gate) close() (first bool) {
	g.mu.Lock()
	first, g.shut = !g.shut, true
	g.mu.Unlock()
	g.inside.Wait()
	return first
}
