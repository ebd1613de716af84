package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

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

	// A busy node may be late to say what it leads; then the status is that of nobody.
	var status admin.Status
	await(t, "a status with all leaders", func() bool {
		status = admin.Status{}
		if err := json.Unmarshal([]byte(sh.ok("cluster", "status", "--json")), &status); err != nil {
			t.Fatal(err)
		}
		return status.LeaderlessShards == 0
	})
	if len(status.Nodes) != 1 || status.Nodes[0].Name != "n1" || status.Nodes[0].State != "up" || status.UnderReplicatedShards != 0 ||
		status.Shards != 65 || status.Nodes[0].Leads != 65 || status.FailuresTolerated != 0 || len(status.Operations) != 0 {
		t.Errorf("%+v", status)
	}
	var told string
	await(t, "the same in words", func() bool {
		told = sh.ok("cluster", "status")
		return strings.Contains(told, " 0 without a leader")
	})
	match(t, told, `(?s)Cluster .*n1 +\| up .*65 shards, 0 under-replicated, 0 without a leader; no failure is tolerated.*Nothing is under way.*`)
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
	if _, _, errOut := sh.run("node", "drain", "nobody"); errOut != "Error: no member is called \"nobody\" (members: n1)\n" {
		t.Errorf("what will be done with a node that is not there: %s", errOut)
	}
	if _, _, errOut := sh.run("node", "remove", "n1", "--yes"); strings.Contains(errOut, "parley setup") {
		t.Errorf("the credentials were right: %s", errOut)
	}
	if _, _, errOut := sh.run("cluster", "status", "--api-secret", "wrong"); !strings.Contains(errOut, "parley setup") || strings.Contains(errOut, "keyfile") {
		t.Errorf("a wrong secret: %s", errOut)
	}

	sh.answer = "no\n"
	await(t, "a question that says what the node leads", func() bool {
		code, _, errOut := sh.run("node", "drain", "n1")
		if code != exitFailed || !strings.Contains(errOut, "Go on? [y/N]") || !strings.Contains(errOut, "not confirmed") {
			t.Fatalf("after no: exit %d, %s", code, errOut)
		}
		return strings.Contains(errOut, "leads 65 shards and holds 65.\nGo on?")
	})
	sh.answer = ""

	// Nobody can take the leaderships over: to drain begins, and taking back ends it.
	ready := func() int { return get(t, n.Addresses().HTTPURL()+"/readyz", nil) }
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 3 {
		match(t, sh.ok("node", "drain", "n1", "--yes", "--no-wait"), "Begun: drain n1.*\n")
		for began := time.Now(); ready() == http.StatusOK; <-tick.C {
			if time.Since(began) > time.Minute {
				t.Fatal("the node does not notice that it is drained")
			}
		}
		match(t, sh.ok("node", "undrain", "n1", "--yes"), "Done: undrain n1\n")
		if status := ready(); status != http.StatusOK {
			t.Errorf("taken back, it answers %d", status)
		}
	}
}

