package cluster

import (
	"time"

	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// fault is one thing that goes wrong, or that an operator does at a bad moment.
type fault struct {
	name   string
	weight int
	strike func(w *World, n *node, lasts time.Duration)
}

var faults = []fault{
	{"crash", 14, func(w *World, n *node, lasts time.Duration) {
		w.crash(n)
		w.after(lasts, func() { w.restart(n.name) })
	}},
	{"crash of a leader", 8, func(w *World, _ *node, lasts time.Duration) {
		if n := w.leading(); n != nil {
			w.crash(n)
			w.after(lasts/4, func() { w.restart(n.name) })
		}
	}},
	{"power cut of all", 4, func(w *World, _ *node, lasts time.Duration) {
		for _, name := range w.running() {
			w.crash(w.nodes[name])
			w.after(lasts/4, func() { w.restart(name) })
		}
	}},
	{"pause", 10, func(w *World, n *node, lasts time.Duration) {
		n.paused = true
		w.after(lasts, func() { w.resume(n) })
	}},
	{"partition", 10, func(w *World, n *node, lasts time.Duration) {
		other := w.any()
		for _, a := range w.names() {
			for _, b := range w.names() {
				if in := a == n.name || a == other.name; in != (b == n.name || b == other.name) {
					w.cut(a, b, lasts)
				}
			}
		}
	}},
	{"one-way cut", 8, func(w *World, n *node, lasts time.Duration) {
		for _, peer := range w.names() {
			if peer != n.name && w.rng.IntN(2) == 0 {
				w.cut(n.name, peer, lasts)
			}
		}
	}},
	{"bridge", 6, func(w *World, n *node, lasts time.Duration) {
		for i, a := range w.names() { // all see the bridge, and only every second of each other
			for j, b := range w.names() {
				if a != n.name && b != n.name && (i+j)%2 == 1 {
					w.cut(a, b, lasts)
				}
			}
		}
	}},
	{"orders again", 8, func(w *World, _ *node, _ time.Duration) { w.repeat() }},
	{"panics", 6, func(w *World, n *node, lasts time.Duration) { n.panicking = w.now + lasts }},
	{"clock jump", 5, func(w *World, n *node, _ time.Duration) {
		n.skew = time.Duration(w.rng.Int64N(int64(48*time.Hour))) - 24*time.Hour
	}},
	{"slow disk", 7, func(w *World, n *node, lasts time.Duration) {
		n.diskSlow = time.Duration(5+w.rng.IntN(200)) * time.Millisecond
		w.after(lasts, func() { n.diskSlow = 200 * time.Microsecond })
	}},
	{"stalled disk", 7, func(w *World, n *node, lasts time.Duration) {
		n.diskStalled = true
		w.after(lasts, func() { n.diskStalled = false; n.wake() })
	}},
	{"full disk", 7, func(w *World, n *node, lasts time.Duration) {
		n.hearSpace(n.name, true)
		w.after(lasts, func() { n.run(func() { n.hearSpace(n.name, false) }) })
	}},
	{"rumour of a full disk", 4, func(w *World, n *node, lasts time.Duration) {
		if about := w.any().name; about != n.name {
			n.slur[about] = w.now + lasts
		}
	}},
	{"bad network", 8, func(w *World, _ *node, lasts time.Duration) {
		w.net.loss, w.net.doubled, w.net.slow = w.rng.IntN(30), w.rng.IntN(30), time.Duration(1+w.rng.IntN(60))*time.Millisecond
		w.after(lasts, func() { w.net.loss, w.net.doubled, w.net.slow = 0, 0, usualDelay })
	}},
	{"false rumour", 6, func(w *World, n *node, lasts time.Duration) {
		n.rumour[w.any().name] = w.now + lasts
	}},
	{"join", 6, func(w *World, _ *node, _ time.Duration) {
		if len(w.nodes) < nodesMax {
			if err := w.add("n" + string(rune('1'+len(w.nodes)))); err != nil {
				w.fail("start", "%v", err)
			}
		}
	}},
	{"drain", 5, func(w *World, n *node, lasts time.Duration) {
		w.operator(n.name, eventv1.StoreState_STORE_STATE_DRAINING)
		w.after(lasts, func() { w.operator(n.name, eventv1.StoreState_STORE_STATE_UP) })
	}},
	{"remove", 5, func(w *World, n *node, _ time.Duration) {
		w.operator(n.name, eventv1.StoreState_STORE_STATE_REMOVING)
	}},
	{"retired disk comes back", 3, func(w *World, _ *node, _ time.Duration) {
		for _, name := range w.names() {
			if w.removed[name] && w.nodes[name].dead {
				w.restart(name)
				return
			}
		}
	}},
}

// strike lets one fault happen to some node.
func (w *World) strike() {
	n := w.any()
	if n == nil {
		return
	}
	total := 0
	for _, f := range faults {
		total += f.weight
	}
	roll := w.rng.IntN(total)
	for _, f := range faults {
		if roll -= f.weight; roll < 0 {
			w.faults[f.name]++
			w.note(uint64(roll+total), n.life)
			f.strike(w, n, time.Duration(w.rng.Int64N(int64(3500*time.Millisecond))))
			return
		}
	}
}

// any is some node that runs, nil for none.
func (w *World) any() *node {
	names := w.running()
	if len(names) == 0 {
		return nil
	}
	return w.nodes[names[w.rng.IntN(len(names))]]
}

// leading is the node that leads some room, as it believes; nil for none.
func (w *World) leading() *node {
	s := shardOf(w.rooms[w.rng.IntN(len(w.rooms))])
	for _, name := range w.running() {
		if w.nodes[name].leads[s].Local {
			return w.nodes[name]
		}
	}
	return nil
}

// cut loses what is sent from one node to another, for a while.
func (w *World) cut(from, to string, lasts time.Duration) {
	w.net.cut[route{from, to}] = true
	w.after(lasts, func() { delete(w.net.cut, route{from, to}) })
}

// operator asks some node for a change of a member.
func (w *World) operator(name string, state eventv1.StoreState) {
	if at := w.any(); at != nil && !w.quiet {
		at.run(func() {
			at.place(&nodev1.Command{Body: &nodev1.Command_SetStore{SetStore: &nodev1.SetStore{Node: name, State: state}}}, func(error) {})
		})
	}
}

// crash ends a node's life at once.
func (w *World) crash(n *node) {
	if n.dead {
		return
	}
	w.crashes++
	left, err := n.end()
	if err != nil {
		w.fail("crash", "%s: %v", n.name, err)
		return
	}
	w.down[n.name] = left
	for _, c := range w.clients {
		if c.at == n.name {
			c.hangUp()
		}
	}
}

// restart starts a node on what a crash has left.
func (w *World) restart(name string) {
	disk := w.down[name]
	if disk == nil || w.quiet && w.removed[name] {
		return
	}
	if err := w.start(name, disk, false); err != nil {
		w.fail("start", "%s: %v", name, err)
	}
}

// resume ends a pause: all that was to happen during it happens now.
func (w *World) resume(n *node) {
	if n.dead || !n.paused {
		return
	}
	n.paused = false
	parked := n.parked
	n.parked = nil
	for _, do := range parked {
		n.run(do)
	}
	n.wake()
}

// calm ends all faults and brings everybody back.
func (w *World) calm() {
	w.quiet = true
	w.net.calm()
	for _, name := range w.names() {
		n := w.nodes[name]
		n.diskStalled, n.diskSlow, n.panicking = false, 200*time.Microsecond, 0
		clear(n.rumour)
		clear(n.slur)
		w.resume(n)
		n.run(func() { n.hearSpace(n.name, false) })
		w.restart(name)
	}
}
