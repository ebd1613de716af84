package transport

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"parley/cluster/certs"
)

func nothing(io.Writer) error { return nil }

// TestTCPRefusesAnOlderLife shows that a process that was replaced, or a copy of its disk, is not
// heard any more; and that an empty disk under the same name is, whatever its clock shows.
func TestTCPRefusesAnOlderLife(t *testing.T) {
	addresses := book{}
	b, heard := listen(t, "c", "b", addresses)
	defer b.Close()
	addresses["b"] = b.Addr().String()
	for _, life := range []struct {
		store       string
		incarnation uint64
		refused     bool
	}{
		{"first", 5, false}, {"first", 5, false}, {"first", 4, true}, {"first", 6, false}, {"first", 5, true},
		{"second", 3, false}, {"second", 2, true}, {"second", 4, false},
	} {
		o := testOptions("c", "a")
		o.Identity.Store, o.Identity.Incarnation = life.store, life.incarnation
		a, _ := listenWith(t, o, addresses)
		err := a.SendSnapshot(t.Context(), "b", nil, nothing)
		if errors.Is(err, ErrRefused) != life.refused || err != nil != life.refused {
			t.Errorf("%+v: %v", life, err)
		}
		if err == nil {
			<-heard.snapshots
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestStrangersDoNotFillTheLog: a stranger is refused and counted each time, and named once a minute.
func TestStrangersDoNotFillTheLog(t *testing.T) {
	addresses, out := book{}, &bytes.Buffer{}
	o := testOptions("c", "b")
	o.Logger = slog.New(slog.NewTextHandler(out, nil))
	b, _ := listenWith(t, o, addresses)
	addresses["b"] = b.Addr().String()
	a, _ := listen(t, "another", "a", addresses)
	const knocks = 20
	for range knocks {
		if err := a.SendSnapshot(t.Context(), "b", nil, nothing); !errors.Is(err, ErrRefused) {
			t.Error(err)
		}
	}
	for _, end := range []*TCP{a, b} {
		if err := end.Close(); err != nil { // and with it the last line
			t.Error(err)
		}
	}
	if n := strings.Count(out.String(), "stream refused"); n != 1 || testutil.ToFloat64(b.refusals) != knocks {
		t.Errorf("%d lines, %v counted:\n%s", n, testutil.ToFloat64(b.refusals), out)
	}
}

// TestStreamsBeyondTheLimitAreCounted: who is one too many is refused, and that is counted.
func TestStreamsBeyondTheLimitAreCounted(t *testing.T) {
	o := testOptions("c", "b")
	o.StreamsMax = 1
	b, _ := listenWith(t, o, book{})
	defer b.Close()
	var last net.Conn
	for range 2 { // they are accepted in this order
		conn, err := net.Dial("tcp", b.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		last = conn
	}
	if _, err := last.Read(make([]byte, 1)); err == nil {
		t.Error("one stream too many is answered")
	}
	if n := testutil.ToFloat64(b.refusals); n != 1 {
		t.Errorf("%v refusals were counted", n)
	}
}

// TestTCPTellsTheRemoved shows that a node that was removed hears so at its next word.
func TestTCPTellsTheRemoved(t *testing.T) {
	addresses := book{}
	o := testOptions("c", "b")
	o.Admit = func(i Identity) error {
		if i.Store == "store-a" {
			return ErrRemoved
		}
		return nil
	}
	b, heard := listenWith(t, o, addresses)
	defer b.Close()
	addresses["b"] = b.Addr().String()
	o = testOptions("c", "a")
	told := make(chan string, 10)
	o.Removed = func(by string, reason error) {
		if errors.Is(reason, ErrRemoved) {
			told <- by
		}
	}
	a, _ := listenWith(t, o, addresses)
	defer a.Close()
	if err := a.SendSnapshot(t.Context(), "b", nil, nothing); !errors.Is(err, ErrRemoved) {
		t.Errorf("a snapshot of the removed: %v", err)
	}
	want(t, told, "b")
	a.Send("b", []byte("still here"))
	want(t, told, "b")
	o = testOptions("c", "a")
	o.Identity.Store = "a new disk"
	again, _ := listenWith(t, o, addresses)
	defer again.Close()
	again.Send("b", []byte("another store"))
	want(t, heard.batches, "a:another store")
}

// authority makes certificates of nodes.
type authority struct {
	t           *testing.T
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = a.newKey()
	raw, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.certificate, err = x509.ParseCertificate(raw); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

// config is what a node of this authority uses, with a certificate for a name.
func (a *authority) config(name string) *tls.Config {
	key := a.newKey()
	raw, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, a.certificate, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		Certificates: []tls.Certificate{{Certificate: [][]byte{raw}, PrivateKey: key}},
	}
}

// issued is what nodes use: the configurations of certificates that one authority has issued, by the names in these.
func issued(t *testing.T, names ...string) map[string]*tls.Config {
	t.Helper()
	authority, configs := t.TempDir(), map[string]*tls.Config{}
	if err := certs.CreateAuthority(authority, "c", time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		dir := t.TempDir()
		if err := certs.Issue(authority, dir, name, time.Now()); err != nil {
			t.Fatal(err)
		}
		source, err := certs.Open(certs.FilesIn(dir), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		configs[name] = source.Config()
	}
	return configs
}

// TestTCPOverTLS shows that both ends ask for a certificate of their authority for the very node.
func TestTCPOverTLS(t *testing.T) {
	nodes := issued(t, "a", "b", "c")
	ours, theirs := newAuthority(t), newAuthority(t)
	lax := ours.config("a")
	lax.ClientAuth, lax.Certificates = tls.RequestClientCert, nil // what it listens with, and nothing to show
	open := ours.config("b")
	open.ClientAuth = tls.RequestClientCert
	for _, c := range []struct {
		name string
		a, b *tls.Config
		ok   bool
	}{
		{"both of one authority", ours.config("a"), ours.config("b"), true},
		{"a of another authority", theirs.config("a"), ours.config("b"), false},
		{"b of another authority", ours.config("a"), theirs.config("b"), false},
		{"a with the certificate of c", ours.config("c"), ours.config("b"), false},
		{"b with the certificate of c", ours.config("a"), ours.config("c"), false},
		{"a without a certificate", lax, ours.config("b"), false},
		{"a without a certificate, to one that does not insist", lax, open, false},
		{"a in the clear", nil, ours.config("b"), false},
		{"b in the clear", ours.config("a"), nil, false},
		{"both as they are issued", nodes["a"], nodes["b"], true},
		{"a as c is issued", nodes["c"], nodes["b"], false},
		{"b as c is issued", nodes["a"], nodes["c"], false},
	} {
		t.Run(c.name, func(t *testing.T) {
			addresses := book{}
			oa, ob := testOptions("c", "a"), testOptions("c", "b")
			oa.TLS, ob.TLS = c.a, c.b
			a, heardA := listenWith(t, oa, addresses)
			defer a.Close()
			b, heardB := listenWith(t, ob, addresses)
			defer b.Close()
			addresses["a"], addresses["b"] = a.Addr().String(), b.Addr().String()
			err := a.SendSnapshot(t.Context(), "b", []byte("header"), nothing)
			if (err == nil) != c.ok || len(heardB.snapshots) > 0 != c.ok {
				t.Fatalf("snapshot: %v, %d arrived", err, len(heardB.snapshots))
			}
			if c.ok {
				a.Send("b", []byte("hello"))
				want(t, heardB.batches, "a:hello")
				b.Send("a", []byte("you too"))
				want(t, heardA.batches, "b:you too")
			}
		})
	}
}

// TestTCPProbesTheDead shows that a refused dial tells of a death long before the silence would,
// and that a connection that merely broke is taken up again without a word.
func TestTCPProbesTheDead(t *testing.T) {
	addresses := book{}
	o := testOptions("c", "b")
	o.SilentAfter = time.Hour // only a refusal can tell
	b, heard := listenWith(t, o, addresses)
	defer b.Close()
	a, _ := listen(t, "c", "a", addresses)
	addresses["a"], addresses["b"] = a.Addr().String(), b.Addr().String()
	a.Send("b", []byte("one"))
	want(t, heard.events, "up a")
	want(t, heard.batches, "a:one")
	if err := b.newest("a").(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	_ = b.newest("a").Close()
	want(t, heard.events, "up a") // redialed by itself: a had nothing to say
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	want(t, heard.events, "down a")
}

// TestTCPHearsSilence shows that a node whose connection lives but says nothing counts as down.
func TestTCPHearsSilence(t *testing.T) {
	o := testOptions("c", "b")
	o.SilentAfter = 500 * time.Millisecond
	b, heard := listenWith(t, o, book{})
	defer b.Close()
	conn, err := net.Dial("tcp", b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	h := hello{version: Version, purpose: purposeBatches, to: "b", Identity: Identity{Cluster: "c", Node: "a", Store: "s", Incarnation: 1}}
	began := time.Now() // b counts from when it has heard the hello
	if err := writeFrame(conn, h.encode()); err != nil {
		t.Fatal(err)
	}
	want(t, heard.events, "up a")
	want(t, heard.events, "down a")
	if took := time.Since(began); took < o.SilentAfter {
		t.Fatalf("down after %v", took)
	}
}
