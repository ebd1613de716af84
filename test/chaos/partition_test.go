//go:build chaos && linux

package chaos

import (
	"slices"
	"testing"
	"time"
)

// cut is one way to part the nodes. Numbers are the nodes'.
type cut struct {
	name  string
	links []link // that are down
	// apart are nodes that reach no majority: they acknowledge nothing.
	apart []int
}

func both(a, b int) []link { return []link{{a, b}, {b, a}} }

func cuts() []cut {
	return []cut{
		{name: "one node alone", links: slices.Concat(both(1, 3), both(2, 3)), apart: []int{3}},
		{name: "one node hears nothing", links: []link{{1, 3}, {2, 3}}, apart: []int{3}},
		{name: "one node is not heard", links: []link{{3, 1}, {3, 2}}, apart: []int{3}},
		{name: "two nodes see the third only", links: both(1, 2)},
	}
}

// TestPartition parts the nodes' network, not the clients': who is connected to the minority gets
// no ack there, and an answer; the others go on. After the heal everybody has everything.
func TestPartition(t *testing.T) {
	need(t, "partitions", canSwitch)
	c := newCluster(t, 3)
	for _, p := range cuts() {
		t.Run(p.name, func(t *testing.T) {
			c.t = t
			w := gather(c, shape{conversations: 10, members: 3, rate: 150}, c.others(nil))
			w.recovered(time.Now())
			for _, l := range p.links {
				c.network.set(l.from, l.to, quality{down: true})
			}
			began := time.Now() // what was sent while the links went down one after the other may have got through
			apart, majority := w.split(c, p)
			lasts := 6 * time.Second
			if *long {
				lasts = 30 * time.Second
			}
			await(t, lasts)
			if len(p.apart) > 0 {
				c.until("an answer to who is apart", func() bool { return apart.answered(began) })
			}
			healed := time.Now()
			c.network.heal()
			if len(p.apart) > 0 {
				apart.refused(began, healed)
				majority.kept(began)
			} else {
				told.add(t, "sends through all nodes", spreadOf(w.waits(began)).String(), "")
			}
			w.caughtUp(healed)
			w.recovered(healed)
			w.check(c.others(nil))
			c.healed(3)
		})
	}
}

// await lets a fault last: the time is part of the scenario, nothing is waited for.
func await(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// split gives the clients of nodes that are apart, and the others. They stay where they are.
func (w *crowd) split(c *cluster, p cut) (apart, majority *crowd) {
	apart, majority = &crowd{t: c.t, cluster: c}, &crowd{t: c.t, cluster: c}
	for _, m := range w.chatters {
		edge, side := m.edge(), majority
		if slices.ContainsFunc(p.apart, func(id int) bool { return edge == c.nodes[nodeName(id)].url }) {
			side = apart
		}
		if edge != "" { // else it is on its way to one
			m.offer([]string{edge})
		}
		side.chatters = append(side.chatters, m)
	}
	return apart, majority
}

// answered says whether somebody had an answer after t that tells of the cluster.
func (w *crowd) answered(t time.Time) bool {
	return slices.ContainsFunc(w.chatters, func(m *chatter) bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return slices.ContainsFunc(m.answers, func(a answer) bool { return a.at.After(t) && a.code != limited })
	})
}

// refused checks clients of a minority: what was due after the cut was not acknowledged before the
// heal, and each try had a typed answer within two seconds. Sends that wait for the heal are all tried
// again and again, until a user has so many of them that its own limit answers.
func (w *crowd) refused(cut, heal time.Time) {
	w.t.Helper()
	const answerGoal = 2 * time.Second
	acks, codes := 0, map[string]int{}
	var took []time.Duration
	for _, m := range w.chatters {
		m.mu.Lock()
		for _, d := range m.deeds {
			if d.due.After(cut) && d.acked.Before(heal) {
				acks++
			}
		}
		for _, a := range m.answers {
			if a.at.After(cut) && a.at.Before(heal) {
				codes[a.code]++
				if a.code == limited {
					continue // says nothing of how fast the cluster answers
				}
				took = append(took, a.took)
			}
		}
		m.mu.Unlock()
	}
	s := spreadOf(took)
	told.add(w.t, "minority: acks", plural(acks, "ack", "acks"), "0")
	told.add(w.t, "minority: "+plural(len(took), "typed answer", "typed answers"), s.String(), "max 2s")
	w.t.Logf("minority: %v", codes)
	if acks > 0 {
		w.t.Errorf("%d acks from a minority", acks)
	}
	if len(took) == 0 || s.max > 10*answerGoal {
		w.t.Errorf("%d typed answers within %s", len(took), s)
	}
	for code := range codes {
		if code != unavailable && code != unknown && code != limited {
			w.t.Errorf("a minority answers %s", code)
		}
	}
}

// kept measures the clients of a majority.
func (w *crowd) kept(since time.Time) {
	w.t.Helper()
	s := spreadOf(w.waits(since))
	told.add(w.t, "majority: sends", s.String(), "p99 1s")
	if s.p99 == 0 || s.p99 > 10*time.Second {
		w.t.Errorf("majority: %s", s)
	}
}

// caughtUp measures how long after a heal every subscription had all that was acknowledged before it.
func (w *crowd) caughtUp(healed time.Time) {
	w.t.Helper()
	heads := map[string]uint64{}
	for _, m := range w.chatters {
		m.mu.Lock()
		for _, s := range m.tries {
			heads[m.conversation] = max(heads[m.conversation], s.Sequence)
		}
		m.mu.Unlock()
	}
	w.cluster.until("every subscription has what was acknowledged before the heal", func() bool {
		return !slices.ContainsFunc(w.chatters, func(m *chatter) bool { return m.head() < heads[m.conversation] })
	})
	told.add(w.t, "every subscription at the head after the heal", since(healed), "10s")
}

// TestPoorNetwork lets the nodes' network delay, lose, double and reorder, and checks that chat goes on.
func TestPoorNetwork(t *testing.T) {
	need(t, "delay, loss, duplication, reordering", canSwitch)
	c := newCluster(t, 3)
	for _, p := range []struct {
		name string
		quality
	}{
		{"50 to 150 ms one way, reordered", quality{delay: 50 * time.Millisecond, jitter: 100 * time.Millisecond}},
		{"5 % lost, 5 % doubled", quality{loss: 0.05, duplicate: 0.05}},
	} {
		t.Run(p.name, func(t *testing.T) {
			c.t = t
			w := gather(c, shape{conversations: 10, members: 3, rate: 100}, c.others(nil))
			w.recovered(time.Now())
			began := time.Now()
			for from := 1; from <= 3; from++ {
				for to := 1; to <= 3; to++ {
					c.network.set(from, to, p.quality)
				}
			}
			lasts := 5 * time.Second
			if *long {
				lasts = time.Minute
			}
			await(t, lasts)
			told.add(t, "sends", spreadOf(w.waits(began)).String(), "")
			c.network.heal()
			w.check(c.others(nil))
			c.healed(3)
		})
	}
}
