//go:build chaos && linux

package chaos

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"
	"time"
)

// TestGrowDrainRemoveRestart adds a fourth node, drains and removes the first, and restarts the
// rest one by one, while clients that resume send. Then the removed node comes back.
func TestGrowDrainRemoveRestart(t *testing.T) {
	c := newCluster(t, 3, "--shutdown-grace", "20s")
	w := gather(c, shape{conversations: 20, members: 2, rate: 200}, c.others(nil))
	w.balance()
	began := time.Now()
	n4 := c.add(4)
	c.start(n4)
	c.ready(n4)
	told.add(t, "a fourth node has all its replicas after", since(began), "")
	c.healed(4)
	first := c.nodes["n1"]
	w.drain(first)
	w.remove(first)
	for _, name := range c.names[1:] {
		w.restart(c.nodes[name])
	}
	s := spreadOf(w.waits(began))
	told.add(t, "sends while nodes come, go and restart", s.String(), "p99 1s")
	if s.p99 > 10*time.Second {
		t.Errorf("sends: %s", s)
	}
	w.check(c.others(first))
	returns(c, first)
}

func since(t time.Time) string { return time.Since(t).Round(10 * time.Millisecond).String() }

// drain takes leaderships and clients from a node.
func (w *crowd) drain(n *node) {
	w.t.Helper()
	c, began := w.cluster, time.Now()
	c.must(c.operator(c.nodes["n2"], "node", "drain", n.name, "--yes"))
	c.until("no client at "+n.name, func() bool { return w.at(n) == 0 })
	told.add(w.t, "drain, leaderships and sockets", since(began), "10s")
}

// remove ends a node's membership and waits until its process has ended.
func (w *crowd) remove(n *node) {
	w.t.Helper()
	c, began := w.cluster, time.Now()
	size := dirSize(n.data())
	c.must(c.operator(c.nodes["n2"], "node", "remove", n.name, "--yes"))
	told.add(w.t, fmt.Sprintf("remove a node of %d MB", size>>20), since(began), "60s per GB")
	if code := c.exited(n); code == 0 {
		w.t.Errorf("the removed %s ended with exit code 0", n.name)
	}
	c.forget(n)
	c.healed(len(c.names))
}

// restart stops a node in order and starts it again.
func (w *crowd) restart(n *node) {
	w.t.Helper()
	c, began := w.cluster, time.Now()
	c.stop(n)
	c.start(n)
	c.ready(n)
	c.healed(len(c.names))
	told.add(w.t, "restart of one node until it votes again", since(began), "")
}

func dirSize(dir string) (size int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // a file that was compacted away meanwhile
		}
		if i, err := e.Info(); err == nil {
			size += i.Size()
		}
		return nil
	})
	return size
}

// returns starts a removed node with its old disk: it is refused and says why.
func returns(c *cluster, n *node) {
	c.t.Helper()
	c.startJoining(n, c.nodes["n2"])
	if code := c.exited(n); code == 0 || !n.said("removed") {
		c.t.Errorf("the removed node came back and ended with exit code %d:\n%s", code, n.lastWords())
	}
	c.healed(len(c.names))
}

// TestTwoClustersNeverMerge lets a node of another cluster, with the same authority and the same
// gossip key, join; and a node whose authority is another's.
func TestTwoClustersNeverMerge(t *testing.T) {
	c := newCluster(t, 1)
	first := c.nodes["n1"]
	other := c.add(9)
	c.startJoining(other, nil)
	c.ready(other)
	c.must(c.alone(other))
	c.stop(other)
	c.startJoining(other, first)
	met, _ := within(patience, func() bool { return other.said("another cluster") || first.said("another cluster") || !other.alive() })
	t.Logf("noticed after %s", met)
	c.must(c.alone(first))
	if other.alive() {
		c.ready(other)
		c.must(c.alone(other))
	}
	stranger := c.add(8)
	foreign := filepath.Join(c.dir, "foreign")
	c.must(run(binary, "certs", "init", foreign))
	c.must(run(binary, "certs", "issue", stranger.name, "--authority", foreign, "--out", stranger.certs+"-foreign"))
	stranger.certs += "-foreign"
	c.startJoining(stranger, first)
	noticed, ok := within(patience, func() bool { return first.said("no installed keys could decrypt") || !stranger.alive() })
	if !ok {
		t.Errorf("nobody says why the stranger does not join:\n%s\n%s", first.lastWords(), stranger.lastWords())
	}
	t.Logf("the stranger was noticed after %s", noticed)
	c.must(c.alone(first))
}

// alone says whether the node is its cluster's only one.
func (c *cluster) alone(n *node) error {
	s, err := c.status(n)
	if err != nil {
		return err
	}
	if len(s.Nodes) != 1 || s.Nodes[0].Name != n.name {
		return fmt.Errorf("%s is not alone: %+v", n.name, s.Nodes)
	}
	return nil
}
