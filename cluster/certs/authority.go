package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Lifetimes of what is made here.
const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	nodeLifetime      = 398 * 24 * time.Hour
)

// The files of an authority and of a node, within a directory.
const (
	authorityCert = "ca.crt"
	AuthorityKey  = "ca.key"
	nodeCert      = "node.crt"
	nodeKey       = "node.key"
)

// skew is how far back a certificate is valid: clocks of nodes differ.
const skew = 5 * time.Minute

// ErrExists says that a file is there already; nothing is overwritten.
var ErrExists = errors.New("file exists")

// CreateAuthority makes a certificate authority in dir: ca.crt and gossip.key, which every node
// gets, and ca.key (mode 0600), which stays with the operator. cluster is a name for people.
// ErrExists when dir has one.
func CreateAuthority(dir, cluster string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the authority's key: %w", err)
	}
	template, err := template("Parley CA "+cluster, now, authorityLifetime)
	if err != nil {
		return err
	}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("sign the authority: %w", err)
	}
	if err := writePair(dir, authorityCert, AuthorityKey, raw, key); err != nil {
		return err
	}
	return createGossipKey(dir)
}

// Issue makes the certificate of one node, signed by the authority in authorityDir, and writes
// ca.crt, gossip.key, node.crt and node.key to dir (secrets with mode 0600): what the node needs.
// An existing pair is ErrExists: remove it, or name another directory, to renew.
func Issue(authorityDir, dir, node string, now time.Time) error {
	ca, caKey, err := loadAuthority(authorityDir)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the key of node %s: %w", node, err)
	}
	template, err := template(node, now, nodeLifetime)
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.URIs, template.DNSNames = []*url.URL{uri(node)}, []string{node}
	raw, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), caKey)
	if err != nil {
		return fmt.Errorf("sign node %s: %w", node, err)
	}
	if err := writePair(dir, nodeCert, nodeKey, raw, key); err != nil {
		return err
	}
	if filepath.Clean(dir) == filepath.Clean(authorityDir) {
		return nil
	}
	gossip, err := os.ReadFile(filepath.Join(authorityDir, GossipKeyFile))
	if err != nil {
		return fmt.Errorf("read the gossip key: %w", err)
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, authorityCert), encode("CERTIFICATE", ca.Raw), 0o644),
		os.WriteFile(filepath.Join(dir, GossipKeyFile), gossip, 0o600))
}

// NodeOf reads which node a certificate names.
func NodeOf(c *x509.Certificate) (string, error) {
	for _, u := range c.URIs {
		if u.Scheme == scheme && u.Host == host && len(u.Path) > 1 {
			return u.Path[1:], nil
		}
	}
	return "", fmt.Errorf("certificate %q names no node", c.Subject.CommonName)
}

const (
	scheme = "parley"
	host   = "node"
)

func uri(node string) *url.URL { return &url.URL{Scheme: scheme, Host: host, Path: "/" + node} }

func template(name string, now time.Time, lifetime time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-skew), NotAfter: now.Add(lifetime),
	}, nil
}

func loadAuthority(dir string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	cert, err := readCertificate(filepath.Join(dir, authorityCert))
	if err != nil {
		return nil, nil, err
	}
	block, err := readPEM(filepath.Join(dir, AuthorityKey))
	if err != nil {
		return nil, nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("the authority's key in %s: %w", dir, err)
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok || !cert.IsCA {
		return nil, nil, fmt.Errorf("%s holds no authority made by 'parley certs init'", dir)
	}
	return cert, signer, nil
}

func readCertificate(path string) (*x509.Certificate, error) {
	block, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", path, err)
	}
	return cert, nil
}

func readPEM(path string) (*pem.Block, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s is not PEM", path)
	}
	return block, nil
}

func encode(kind string, raw []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw})
}

// writePair writes the key first: a certificate without its key would look finished.
func writePair(dir, certName, keyName string, cert []byte, key *ecdsa.PrivateKey) error {
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode a key: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of certificates: %w", err)
	}
	if err := create(filepath.Join(dir, keyName), encode("PRIVATE KEY", raw), 0o600); err != nil {
		return err
	}
	return create(filepath.Join(dir, certName), encode("CERTIFICATE", cert), 0o644)
}

func create(path string, content []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w", path, ErrExists)
	}
	if err != nil {
		return fmt.Errorf("write a certificate: %w", err)
	}
	if _, err := f.Write(content); err != nil {
		return errors.Join(err, f.Close())
	}
	return errors.Join(f.Sync(), f.Close())
}
