package certs

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

// authority makes an authority and the directories of its nodes.
type authority struct {
	t   *testing.T
	dir string
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	dir := t.TempDir()
	if err := CreateAuthority(dir, "test", noon); err != nil {
		t.Fatal(err)
	}
	return authority{t, dir}
}

func (a authority) issue(node string, when time.Time) Files {
	a.t.Helper()
	dir := filepath.Join(a.t.TempDir(), "node")
	if err := Issue(a.dir, dir, node, when); err != nil {
		a.t.Fatal(err)
	}
	return FilesIn(dir)
}

func open(t *testing.T, f Files, now time.Time) *Source {
	t.Helper()
	s, err := Open(f, at(now))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// meet connects client to server and says what each end saw: the peer's node, or an error.
func meet(t *testing.T, server, client *tls.Config) (atServer, atClient string, err error) {
	t.Helper()
	a, b := connected(t)
	s, c := tls.Server(a, server), tls.Client(b, client)
	var g errgroup.Group
	g.Go(func() error {
		defer a.Close()
		if err := s.Handshake(); err != nil {
			return err
		}
		if len(s.ConnectionState().VerifiedChains) == 0 {
			return errors.New("the server's state shows no verified chain")
		}
		node, err := NodeOf(s.ConnectionState().PeerCertificates[0])
		if err != nil {
			return err
		}
		atServer = node
		_, err = s.Write([]byte("x")) // in TLS 1.3 a client is refused after its handshake
		return err
	})
	g.Go(func() error {
		defer b.Close()
		if err := c.Handshake(); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			return err
		}
		node, err := NodeOf(c.ConnectionState().PeerCertificates[0])
		atClient = node
		return err
	})
	err = g.Wait()
	return atServer, atClient, err
}

// connected gives both ends of a TCP connection. It buffers, which net.Pipe does not: there, two
// ends that refuse each other at once wait for each other for ever.
func connected(t *testing.T) (accepted, dialled net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if dialled, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if accepted, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	limit := time.Now().Add(time.Minute) // a bound, so that a broken handshake ends
	if err := errors.Join(accepted.SetDeadline(limit), dialled.SetDeadline(limit)); err != nil {
		t.Fatal(err)
	}
	return accepted, dialled
}

func TestNodesOfOneAuthorityKnowEachOther(t *testing.T) {
	ca := newAuthority(t)
	one, two := open(t, ca.issue("n1", noon), noon), open(t, ca.issue("n2", noon), noon)
	atServer, atClient, err := meet(t, one.Config(), two.Config())
	if err != nil {
		t.Fatal(err)
	}
	if atServer != "n2" || atClient != "n1" || one.Node() != "n1" {
		t.Errorf("the server saw %q, the client %q", atServer, atClient)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	n1 := open(t, ca.issue("n1", noon), noon)
	stranger := open(t, foreign.issue("n2", noon), noon)
	later := noon.Add(nodeLifetime + time.Hour)
	expired, afterwards := open(t, ca.issue("n3", noon), noon), open(t, ca.issue("n1", later), later)
	nameless := n1.Config()
	nameless.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
	old := n1.Config()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for _, c := range []struct {
		name           string
		server, client *tls.Config
	}{
		{"client of a foreign authority", n1.Config(), &tls.Config{InsecureSkipVerify: true, GetClientCertificate: stranger.Config().GetClientCertificate}},
		{"server of a foreign authority", stranger.Config(), n1.Config()},
		{"expired client", afterwards.Config(), &tls.Config{InsecureSkipVerify: true, GetClientCertificate: expired.Config().GetClientCertificate}},
		{"no certificate", n1.Config(), nameless},
		{"old TLS", n1.Config(), old},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := meet(t, c.server, c.client); err == nil {
				t.Error("they met")
			}
		})
	}
}

