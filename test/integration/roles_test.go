//go:build integration

package integration

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRoles runs three nodes that only keep data and two that only serve clients: replicas are on
// the three alone, clients chat through the two, and are told to go elsewhere by the others.
func TestRoles(t *testing.T) {
	c := newFleet(t, map[string][]string{
		"n1": {"--roles", "shards"}, "n2": {"--roles", "shards"}, "n3": {"--roles", "shards"},
		"e1": {"--roles", "edge"}, "e2": {"--roles=edge"},
	}, "n1", "n2", "n3", "e1", "e2")
	c.healed(t, "e1", 5)
	var s clusterStatus
	c.until(t, "a status with all leaders", func(ctx context.Context) bool {
		var err error
		s, err = c.status(ctx, "e2")
		return err == nil && s.Leaderless == 0
	})
	for _, n := range s.Nodes {
		want := []string{"shards"}
		if strings.HasPrefix(n.Name, "e") {
			want = []string{"edge"}
		}
		if !slices.Equal(n.Roles, want) || (n.Holds > 0) != (want[0] == "shards") {
			t.Errorf("%s: %+v", n.Name, n)
		}
	}
	w := &crowd{cluster: c, app: newApplication(t, c.nodes["e1"].url), http: &http.Client{Timeout: 10 * time.Second}, nodes: []string{"e1", "e2"}}
	w.open(t, 3, 12)
	w.send(t, 20, func(int64) {})
	for _, n := range w.nodes {
		w.check(t, n)
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/v1/users": 421, "/v1/realtime": 421, "/": 421} {
		answer, err := http.Get(c.nodes["n2"].url + path)
		if err != nil {
			t.Fatal(err)
		}
		if err := answer.Body.Close(); err != nil || answer.StatusCode != want {
			t.Errorf("a node without an edge answers %d to %s, want %d (%v)", answer.StatusCode, path, want, err)
		}
	}
	if out, err := c.cli(context.Background(), "n3", "node", "remove", "e2", "--yes"); err != nil {
		t.Fatalf("remove an edge: %v %s", err, out)
	}
	for name, p := range c.nodes {
		if code := p.terminate(); code != 0 && name != "e2" {
			t.Errorf("%s: SIGTERM ended with exit code %d:\n%s", name, code, p.output)
		}
	}
}

// TestAnEdgeFoundsNothing: with an empty directory and nobody to join it ends, and says why.
func TestAnEdgeFoundsNothing(t *testing.T) {
	c := &trio{dir: t.TempDir(), names: []string{"e1"}, ports: map[string][4]string{"e1": {"127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"}},
		nodes: map[string]*process{}, flags: map[string][]string{"e1": {"--roles", "edge"}}}
	c.run(t, "e1", "")
	p := c.nodes["e1"]
	if err := p.cmd.Wait(); err == nil || !strings.Contains(p.output.String(), "let it join one") {
		t.Errorf("ended with %v and said:\n%s", err, p.output)
	}
}
