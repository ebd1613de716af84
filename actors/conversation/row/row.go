// Package row reads and writes the protobuf rows of grains.
package row

import (
	"fmt"

	"parley/internal/invariant"
	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/id"
)

// Message is what a row holds.
type Message interface {
	MarshalVT() ([]byte, error)
	UnmarshalVT([]byte) error
}

// Read fills m from the row at key; ok=false leaves it as it was. An error means damage.
func Read(r store.Reader, key []byte, m Message) (ok bool, err error) {
	value, ok, err := r.Get(key)
	if err != nil || !ok {
		return false, err
	}
	if err := m.UnmarshalVT(value); err != nil {
		return false, fmt.Errorf("row %x: %w", key, err)
	}
	return true, nil
}

// Put makes the Op that sets the row at key to m.
func Put(key []byte, m Message) store.Op {
	value, err := m.MarshalVT()
	invariant.That(err == nil, "encode row %x: %v", key, err)
	return store.Put(key, value)
}

// UUID is the binary form of an identifier that was checked before.
func UUID(p id.Prefix, s string) keys.UUID {
	u, err := id.Parse(p, s)
	invariant.That(err == nil, "unchecked identifier %q", s)
	return u
}
