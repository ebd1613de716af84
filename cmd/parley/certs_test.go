package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The commands of docs/configuration.md, as printed there, and what goes wrong with them.
func TestCerts(t *testing.T) {
	s := newShell(t)
	unprotected := []string{"config", "check", "--gossip-addr", "0.0.0.0:1", "--rpc-addr", "0.0.0.0:2", "--raft-addr", "0.0.0.0:3", "--advertise-host", "n1.example"}
	for _, c := range []struct {
		args []string
		exit int
		says string
	}{
		{[]string{"certs", "init", "./authority"}, exitDone, "Authority written to ./authority"},
		{[]string{"certs", "init", "./authority"}, exitFailed, "Nothing was changed"},
		{[]string{"certs", "issue", "n1", "--authority", "./authority", "--out", "./n1"}, exitDone, "--node-name n1 --certs-dir ./n1"},
		{[]string{"certs", "issue", "n1", "--authority", "./authority", "--out", "./n1"}, exitFailed, "Nothing was changed"},
		{[]string{"certs", "issue", "n2", "--authority", "./none"}, exitFailed, "ca.crt"},
		{[]string{"certs", "issue"}, exitUsage, "NODE"},
		{[]string{"certs", "issue", "../x", "--authority", "./authority"}, exitUsage, `NODE "../x": only letters`},
		{[]string{"certs", "issue", "..", "--authority", "./authority"}, exitUsage, "at least one letter"},
		{[]string{"certs", "issue", "", "--authority", "./authority"}, exitUsage, "at least one letter"},
		{[]string{"certs", "bogus"}, exitUsage, "bogus"},
		{[]string{"certs", "rotate-gossip", "use"}, exitFailed, "not the next step"},
		{[]string{"certs", "rotate-gossip", "bogus"}, exitUsage, "add, use and drop"},
		{[]string{"certs", "rotate-gossip", "add", "./n1"}, exitDone, "2 known"},
		{[]string{"certs", "rotate-gossip", "use", "./n1"}, exitDone, "rotate-gossip drop"},
		{[]string{"certs", "rotate-gossip", "drop", "./n1"}, exitDone, "complete"},
		{append(unprotected, "--certs-dir", filepath.Join(s.dir, "n1")), exitDone, ""},
		{unprotected, exitUsage, "certs-dir"},
	} {
		exit, out, errOut := s.run(c.args...)
		if exit != c.exit || !strings.Contains(out+errOut, c.says) {
			t.Errorf("parley %v: exit %d, out %q, err %q; want exit %d and %q", c.args, exit, out, errOut, c.exit, c.says)
		}
	}
	for _, name := range []string{"ca.crt", "gossip.key", "node.crt", "node.key"} {
		if _, err := os.Stat(filepath.Join(s.dir, "n1", name)); err != nil {
			t.Error(err)
		}
	}
}
