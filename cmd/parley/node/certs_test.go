package node

import (
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

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

// TestNothingIsPlainBetweenNodes knocks at each door for nodes as one without a certificate would,
// and as one that has it.
func TestNothingIsPlainBetweenNodes(t *testing.T) {
	o := options(t, t.TempDir())
	o.Settings.NodeName, o.Settings.CertsDir = "n1", protected(t, "n1")
	n := open(t, o)
	defer closeNode(t, n)
	for door, address := range map[string]string{"raft": n.Addresses().Raft, "rpc": n.Addresses().RPC} {
		for with, c := range map[string]struct {
			config *tls.Config
			let    bool
		}{
			"the certificate": {n.certs.Config(), true},
			"none":            {&tls.Config{InsecureSkipVerify: true}, false},
		} {
			if err := knock(t, address, c.config); (err == nil) != c.let {
				t.Errorf("%s with %s: %v", door, with, err)
			}
		}
	}
	if err := gossip(t, n.Addresses().Gossip); err == nil || !strings.Contains(err.Error(), "encrypted") {
		t.Errorf("gossip in plain text: %v", err)
	}
}

// knock gives the reason for which the other side refuses our certificate. It looks at it after
// our handshake, so what it says then matters: something, or nothing until it gives up on us.
func knock(t *testing.T, address string, config *tls.Config) error {
	t.Helper()
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 30 * time.Second}, "tcp", address, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err = conn.Read(make([]byte, 1)); err != nil && strings.Contains(err.Error(), "certificate") {
		return err
	}
	return nil
}

// gossip joins as a stranger who has no key.
func gossip(t *testing.T, address string) error {
	t.Helper()
	config := memberlist.DefaultLANConfig()
	config.Name, config.BindAddr, config.BindPort, config.LogOutput = "stranger", "127.0.0.1", 0, io.Discard
	list, err := memberlist.Create(config)
	if err != nil {
		t.Fatal(err)
	}
	_, joined := list.Join([]string{address})
	if err := list.Shutdown(); err != nil {
		t.Error(err)
	}
	return joined
}
