package certs

import (
	"crypto/rand"
	"encoding/base64"
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
	key := make([]byte, gossipKeyBytes)
	if _, err := rand.Read(key); err != nil {
		return fmt.Errorf("draw a gossip key: %w", err)
	}
	return create(filepath.Join(dir, GossipKeyFile), []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600)
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
