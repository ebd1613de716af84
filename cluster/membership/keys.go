package membership

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/memberlist"
)

// The refusals of SetKeys.
var (
	// errNoKeys says that this node was started without gossip encryption, which cannot be turned
	// on while it runs.
	errNoKeys = errors.New("gossip is not encrypted")
	// errHasty says that keys were to be used or dropped before the other nodes could follow.
	errHasty = errors.New("the first key is not known yet: add it behind the one in use, on every node, before it is put first")
)

// SetKeys makes keys the ones that this node decrypts with, the first of which encrypts. It may be
// called while the node runs, with lists that follow each other as nodes take them at different
// moments:
//
//	old  ──every node──▶  old, new  ──every node──▶  new, old  ──every node──▶  new
//
// A list that skips a step would cut this node off from those that have not got it yet, and is
// refused; then the keys stay as they are. It says whether anything changed.
func (m *Members) SetKeys(keys [][]byte) (changed bool, err error) {
	if m.keyring == nil {
		return false, errNoKeys
	}
	if len(keys) == 0 {
		return false, errors.New("gossip keys: none is given")
	}
	for _, k := range keys {
		if err := memberlist.ValidateKey(k); err != nil {
			return false, fmt.Errorf("gossip key: %w", err)
		}
	}
	m.keysMu.Lock()
	defer m.keysMu.Unlock()
	known := m.keyring.GetKeys()
	if !holds(known, keys[0]) {
		return false, errHasty
	}
	if !bytes.Equal(known[0], keys[0]) && !holds(keys, known[0]) {
		return false, errHasty // others may still encrypt with the key that this node did so far
	}
	return m.turn(known, keys)
}

// turn adds before it uses, and uses before it removes.
func (m *Members) turn(known, keys [][]byte) (changed bool, err error) {
	var errs []error
	for _, k := range keys {
		if !holds(known, k) {
			errs, changed = append(errs, m.keyring.AddKey(k)), true
		}
	}
	if !bytes.Equal(known[0], keys[0]) {
		errs, changed = append(errs, m.keyring.UseKey(keys[0])), true
	}
	for _, k := range known {
		if !holds(keys, k) {
			errs, changed = append(errs, m.keyring.RemoveKey(k)), true
		}
	}
	if err := errors.Join(errs...); err != nil {
		return changed, fmt.Errorf("change gossip keys: %w", err)
	}
	return changed, nil
}

func holds(keys [][]byte, key []byte) bool {
	return slices.ContainsFunc(keys, func(k []byte) bool { return bytes.Equal(k, key) })
}
