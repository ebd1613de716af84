package node

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"parley/cluster/certs"
)

// protected gives the directory of a node's certificates, of a fresh authority.
func protected(t *testing.T, name string) string {
	t.Helper()
	authority, dir := t.TempDir(), filepath.Join(t.TempDir(), name)
	if err := certs.CreateAuthority(authority, "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := certs.Issue(authority, dir, name, time.Now()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestANodeServesWithCertificates(t *testing.T) {
	o := options(t, t.TempDir())
	o.Settings.NodeName, o.Settings.CertsDir = "n1", protected(t, "n1")
	n := open(t, o)
	if n.certs == nil || n.certs.Node() != "n1" {
		t.Error("the node does not use its certificate")
	}
	closeNode(t, n)
}

func TestTheCertificateOfAnotherNodeIsRefused(t *testing.T) {
	o := options(t, t.TempDir())
	o.Settings.NodeName, o.Settings.CertsDir = "n1", protected(t, "n2")
	if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "--node-name n2") {
		t.Errorf("n1 started with the certificate of n2: %v", err)
	}
}
