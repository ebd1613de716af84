package store

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The directories of a store, under the one given to Open.
const (
	dirLog      = "log"
	dirState    = "state"
	dirIncoming = "incoming"
)

// makeDirectory makes dir and its missing parents, and syncs each parent: a directory that is
// not in its synced parent is gone after a power cut, with all the synced files in it.
func makeDirectory(f vfs.FS, dir string) error {
	var parents []string
	for d := dir; ; {
		if _, err := f.Stat(d); err == nil {
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look at %s: %w", d, err)
		}
		parent := f.PathDir(d)
		parents = append(parents, parent)
		if parent == d {
			break
		}
		d = parent
	}
	if err := f.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	for _, p := range parents {
		if err := syncDirectory(f, p); err != nil {
			return err
		}
	}
	return nil
}

func syncDirectory(f vfs.FS, dir string) error {
	d, err := f.OpenDir(dir)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// syncParents makes the directory of a new store durable: who made it, or one above it, need not
// have synced it. A parent that this user may not read, or whose file system does not sync
// directories, is left to its owner.
func syncParents(f vfs.FS, dir string) error {
	for f.PathDir(dir) != dir {
		dir = f.PathDir(dir)
		err := syncDirectory(f, dir)
		if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
			return err
		}
	}
	return nil
}

// lockDirectory takes the lock that keeps a second process out.
func lockDirectory(f vfs.FS, dir string) (*pebble.Lock, error) {
	l, err := pebble.LockDirectory(dir, f)
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	default:
		return nil, fmt.Errorf("lock %s: %w (%w)", dir, ErrLocked, err)
	}
}

// holdsPebble says whether dir has a Pebble. Tables or logs without the files that list them are
// damage: Pebble would start afresh there, and remove them as obsolete.
func holdsPebble(f vfs.FS, dir string) (bool, error) {
	desc, err := pebble.Peek(dir, f)
	if err != nil {
		return false, fmt.Errorf("look into %s: %w", dir, err)
	}
	if desc.Exists {
		return true, nil
	}
	names, err := f.List(dir)
	if err != nil {
		return false, fmt.Errorf("list %s: %w", dir, err)
	}
	for _, n := range names {
		if strings.HasSuffix(n, ".sst") || strings.HasSuffix(n, ".log") || strings.HasSuffix(n, ".blob") {
			return false, &DamageError{Dir: dir, Err: fmt.Errorf("%s is there but no manifest lists it", n)}
		}
	}
	return false, nil
}

// openDamage judges an error of opening a Pebble that existed. An errno is the machine's trouble
// (permission, space, descriptors) unless it says that a file is missing; all else is about what
// the files hold.
func openDamage(dir string, err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != syscall.ENOENT {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	return &DamageError{Dir: dir, Err: err}
}