func TestReloadTakesNewFilesAndKeepsOldOnesInsteadOfBadOnes(t *testing.T) {
	ca := newAuthority(t)
	f := ca.issue("n1", noon)
	s := open(t, f, noon)
	before := s.Expires()

	renewed := ca.issue("n1", noon.Add(time.Minute))
	copyFile(t, renewed.Key, f.Key)
	copyFile(t, renewed.Cert, f.Cert)
	if err := s.Reload(); err != nil || !s.Expires().After(before) {
		t.Fatalf("renewed files were not taken: %v", err)
	}

	after := s.Expires()
	other := ca.issue("n9", noon)
	copyFile(t, other.Key, f.Key)
	copyFile(t, other.Cert, f.Cert)
	if err := s.Reload(); err == nil || !strings.Contains(err.Error(), "n9") {
		t.Errorf("the certificate of another node: %v", err)
	}
	if err := os.WriteFile(f.Cert, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err == nil || s.Expires() != after || s.Node() != "n1" {
		t.Errorf("a damaged file: %v, node %s", err, s.Node())
	}
}

func TestNothingIsOverwrittenAndKeysArePrivate(t *testing.T) {
	ca := newAuthority(t)
	if err := CreateAuthority(ca.dir, "again", noon); !errors.Is(err, ErrExists) {
		t.Errorf("a second authority in one directory: %v", err)
	}
	f := ca.issue("n1", noon)
	if err := Issue(ca.dir, filepath.Dir(f.Cert), "n1", noon); !errors.Is(err, ErrExists) {
		t.Errorf("a second certificate in one directory: %v", err)
	}
	for _, key := range []string{filepath.Join(ca.dir, AuthorityKey), f.Key} {
		i, err := os.Stat(key)
		if err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", key, i.Mode(), err)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestEveryNodeGetsTheSameGossipKey(t *testing.T) {
	ca := newAuthority(t)
	var found [][]byte
	for _, node := range []string{"n1", "n2"} {
		read, err := GossipKeys(filepath.Dir(ca.issue(node, noon).Cert))
		if err != nil || len(read) != 1 {
			t.Fatalf("%s: %d keys, %v", node, len(read), err)
		}
		found = append(found, read[0])
	}
	if !bytes.Equal(found[0], found[1]) {
		t.Error("two nodes of one authority have different keys")
	}
	for _, bad := range []string{"", "short", "AAAA\n"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, GossipKeyFile), []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := GossipKeys(dir); err == nil {
			t.Errorf("%q was taken for a key", bad)
		}
	}
}

// TestGossipKeyRotation: three steps in their order, each of which a node can read, and no other.
func TestGossipKeyRotation(t *testing.T) {
	ca := newAuthority(t)
	first, err := GossipKeys(ca.dir)
	if err != nil {
		t.Fatal(err)
	}
	refused := func(steps ...Rotation) {
		t.Helper()
		for _, s := range steps {
			if _, err := RotateGossipKey(ca.dir, s); !errors.Is(err, ErrRotation) {
				t.Errorf("%s now: %v", s, err)
			}
		}
	}
	step := func(s Rotation) [][]byte {
		t.Helper()
		keys, err := RotateGossipKey(ca.dir, s)
		if err != nil {
			t.Fatal(err)
		}
		read, err := GossipKeys(filepath.Dir(ca.issue("n1", noon).Cert)) // what a node gets now
		if err != nil || !slices.EqualFunc(read, keys, bytes.Equal) {
			t.Fatalf("after %s a node reads %d keys, %v", s, len(read), err)
		}
		return keys
	}
	refused(UseGossipKey, DropGossipKey, "bogus")
	two := step(AddGossipKey)
	if len(two) != 2 || !bytes.Equal(two[0], first[0]) || bytes.Equal(two[1], first[0]) {
		t.Error("the new key is not behind the old one")
	}
	refused(AddGossipKey)
	if swapped := step(UseGossipKey); !bytes.Equal(swapped[0], two[1]) || !bytes.Equal(swapped[1], two[0]) {
		t.Error("the new key is not first")
	}
	if last := step(DropGossipKey); len(last) != 1 || !bytes.Equal(last[0], two[1]) {
		t.Error("the old key is still there")
	}
	if f := Fingerprint(first[0]); len(f) != 8 || f == Fingerprint(two[1]) {
		t.Errorf("fingerprint %q", f)
	}
}
