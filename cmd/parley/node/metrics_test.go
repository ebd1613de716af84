package node

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Where operators look: what they are told of metrics, and what is made from them.
const (
	metricsPage = "../../../docs/operate/metrics.md"
	alertsPage  = "../../../docs/operate/alerts.md"
	alertRules  = "../../../deploy/prometheus/alerts.yml"
	dashboards  = "../../../deploy/grafana/*.json"
)

const ownPrefix = "parley_"

// kindUnknown is that of a vector of which nothing has happened yet.
const kindUnknown = ""

// metric is one name that a node serves, or that a page describes.
type metric struct {
	kind   string
	labels string // sorted, with commas
}

// served are the metrics of a node with everything it can have, by name. It asks the collectors and not the
// page at /metrics, which leaves out vectors of which nothing has happened yet.
func served(t *testing.T) map[string]metric {
	t.Helper()
	o := options(t, t.TempDir())
	o.Settings.NodeName, o.Settings.CertsDir = "n1", protected(t, "n1")
	n := open(t, o)
	defer closeNode(t, n)
	found := described(n.metrics)
	families, err := n.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		m := found[f.GetName()]
		m.kind = strings.ToLower(f.GetType().String())
		found[f.GetName()] = m
	}
	return found
}

// descriptor is how client_golang prints a Desc, whose parts it does not give out.
var (
	descriptor = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: ".*", (?:unit: ".*", )?constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)
	constLabel = regexp.MustCompile(`(\w+)="`)
)

func described(r *prometheus.Registry) map[string]metric {
	descriptions := make(chan *prometheus.Desc)
	go func() {
		r.Describe(descriptions)
		close(descriptions)
	}()
	found := map[string]metric{}
	for d := range descriptions {
		parts := descriptor.FindStringSubmatch(d.String())
		if parts == nil {
			continue // of the Go runtime, which describes some with a pattern
		}
		var labels []string
		for _, l := range constLabel.FindAllStringSubmatch(parts[2], -1) {
			labels = append(labels, l[1])
		}
		if parts[3] != "" {
			labels = append(labels, strings.Split(parts[3], ",")...)
		}
		slices.Sort(labels)
		found[parts[1]] = metric{kindUnknown, strings.Join(labels, ", ")}
	}
	return found
}

// counted is what an alert looks for growth in: a counter, with or without a label that it wants.
var counted = regexp.MustCompile(`increase\((parley_\w+(?:\{[^}]*\})?)\[`)

// TestWhatAlertsCountIsThereFromTheStart: Prometheus sees no increase in a counter that appears with its first
// event, so that an alert would miss this.
func TestWhatAlertsCountIsThereFromTheStart(t *testing.T) {
	n := open(t, options(t, t.TempDir()))
	defer closeNode(t, n)
	families, err := n.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			there[f.GetName()] = true
			for _, l := range m.GetLabel() {
				there[fmt.Sprintf("%s{%s=%q}", f.GetName(), l.GetName(), l.GetValue())] = true
			}
		}
	}
	alerts := counted.FindAllStringSubmatch(read(t, alertRules), -1)
	if len(alerts) < 5 {
		t.Fatalf("only %d alerts found that look for growth", len(alerts))
	}
	for _, a := range alerts {
		if !there[a[1]] {
			t.Errorf("%s is not served before its first event", a[1])
		}
	}
}

// row is one of the tables of metricsPage: name, type, unit, labels, meaning.
var row = regexp.MustCompile("(?m)^\\| `(parley_\\w+)` \\| (\\w+) \\| ([^|]*) \\| ([^|]*) \\| (.*) \\|$")

func TestEveryMetricIsDescribed(t *testing.T) {
	have := served(t)
	page := map[string]metric{}
	for _, r := range row.FindAllStringSubmatch(read(t, metricsPage), -1) {
		if _, twice := page[r[1]]; twice {
			t.Errorf("%s is described twice", r[1])
		}
		if strings.TrimSpace(r[3]) == "" || strings.TrimSpace(r[5]) == "" {
			t.Errorf("%s has no unit, or no meaning", r[1])
		}
		labels := strings.Split(strings.NewReplacer("`", "", " ", "").Replace(r[4]), ",")
		slices.Sort(labels)
		page[r[1]] = metric{r[2], strings.Join(labels, ", ")}
	}
	for _, name := range slices.Sorted(maps.Keys(have)) {
		m := have[name]
		told, ok := page[name]
		switch {
		case !strings.HasPrefix(name, ownPrefix):
		case !ok:
			t.Errorf("%s (%s, labels %q) is served, but docs/operate/metrics.md does not describe it", name, m.kind, m.labels)
		case m.kind != kindUnknown && m.kind != told.kind:
			t.Errorf("%s is a %s, described as a %s", name, m.kind, told.kind)
		case strings.HasSuffix(name, "_total") && told.kind != "counter":
			t.Errorf("%s is a counter by its name, described as a %s", name, told.kind)
		case m.labels != told.labels:
			t.Errorf("%s has the labels %q, described are %q", name, m.labels, told.labels)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(page)) {
		if _, ok := have[name]; !ok {
			t.Errorf("%s is described, but no node serves it", name)
		}
	}
}

// A query names metrics, and may choose among them by label.
var (
	queried  = regexp.MustCompile(`\b((?:parley|process|go)_[a-z0-9_]+)\b(?:\{([^}]*)\})?`)
	selected = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"`)
)

// checkQuery finds every metric of a query among those that are served, with the labels it chooses by.
func checkQuery(t *testing.T, where, query string, have map[string]metric) (found int) {
	t.Helper()
	for _, q := range queried.FindAllStringSubmatch(query, -1) {
		name, m := q[1], have[q[1]]
		_, ok := have[name]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if trimmed, is := strings.CutSuffix(name, suffix); !ok && is {
				m, ok = have[trimmed]
				ok = ok && (m.kind == "histogram" || m.kind == kindUnknown)
			}
		}
		if !ok {
			t.Errorf("%s asks for %s, which no node serves", where, name)
			continue
		}
		found++
		known := append(strings.Split(m.labels, ", "), "job", "instance", "le")
		for _, l := range selected.FindAllStringSubmatch(q[2], -1) {
			if !slices.Contains(known, l[1]) {
				t.Errorf("%s chooses %s by the label %s, which it does not have", where, name, l[1])
			}
		}
	}
	return found
}

