package node

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
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

// TestARenewedCertificateIsTold: whoever has put new files in place learns from the log that they are in use.
func TestARenewedCertificateIsTold(t *testing.T) {
	authority, dir, next := t.TempDir(), filepath.Join(t.TempDir(), "n1"), filepath.Join(t.TempDir(), "next")
	for _, err := range []error{
		certs.CreateAuthority(authority, "test", time.Now()),
		certs.Issue(authority, dir, "n1", time.Now().Add(-time.Hour)),
		certs.Issue(authority, next, "n1", time.Now()),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	reload := make(chan os.Signal, 1)
	o := options(t, t.TempDir())
	o.Settings.NodeName, o.Settings.CertsDir, o.Reload = "n1", dir, reload
	told := &listener{wanted: "certificates were renewed", heard: make(chan struct{})}
	o.Logger = slog.New(slog.NewTextHandler(told, nil))
	n := open(t, o)
	before := n.certs.Expires()
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for _, name := range []string{"node.key", "node.crt"} {
		if err := os.Rename(filepath.Join(next, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	reload <- syscall.SIGHUP
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	select {
	case <-told.heard:
	case <-late.C:
		t.Error("nothing is told")
	}
	stop()
	running.Wait()
	if got := n.certs.Expires(); !got.After(before) {
		t.Errorf("in use until %s, before until %s", got, before)
	}
}

// listener waits for a line of a log.
type listener struct {
	wanted string
	once   sync.Once
	heard  chan struct{} // closed when the line has come
}

func (l *listener) Write(line []byte) (int, error) {
	if strings.Contains(string(line), l.wanted) {
		l.once.Do(func() { close(l.heard) })
	}
	return len(line), nil
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
	config.TCPTimeout = 30 * time.Second
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
