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

// pointer is the Message of a generated type T: Find[eventv1.User] gives a *eventv1.User.
type pointer[T any] interface {
	*T
	Message
}

// Read fills m from the row at key; ok=false leaves it as it was. An error means damage.
func Read(r store.Reader, key []byte, m Message) (ok bool, err error) {
	value, ok, err := r.Get(key)
	if err != nil || !ok {
		return false, err
	}
	if err := Decode(key, value, m); err != nil {
		return false, err
	}
	return true, nil
}

// Find reads the row at key; nil when there is none. An error means damage.
func Find[T any, M pointer[T]](r store.Reader, key []byte) (M, error) {
	m := M(new(T))
	if ok, err := Read(r, key, m); err != nil || !ok {
		return nil, err
	}
	return m, nil
}

// Learn finds the row at key for known[name], where nil stands for a row that is not there. What is
// known already is not read again: it may stand for a change of the same batch. After an error known
// is as it was.
func Learn[T any, M pointer[T]](known map[string]M, name string, r store.Reader, key []byte) error {
	if _, ok := known[name]; ok {
		return nil
	}
	m, err := Find[T, M](r, key)
	if err == nil {
		known[name] = m
	}
	return err
}

// Scan visits the rows of [lo, hi), ascending, until visit says stop. An error means damage.
func Scan[T any, M pointer[T]](r store.Reader, lo, hi []byte, visit func(M) (more bool)) error {
	return r.Scan(lo, hi, false, func(key, value []byte) (bool, error) {
		m := M(new(T))
		if err := Decode(key, value, m); err != nil {
			return false, err
		}
		return visit(m), nil
	})
}

// All reads every row whose key begins with prefix, ascending: for rows that are few.
func All[T any, M pointer[T]](r store.Reader, prefix []byte) (all []M, err error) {
	err = Scan(r, prefix, keys.End(prefix), func(m M) bool {
		all = append(all, m)
		return true
	})
	return all, err
}

// Decode fills m from the value of the row at key. An error means damage.
func Decode(key, value []byte, m Message) error {
	if err := m.UnmarshalVT(value); err != nil {
		return fmt.Errorf("row %x: %w", key, err)
	}
	return nil
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
