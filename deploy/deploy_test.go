//go:build deploy

package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// binary is what `make deploy-check` has built.
const binary = "../bin/parley"

// run runs a tool, which must be installed, and fails with what it printed.
func run(t *testing.T, environ []string, tool string, args ...string) string {
	t.Helper()
	out, err := command(environ, tool, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", tool, strings.Join(args, " "), err, out)
	}
	return out
}

func command(environ []string, tool string, args ...string) (string, error) {
	c := exec.Command(tool, args...)
	c.Env = append(os.Environ(), environ...)
	out, err := c.CombinedOutput()
	return string(out), err
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// write makes a file of the test's own and gives its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAlertsFireAndStayQuiet(t *testing.T) {
	run(t, nil, "promtool", "check", "rules", "prometheus/alerts.yml")
	run(t, nil, "promtool", "check", "config", "--syntax-only", "prometheus/prometheus.yml")
	run(t, nil, "promtool", "test", "rules", "prometheus/alerts_test.yml")
	rules, tests := read(t, "prometheus/alerts.yml"), read(t, "prometheus/alerts_test.yml")
	for line := range strings.Lines(rules) {
		name, is := strings.CutPrefix(strings.TrimSpace(line), "- alert: ")
		if is && !strings.Contains(tests, "alertname: "+name+"\n        exp_alerts:\n") {
			t.Errorf("no test shows %s firing", name)
		}
	}
}

// TestDashboardQueriesParse lets promtool parse every query of the dashboard, as if it were a recording rule.
func TestDashboardQueriesParse(t *testing.T) {
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "grafana/parley.json")), &board); err != nil {
		t.Fatal(err)
	}
	var rules []map[string]string
	ids := map[int]bool{}
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			expr := strings.ReplaceAll(target.Expr, "$__rate_interval", "5m")
			rules = append(rules, map[string]string{"record": fmt.Sprintf("panel_%d:query_%d", p.ID, len(rules)), "expr": expr})
		}
	}
	if len(rules) < 20 {
		t.Fatalf("only %d queries found", len(rules))
	}
	text, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	run(t, nil, "promtool", "check", "rules", write(t, "dashboard.json", string(text))) // JSON is YAML
}

// exposureMax is ten times what systemd-analyze may rate the unit at most: 0 is safe, 100 is not.
const exposureMax = "20"

func TestServiceUnit(t *testing.T) {
	here, err := filepath.Abs(binary)
	if err != nil {
		t.Fatal(err)
	}
	unit := write(t, "parley.service", strings.ReplaceAll(read(t, "systemd/parley.service"), "/usr/local/bin/parley", here))
	if out := run(t, nil, "systemd-analyze", "verify", "--man=no", unit); strings.Contains(out, "parley.service") {
		t.Errorf("systemd does not take all of it:\n%s", out)
	}
	run(t, nil, "systemd-analyze", "security", "--offline=yes", "--threshold="+exposureMax, unit)
	run(t, nil, binary, "config", "check", "--config", "systemd/parley.yaml")
}

// composition is what the tests look at in compose.yaml.
type composition struct {
	Services map[string]struct {
		Environment map[string]string
		Volumes     []string
		Ports       []string
	}
	Volumes map[string]any
}

// TestComposedNodes: the binary takes every node's settings, every node has its own data, name and
// certificate, and only the first one may make a cluster.
func TestComposedNodes(t *testing.T) {
	var c composition
	if err := yaml.Unmarshal([]byte(read(t, "docker/compose.yaml")), &c); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"n1", "n2", "n3"} {
		s := c.Services[name]
		if s.Environment["PARLEY_NODE_NAME"] != name || s.Environment["PARLEY_CERTS_DIR"] != "/certs/"+name || !slices.Contains(s.Volumes, name+":/data") {
			t.Errorf("%s is not itself: %+v", name, s)
		}
		if makes := s.Environment["PARLEY_JOIN"] == "${N1_JOIN:-}"; makes != (name == "n1") {
			t.Errorf("%s joins %q", name, s.Environment["PARLEY_JOIN"])
		}
		var environ []string
		for _, k := range slices.Sorted(maps.Keys(s.Environment)) {
			environ = append(environ, k+"="+strings.ReplaceAll(s.Environment[k], "${N1_JOIN:-}", ""))
		}
		environ = append(environ, "PARLEY_DATA_DIR=/data", "PARLEY_HTTP_ADDR=0.0.0.0:4280", "PARLEY_ADMIN_ADDR=0.0.0.0:4289") // the image's
		known(t, run(t, environ, binary, "config", "check"), name)
		for _, v := range s.Volumes {
			volume, _, _ := strings.Cut(v, ":")
			if _, ok := c.Volumes[volume]; !ok || volume == "authority" {
				t.Errorf("%s mounts %s", name, v)
			}
		}
	}
}

// known fails when config check met a variable that looks like a setting and is none.
func known(t *testing.T, told, where string) {
	t.Helper()
	if strings.Contains(told, "PARLEY_") {
		t.Errorf("%s has a variable that is no setting: %s", where, told)
	}
}
