package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestNobodyIsAtTheNullDevice: nor at one that was made elsewhere, as a service with a /dev of its own has it.
func TestNobodyIsAtTheNullDevice(t *testing.T) {
	paths := []string{os.DevNull}
	const null = 1<<8 | 3 // what mknod calls 1 3
	other := filepath.Join(t.TempDir(), "null")
	switch err := syscall.Mknod(other, syscall.S_IFCHR|0o666, null); {
	case err == nil:
		paths = append(paths, other)
	case !errors.Is(err, os.ErrPermission):
		t.Fatal(err)
	}
	for _, path := range paths {
		f, err := os.Open(path)
		if errors.Is(err, os.ErrPermission) && path == other {
			continue // devices of this file system are not for use
		}
		if err != nil {
			t.Fatal(err)
		}
		if interactive(f) {
			t.Errorf("somebody is at %s", path)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}
