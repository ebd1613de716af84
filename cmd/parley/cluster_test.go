package main

import (
	"encoding/json"
	"strings"
	"testing"

	"parley/cmd/parley/settings"
	"parley/edge/admin"
)

// TestClusterCommands walks the operator's commands on a node that is alone.
func TestClusterCommands(t *testing.T) {
	s := settings.Default()
	s.APIKey, s.APISecret, s.NodeName = "k", "s", "n1"
	n := startNode(t, t.TempDir(), s)
	defer stopNode(t, n)
	sh := newShell(t, "PARLEY_URL="+n.Addresses().HTTPURL(), "PARLEY_API_KEY=k", "PARLEY_API_SECRET=s")

	var status admin.Status
	if err := json.Unmarshal([]byte(sh.ok("cluster", "status", "--json")), &status); err != nil {
		t.Fatal(err)
	}
	if len(status.Nodes) != 1 || status.Nodes[0].Name != "n1" || status.Nodes[0].State != "up" || status.UnderReplicatedShards != 0 ||
		status.Shards != 65 || status.Nodes[0].Leads != 65 || status.FailuresTolerated != 0 || len(status.Operations) != 0 {
		t.Errorf("%+v", status)
	}
	match(t, sh.ok("cluster", "status"), `(?s)Cluster .*n1 +\| up .*65 shards, 0 under-replicated, 0 without a leader; no failure is tolerated.*Nothing is under way.*`)
	match(t, sh.ok("cluster", "rebalance", "--yes"), "Done: rebalance\n")

	for _, c := range []struct {
		line []string
		exit int
		says string
	}{
		{[]string{"node", "remove", "n1", "--yes"}, exitFailed, "last node"},
		{[]string{"node", "drain", "nobody", "--yes"}, exitFailed, "no member"},
		{[]string{"node", "drain", "n1"}, exitUsage, "--yes"},
		{[]string{"node", "remove", "n1"}, exitUsage, "standard input is no terminal"},
		{[]string{"cluster", "rebalance"}, exitUsage, "--yes"},
		{[]string{"node", "drain"}, exitUsage, "NAME"},
		{[]string{"node", "explode", "n1"}, exitUsage, "unknown command"},
		{[]string{"cluster", "status", "--api-secret", "wrong"}, exitRefused, "wrong"},
	} {
		if code, _, errOut := sh.run(c.line...); code != c.exit || !strings.Contains(errOut, c.says) {
			t.Errorf("%v: exit %d, %s", c.line, code, errOut)
		}
	}

	sh.answer = "no\n"
	if code, _, errOut := sh.run("node", "drain", "n1"); code != exitFailed || !strings.Contains(errOut, "leads 65 shards and holds 65.\nGo on? [y/N]") ||
		!strings.Contains(errOut, "not confirmed") {
		t.Errorf("after no: exit %d, %s", code, errOut)
	}
	sh.answer = ""

	// Nobody can take the leaderships over: to drain begins, and taking back ends it.
	match(t, sh.ok("node", "drain", "n1", "--yes", "--no-wait"), "Begun: drain n1.*\n")
	match(t, sh.ok("node", "undrain", "n1", "--yes"), "Done: undrain n1\n")
}