func TestDashboardsAskForWhatIsServed(t *testing.T) {
	have := served(t)
	files, err := filepath.Glob(dashboards)
	if err != nil || len(files) == 0 {
		t.Fatal("no dashboard", err)
	}
	for _, file := range files {
		var board any
		if err := json.Unmarshal([]byte(read(t, file)), &board); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		found := 0
		eachQuery(board, "", func(panel, query string) {
			found += checkQuery(t, filepath.Base(file)+": "+panel, query, have)
		})
		if found < 20 {
			t.Errorf("%s: only %d metrics found: the test would check nothing", file, found)
		}
	}
}

// eachQuery visits the queries of a dashboard: every "expr", and the title of the panel it stands in.
func eachQuery(v any, title string, visit func(title, query string)) {
	switch v := v.(type) {
	case map[string]any:
		if own, ok := v["title"].(string); ok {
			title = own
		}
		if query, ok := v["expr"].(string); ok {
			visit(title, query)
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			eachQuery(v[name], title, visit)
		}
	case []any:
		for _, one := range v {
			eachQuery(one, title, visit)
		}
	}
}

// alert is one rule's name and all its text up to the next rule.
var alert = regexp.MustCompile(`(?m)^ *- alert: (\w+)$`)

func TestEveryAlertHasItsMetricsAndItsPage(t *testing.T) {
	have, rules, page := served(t), read(t, alertRules), read(t, alertsPage)
	starts := alert.FindAllStringSubmatchIndex(rules, -1)
	if len(starts) < 13 {
		t.Fatalf("only %d alerts found", len(starts))
	}
	named := map[string]bool{}
	for i, s := range starts {
		name, end := rules[s[2]:s[3]], len(rules)
		if i+1 < len(starts) {
			end = starts[i+1][0]
		}
		named[name] = true
		body := rules[s[1]:end]
		if checkQuery(t, name, body, have) == 0 && !strings.Contains(body, "up{") {
			t.Errorf("%s asks for no metric", name)
		}
		if !strings.Contains(body, "runbook: docs/operate/alerts.md#"+strings.ToLower(name)+"\n") {
			t.Errorf("%s does not name its section of docs/operate/alerts.md", name)
		}
		if !strings.Contains(page, "\n## "+name+"\n") {
			t.Errorf("docs/operate/alerts.md has no section %s", name)
		}
	}
	for _, h := range regexp.MustCompile(`(?m)^## (Parley\w+)$`).FindAllStringSubmatch(page, -1) {
		if !named[h[1]] {
			t.Errorf("docs/operate/alerts.md has a section %s, but there is no such alert", h[1])
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDiskAndCertificateAreMeasured: what two alerts subtract and divide are the real numbers.
func TestDiskAndCertificateAreMeasured(t *testing.T) {
	o := options(t, t.TempDir())
	o.Settings.NodeName, o.Settings.CertsDir = "n1", protected(t, "n1")
	n := open(t, o)
	defer closeNode(t, n)
	families, err := n.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		if len(f.Metric) == 1 && f.Metric[0].Gauge != nil {
			values[f.GetName()] = f.Metric[0].Gauge.GetValue()
		}
	}
	free, size := values["parley_persistence_volume_free_bytes"], values["parley_persistence_volume_size_bytes"]
	if free <= 0 || size < free {
		t.Errorf("%g bytes of %g are free", free, size)
	}
	if got := values["parley_certs_expiry_timestamp_seconds"]; got != float64(n.certs.Expires().Unix()) {
		t.Errorf("the certificate ends at %g, told is %g", float64(n.certs.Expires().Unix()), got)
	}
}
