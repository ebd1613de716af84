package membership

import (
	"errors"
	"fmt"
)

// errNoKeys says that this node was started without gossip encryption, which cannot be turned on
// while it runs.
var errNoKeys = errors.New("gossip is not encrypted")

// Rotating a key takes three rounds over all nodes: AddKey, then UseKey, then RemoveKey.

// AddKey lets this node read what is encrypted with key.
func (m *Members) AddKey(key []byte) error {
	if m.keyring == nil {
		return errNoKeys
	}
	return wrapKey("add", m.keyring.AddKey(key))
}

// UseKey encrypts with key, which was added before.
func (m *Members) UseKey(key []byte) error {
	if m.keyring == nil {
		return errNoKeys
	}
	return wrapKey("use", m.keyring.UseKey(key))
}

// RemoveKey forgets a key that is not in use.
func (m *Members) RemoveKey(key []byte) error {
	if m.keyring == nil {
		return errNoKeys
	}
	return wrapKey("remove", m.keyring.RemoveKey(key))
}

func wrapKey(verb string, err error) error {
	if err != nil {
		return fmt.Errorf("%s gossip key: %w", verb, err)
	}
	return nil
}
