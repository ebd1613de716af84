//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// offline runs a command that may fail, without a node, and gives its exit code and what it said.
func (c *trio) offline(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	command := exec.Command(binary, args...)
	command.Dir = c.dir
	out, err := command.CombinedOutput()
	if command.ProcessState == nil {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), string(out)
}

// TestUnsafeRecovery follows docs/operate/unsafe-recovery.md: three processes, two of which lose their
// disks for good. The third goes on alone, two new ones join, and a lost disk that turns up is refused.
func TestUnsafeRecovery(t *testing.T) {
	c := newTrio(t, "n1", "n2", "n3")
	c.healed(t, "n2", 3)
	w := &crowd{cluster: c, app: newApplication(t, c.nodes["n1"].url), http: &http.Client{Timeout: 10 * time.Second}}
	w.open(t, 3, 12)
	w.send(t, 20, func(int64) {})
	// An ack says that two disks have it; the third may be behind.
	c.until(t, "all on three disks", func(ctx context.Context) bool {
		s, err := c.status(ctx, "n2")
		return err == nil && s.Leaderless == 0 && s.MaxLag == 0
	})
	recoverCommand := []string{"cluster", "unsafe-recover", "--data-dir", "n1", "--dead", "n2,n3"}

	c.nodes["n1"].kill()
	if code, said := c.offline(t, append(recoverCommand, "--yes")...); code != 1 || !strings.Contains(said, "it is not dead") {
		t.Fatalf("with two living nodes: exit %d\n%s", code, said)
	}
	c.nodes["n2"].kill()
	c.nodes["n3"].kill()
	c.lose(t, "n2", "n3")
	if code, said := c.offline(t, recoverCommand...); code != 2 || !strings.Contains(said, "--yes") {
		t.Fatalf("without anybody to ask: exit %d\n%s", code, said)
	}
	code, said := c.offline(t, append(recoverCommand, "--yes")...)
	if code != 0 || !strings.Contains(said, "UNSAFE RECOVERY") || strings.Count(said, "becomes the only one") != 65 {
		t.Fatalf("exit %d\n%s", code, said)
	}
	if code, said := c.offline(t, append(recoverCommand, "--yes")...); code != 1 || !strings.Contains(said, "nothing has to be recovered") {
		t.Fatalf("a second time: exit %d\n%s", code, said)
	}

	c.run(t, "n1", "")
	c.await(t, "n1")
	c.healed(t, "n1", 1)
	w.nodes = []string{"n1"}
	w.check(t, "n1")
	w.more(t, 20)

	lost := c.revive(t, "n3")
	if err := lost.cmd.Wait(); err == nil || !strings.Contains(lost.output.String(), "was removed") {
		t.Errorf("a disk that was given up came back: %v\n%s", err, lost.output)
	}
	c.lose(t, "n3")
	for _, n := range []string{"n2", "n3"} {
		c.run(t, n, c.ports["n1"][1])
	}
	c.await(t, "n2")
	c.await(t, "n3")
	c.healed(t, "n2", 3)
	w.nodes = c.names
	w.more(t, 20)
	for _, n := range c.names {
		w.check(t, n)
	}
}

// lose takes nodes' disks away, out of reach.
func (c *trio) lose(t *testing.T, names ...string) {
	t.Helper()
	for _, n := range names {
		away := filepath.Join(c.dir, "lost-"+n)
		if err := os.RemoveAll(away); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(c.dir, n), away); err != nil {
			t.Fatal(err)
		}
	}
}

// revive starts a node on its lost disk.
func (c *trio) revive(t *testing.T, name string) *process {
	t.Helper()
	if err := os.Rename(filepath.Join(c.dir, "lost-"+name), filepath.Join(c.dir, name)); err != nil {
		t.Fatal(err)
	}
	c.run(t, name, c.ports["n1"][1])
	return c.nodes[name]
}

// more lets every user send further events, under client ids of their own.
func (w *crowd) more(t *testing.T, each int) {
	t.Helper()
	w.round++
	w.send(t, each, func(int64) {})
}

// TestUnsafeRecoveryOfSeveralSurvivors loses three of five: the two that are left recover together, each
// with the other's report, and disagree about nothing.
func TestUnsafeRecoveryOfSeveralSurvivors(t *testing.T) {
	c := newTrio(t, "n1", "n2", "n3", "n4", "n5")
	c.healed(t, "n2", 5)
	w := &crowd{cluster: c, app: newApplication(t, c.nodes["n4"].url), http: &http.Client{Timeout: 10 * time.Second}}
	w.open(t, 3, 12)
	w.send(t, 10, func(int64) {})
	for _, n := range c.names {
		c.nodes[n].kill()
	}
	c.lose(t, "n1", "n2", "n3")
	recoverIn := func(n string, more ...string) (int, string) {
		return c.offline(t, append([]string{"cluster", "unsafe-recover", "--data-dir", n, "--dead", "n1,n2,n3", "--yes", "--json"}, more...)...)
	}
	if code, said := recoverIn("n4"); code != 1 || !strings.Contains(said, "report of a surviving node is missing") {
		t.Fatalf("without the report of n5: exit %d\n%s", code, said)
	}
	for _, n := range []string{"n4", "n5"} {
		c.parley(t, "cluster", "unsafe-recover", "--data-dir", n, "--write-report", n+".json")
	}
	recovered := 0
	for n, other := range map[string]string{"n4": "n5.json", "n5": "n4.json"} {
		code, said := recoverIn(n, "--report", other)
		if code != 0 {
			t.Fatalf("%s: exit %d\n%s", n, code, said)
		}
		var told struct {
			Shards int `json:"recovered_shards"`
		}
		if err := json.Unmarshal([]byte(said[strings.Index(said, "{"):]), &told); err != nil {
			t.Fatal(err)
		}
		recovered += told.Shards
	}
	t.Logf("%d shards were recovered", recovered)
	c.run(t, "n4", "")
	c.run(t, "n5", c.ports["n4"][1])
	c.until(t, "two nodes without what is lost for good", func(ctx context.Context) bool {
		s, err := c.status(ctx, "n5")
		return err == nil && len(s.Nodes) == 2
	})
}
