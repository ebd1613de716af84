package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// Files are where a node's certificates are.
type Files struct {
	Authority string // PEM; several certificates while one authority replaces another
	Cert      string // PEM
	Key       string // PEM
}

// FilesIn is where Issue has put a node's files.
func FilesIn(dir string) Files {
	return Files{filepath.Join(dir, authorityCert), filepath.Join(dir, nodeCert), filepath.Join(dir, nodeKey)}
}

// Source gives TLS configurations that follow the files: after Reload new connections use what
// the files hold, those that are open stay. Safe for concurrent use.
type Source struct {
	files Files
	now   func() time.Time
	held  atomic.Pointer[held]
}

// held is one reading of the files.
type held struct {
	node  string
	cert  *tls.Certificate
	roots *x509.CertPool
}

// Open reads the files and checks that they belong together. now is the clock that validity is
// judged by.
func Open(f Files, now func() time.Time) (*Source, error) {
	s := &Source{files: f, now: now}
	return s, s.Reload()
}

// Reload reads the files again. When they are not good the old ones stay in use, and the error
// says why.
func (s *Source) Reload() error {
	h, err := read(s.files)
	if err != nil {
		return fmt.Errorf("load certificates: %w", err)
	}
	if err := h.accepts(h.cert.Leaf, s.now()); err != nil {
		return fmt.Errorf("the authority in %s does not accept %s: %w", s.files.Authority, s.files.Cert, err)
	}
	if old := s.held.Load(); old != nil && old.node != h.node {
		return fmt.Errorf("%s is the certificate of node %s, not of %s", s.files.Cert, h.node, old.node)
	}
	s.held.Store(h)
	return nil
}

func read(f Files) (*held, error) {
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return nil, err
	}
	if pair.Leaf == nil {
		return nil, errors.New("no certificate")
	}
	node, err := NodeOf(pair.Leaf)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(f.Authority)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(raw) {
		return nil, fmt.Errorf("%s holds no certificate", f.Authority)
	}
	return &held{node, &pair, roots}, nil
}

// Node is the node that the certificate names.
func (s *Source) Node() string { return s.held.Load().node }

// Expires is when the node's certificate ends.
func (s *Source) Expires() time.Time { return s.held.Load().cert.Leaf.NotAfter }

// Config is for both ends of a connection between nodes: TLS 1.3, and the peer must show a
// certificate of the authority, valid at that moment. Which node it is stands in the certificate:
// whoever dialled, or was greeted under a name, compares.
func (s *Source) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return s.accepting(), nil
		},
		// The standard check of a server compares the dialled address, which node certificates
		// do not hold, and takes roots that cannot change. VerifyConnection checks instead.
		InsecureSkipVerify: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return s.held.Load().cert, nil
		},
		VerifyConnection: s.verify,
	}
}

// accepting is the configuration for one incoming connection, as the files are now. The chain is
// verified by the standard check, so that the connection's state shows it.
func (s *Source) accepting() *tls.Config {
	h := s.held.Load()
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Time: s.now,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: h.roots,
		Certificates: []tls.Certificate{*h.cert}, VerifyConnection: s.verify,
	}
}

func (s *Source) verify(c tls.ConnectionState) error {
	if len(c.PeerCertificates) == 0 {
		return errors.New("the peer has no certificate")
	}
	return s.held.Load().accepts(c.PeerCertificates[0], s.now())
}

// accepts checks that leaf is a node's certificate of the authority, valid now for both ends.
func (h *held) accepts(leaf *x509.Certificate, now time.Time) error {
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		o := x509.VerifyOptions{Roots: h.roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}}
		if _, err := leaf.Verify(o); err != nil {
			return err
		}
	}
	_, err := NodeOf(leaf)
	return err
}
