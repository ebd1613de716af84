package certs

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// GossipKeyFile holds the keys of gossip, base64, one a line; the first encrypts, all decrypt.
const GossipKeyFile = "gossip.key"

// gossipKeyBytes is AES-256.
const gossipKeyBytes = 32

// createGossipKey writes a fresh key (mode 0600). ErrExists when there is one.
func createGossipKey(dir string) error {
	return create(filepath.Join(dir, GossipKeyFile), encodeKeys([][]byte{newGossipKey()}), 0o600)
}

// newGossipKey cannot fail: crypto/rand ends the process when the system has no randomness.
func newGossipKey() []byte {
	key := make([]byte, gossipKeyBytes)
	rand.Read(key)
	return key
}

func encodeKeys(keys [][]byte) []byte {
	var b []byte
	for _, k := range keys {
		b = append(base64.StdEncoding.AppendEncode(b, k), '\n')
	}
	return b
}

// Rotation is one of the three steps from an old gossip key to a new one. Every node must have
// taken a step before the next one is made.
type Rotation string

// The steps, in their order.
const (
	AddGossipKey  Rotation = "add"  // a new key, which decrypts
	UseGossipKey  Rotation = "use"  // the new key encrypts from now on
	DropGossipKey Rotation = "drop" // the old key is forgotten
)

// ErrRotation says that a step is not the one that comes next.
var ErrRotation = errors.New("this is not the next step of the rotation")

// RotateGossipKey makes one step in the directory of an authority, and gives the keys that it leads
// to. The file is replaced as a whole.
func RotateGossipKey(dir string, step Rotation) ([][]byte, error) {
	found, err := GossipKeys(dir)
	if err != nil {
		return nil, err
	}
	switch {
	case step == AddGossipKey && len(found) == 1:
		found = append(found, newGossipKey())
	case step == UseGossipKey && len(found) == 2:
		found[0], found[1] = found[1], found[0]
	case step == DropGossipKey && len(found) == 2:
		found = found[:1]
	default:
		return nil, fmt.Errorf("%s: %s holds %d keys: %w", step, filepath.Join(dir, GossipKeyFile), len(found), ErrRotation)
	}
	return found, PutGossipKeys(dir, found)
}

// PutGossipKeys replaces the keys in a node's directory (mode 0600). A reader sees the old file or the
// new one, also after a power cut; when the call returns it is the new one.
func PutGossipKeys(dir string, keys [][]byte) error {
	path := filepath.Join(dir, GossipKeyFile)
	next := path + ".next"
	for _, step := range []func() error{
		func() error { return writeSynced(next, encodeKeys(keys)) },
		func() error { return os.Rename(next, path) },
		func() error { return syncDirectory(dir) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("write the gossip keys: %w", err)
		}
	}
	return nil
}

// writeSynced writes a file that a rename may put in another one's place: a name that is on the disk
// before its content would be an empty file after a power cut.
func writeSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

// syncDirectory makes the names in a directory durable.
func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Fingerprint names a key without telling it.
func Fingerprint(key []byte) string {
	sum := sha256.Sum256(key)
	return hex.EncodeToString(sum[:4])
}

// GossipKeys reads the keys of gossip from a node's directory.
func GossipKeys(dir string) ([][]byte, error) {
	raw, err := os.ReadFile(filepath.Join(dir, GossipKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read the gossip key: %w", err)
	}
	var found [][]byte
	for _, line := range strings.Fields(string(raw)) {
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != gossipKeyBytes {
			return nil, fmt.Errorf("%s: a key is not %d bytes in base64", filepath.Join(dir, GossipKeyFile), gossipKeyBytes)
		}
		found = append(found, key)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s holds no key", filepath.Join(dir, GossipKeyFile))
	}
	return found, nil
}
