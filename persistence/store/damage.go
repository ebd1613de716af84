package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"
)

// ErrClosed says that the store was closed before the call.
var ErrClosed = errors.New("store is closed")

// ErrLocked says that another process, or another Store of this one, has the directory open.
var ErrLocked = errors.New("directory is in use by another process")

// ErrDamaged marks every error that means: what was once on this disk is not there any more, or
// not as it was written. Nothing may be served from the store; trying again does not help.
var ErrDamaged = errors.New("store is damaged")

// remedy is what an operator does about damage. The unit of repair is the store.
const remedy = "quarantine the directory and rejoin as a new store; a single node: bring back a copy of its directory, made while it was stopped"

// DamageError says which directory is damaged, and how it was noticed. It is an ErrDamaged.
type DamageError struct {
	Dir string
	Err error
}

// Error names the directory, the cause and the remedy.
func (e *DamageError) Error() string {
	return fmt.Sprintf("%s is damaged (%v): %s", e.Dir, e.Err, remedy)
}

// Unwrap gives ErrDamaged and the cause.
func (e *DamageError) Unwrap() []error { return []error{ErrDamaged, e.Err} }

// damaged turns an error of Pebble into what callers of this package see: a DamageError when it
// means damage, else the error with the directory's name.
func damaged(dir string, err error) error {
	if err == nil {
		return nil
	}
	var already *DamageError
	if errors.As(err, &already) {
		return err
	}
	if meansDamage(err) {
		return &DamageError{Dir: dir, Err: err}
	}
	return fmt.Errorf("%s: %w", dir, err)
}

// meansDamage tells damage from trouble that may pass (no permission, no space, no descriptors).
// A file that ends early or is missing counts: nothing but damage removes a file that Pebble lists.
func meansDamage(err error) bool {
	return pebble.IsCorruptionError(err) || errors.Is(err, fs.ErrNotExist) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}