// TestWhatIsLeftToDo: no verb is done before everybody can see that it is.
func TestWhatIsLeftToDo(t *testing.T) {
	yes, no := true, false
	of := func(nodes ...admin.Node) *admin.Status { return &admin.Status{Nodes: nodes} }
	late := func(nodes ...admin.Node) *admin.Status { return &admin.Status{Nodes: nodes, LeaderlessShards: 3} }
	for i, c := range []struct {
		verb, want string
		s          *admin.Status
	}{
		{"drain", "2 leaderships to hand over", of(admin.Node{Name: "n1", State: "draining", Leads: 2, Away: &yes})},
		{"drain", "clients to send away", of(admin.Node{Name: "n1", State: "draining", Away: &no})},
		{"drain", "", of(admin.Node{Name: "n1", State: "draining", Away: &yes})},
		{"drain", "", of(admin.Node{Name: "n1", State: "draining"})}, // an older build does not say it
		{"drain", "3 shards of which no leader answers", late(admin.Node{Name: "n1", State: "draining", Live: true})},
		{"drain", "", late(admin.Node{Name: "n1", State: "draining"})}, // it is dead
		{"undrain", "it does not serve clients yet", late(admin.Node{Name: "n1", State: "up", Live: true})},
		{"undrain", "", late(admin.Node{Name: "n1", State: "up", Live: true, Away: &no})},
		{"undrain", "it does not serve clients yet", of(admin.Node{Name: "n1", State: "draining", Away: &yes})},
		{"undrain", "it does not serve clients yet", of(admin.Node{Name: "n1", State: "up", Away: &yes})},
		{"undrain", "", of(admin.Node{Name: "n1", State: "up", Away: &no})},
		{"undrain", "", of(admin.Node{Name: "n1", State: "up"})},
		{"remove", "1 replica to move", of(admin.Node{Name: "n1", State: "removing", Holds: 1})},
		{"remove", "its membership to end", of(admin.Node{Name: "n1", State: "removing"})},
		{"remove", "", of(admin.Node{Name: "n2", State: "up"})},
	} {
		for _, v := range nodeVerbs() {
			if got := v.remaining(c.s, "n1"); v.name == c.verb && got != c.want {
				t.Errorf("%d, %s: %q, want %q", i, c.verb, got, c.want)
			}
		}
	}
}

// TestStatusTellsOfFullDisks: which nodes have one, and how many shards wait for one with space; and nothing of
// that when there is none.
func TestStatusTellsOfFullDisks(t *testing.T) {
	s := &admin.Status{Nodes: []admin.Node{{Name: "n1", State: "up", Live: true, DiskFull: true}, {Name: "n2", State: "draining", Live: true}}, WaitingForSpace: 3}
	var full, ample strings.Builder
	if err := printStatus(&full, s); err != nil {
		t.Fatal(err)
	}
	match(t, full.String(), `(?s).*n1 +\| up, disk full .*n2 +\| draining .*\n3 shards lack a replica because every disk that could take it is full\.\n.*`)
	s.Nodes[0].DiskFull, s.WaitingForSpace = false, 0
	if err := printStatus(&ample, s); err != nil {
		t.Fatal(err)
	}
	if text := ample.String(); strings.Contains(text, "full") || strings.Contains(text, "lack") {
		t.Errorf("with space on all disks:\n%s", text)
	}
}

// TestStatusTellsOfNodesThatAreAway: also of one that was to be drained or removed, and that three nodes of which
// one is away are not too few.
func TestStatusTellsOfNodesThatAreAway(t *testing.T) {
	keeps := func(name, state string, live bool) admin.Node {
		return admin.Node{Name: name, State: state, Live: live, Roles: []string{"edge", "shards"}}
	}
	for want, s := range map[string]*admin.Status{
		`(?s).*n2 +\| draining, down .*; no further failure is tolerated\n.*`: {Nodes: []admin.Node{
			keeps("n1", "up", true), keeps("n2", "draining", false), keeps("n3", "up", true)}},
		`(?s).*n2 +\| draining +\|.*n3 +\| down .*; no further failure is tolerated\n.*`: {Nodes: []admin.Node{
			keeps("n1", "up", true), keeps("n2", "draining", true), keeps("n3", "down", false)}},
		`(?s).*n2 +\| removing, down .*; no failure is tolerated: with three nodes or more, one would be\n.*`: {Nodes: []admin.Node{
			keeps("n1", "up", true), keeps("n2", "removing", false), {Name: "n3", State: "up", Live: true, Roles: []string{"edge"}}}},
		`(?s).*; 1 node may fail\n.*`: {Nodes: []admin.Node{keeps("n1", "up", true)}, FailuresTolerated: 1},
	} {
		var told strings.Builder
		if err := printStatus(&told, s); err != nil {
			t.Fatal(err)
		}
		match(t, told.String(), want)
	}
}
