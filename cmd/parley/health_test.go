package main

import (
	"strings"
	"testing"

	"parley/cmd/parley/settings"
)

// TestHealth asks a node that runs, one that is told the wrong address, and nobody.
func TestHealth(t *testing.T) {
	s := settings.Default()
	s.AdminAddr = anyPort
	n := startNode(t, t.TempDir(), s)
	http, admin := n.Addresses().HTTP, n.Addresses().Admin
	for _, args := range [][]string{
		{"health", "--http-addr", http}, {"health", "--http-addr", "127.0.0.1:1", "--admin-addr", admin}, {"health", "--live", "--http-addr", http},
	} {
		want := "ready\n"
		if args[1] == "--live" {
			want = "alive\n"
		}
		if out := newShell(t).ok(args...); out != want {
			t.Errorf("%v: %q", args, out)
		}
	}
	port := http[strings.LastIndex(http, ":"):]
	if out := newShell(t, "PARLEY_HTTP_ADDR=0.0.0.0"+port, "PARLEY_ADVERTISE_HOST=127.0.0.1").ok("health", "--json"); !strings.Contains(out, `"health": "ready"`) {
		t.Errorf("a node behind a wildcard: %q", out)
	}
	stopNode(t, n)
	for _, c := range []struct {
		code int
		args []string
	}{
		{exitFailed, []string{"health", "--http-addr", "127.0.0.1:1"}},
		{exitUsage, []string{"health", "--http-addr", "127.0.0.1:0"}},
		{exitUsage, []string{"health", "now"}},
	} {
		if code, out, errOut := newShell(t).run(c.args...); code != c.code || out != "" {
			t.Errorf("%v: exit %d, %q, %q", c.args, code, out, errOut)
		}
	}
}

func TestNearest(t *testing.T) {
	for given, want := range map[string]string{
		"127.0.0.1:4280": "127.0.0.1:4280", "0.0.0.0:4289": "127.0.0.1:4289", ":4289": "127.0.0.1:4289", "[::]:4289": "[::1]:4289",
		"10.1.2.3:80": "10.1.2.3:80", "localhost:1": "localhost:1",
	} {
		if got, err := nearest(given); got != want || err != nil {
			t.Errorf("%s: %s, %v", given, got, err)
		}
	}
}
