//go:build chaos && linux

package chaos

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// damages are what a place of a disk can suffer.
var damages = []struct {
	name string
	do   func(path string, size int64, rng *rand.Rand) error
}{
	{"bit flip", func(path string, size int64, rng *rand.Rand) error { return flip(path, rng.Int64N(max(size, 1))) }},
	{"truncated", func(path string, size int64, rng *rand.Rand) error {
		return os.Truncate(path, rng.Int64N(max(size, 1)))
	}},
	{"deleted", func(path string, _ int64, _ *rand.Rand) error { return os.Remove(path) }},
}

// TestDamagedReplica damages one place after the other of a stopped node's files and starts it.
// Clients see nothing of it. The node either heals, or ends with the reason; then it is replaced,
// as docs/operate says.
func TestDamagedReplica(t *testing.T) {
	places, seed := 4, rand.Uint64()
	if *long {
		places = 50
	}
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	c := newCluster(t, 3)
	w := gather(c, shape{conversations: 10, members: 2, rate: 50}, c.others(c.nodes["n3"]))
	victim := c.nodes["n3"]
	healed, refused := 0, 0
	began := time.Now()
	for i := range places {
		w.recovered(time.Now())
		if rng.IntN(2) == 0 {
			victim.kill()
		} else {
			c.stop(victim)
		}
		kind := damages[i%len(damages)]
		path, size := c.place(victim, rng)
		c.must(kind.do(path, size, rng))
		place := fmt.Sprintf("%s of %s", kind.name, strings.TrimPrefix(path, victim.data()))
		c.startJoining(victim, c.nodes["n1"])
		_, ok := within(patience, func() bool { return !victim.alive() || get(victim.url+"/readyz", nil) == nil })
		switch {
		case !ok:
			t.Fatalf("%s: neither ready nor ended", place)
		case c.serves(victim):
			healed++
			t.Logf("%s: the node serves", place)
		default:
			refused++
			said := victim.reason()
			t.Logf("%s: %s", place, said)
			if code := c.exited(victim); code == 0 || said == "" {
				t.Errorf("%s: ended with exit code %d and without a reason", place, code)
			}
			c.replace(victim)
		}
	}
	told.add(t, plural(places, "place", "places"), fmt.Sprintf("%d served on, %d refused with the reason and replaced", healed, refused), "nothing seen by clients")
	s := spreadOf(w.waits(began))
	told.add(t, "sends of others meanwhile", s.String(), "")
	w.check(c.others(nil))
}

// serves waits until the node has its place again, or has ended: some damage is met only later.
func (c *cluster) serves(n *node) bool {
	c.t.Helper()
	c.until(n.name+" whole or ended", func() bool {
		s, err := c.status(c.nodes["n1"])
		whole := err == nil && len(s.Nodes) == 3 && s.UnderReplicatedShards == 0 && len(s.Operations) == 0
		return !n.alive() || whole && get(n.url+"/readyz", nil) == nil
	})
	return n.alive()
}

// place chooses a file among all that a node keeps.
func (c *cluster) place(n *node, rng *rand.Rand) (path string, size int64) {
	c.t.Helper()
	var files []string
	c.must(filepath.WalkDir(n.data(), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && e.Name() != "LOCK" && e.Name() != "addresses.json" {
			files = append(files, path)
		}
		return err
	}))
	path = files[rng.IntN(len(files))]
	i, err := os.Stat(path)
	c.must(err)
	return path, i.Size()
}

// reason is what a node said at its end.
func (n *node) reason() string {
	text, err := os.ReadFile(n.log)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.HasPrefix(lines[i], "Error: ") || strings.HasPrefix(lines[i], "panic: ") || strings.Contains(lines[i], "level=ERROR") {
			return lines[i]
		}
	}
	return ""
}

// replace does what an operator does about a lost disk: the node is removed, its directory put
// aside, and a new one joins under the same name.
func (c *cluster) replace(n *node) {
	c.t.Helper()
	c.must(c.operator(c.nodes["n1"], "node", "remove", n.name, "--yes", "--force"))
	c.must(os.RemoveAll(n.data()))
	c.startJoining(n, c.nodes["n1"])
	c.ready(n)
	c.healed(3)
}
