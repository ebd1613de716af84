package store

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
)

// halter ends the process, or at least the goroutine.
type halter struct{ fatal func(error) }

// halt reports err and never returns: whoever called it must not go on to acknowledge a write.
func (h halter) halt(err error) {
	h.fatal(err)
	select {}
}

// syncFS is a file system in which a failed sync is the end. After a failed fsync the kernel may
// drop the dirty pages and call the next fsync a success, so a retry by anybody, Pebble included,
// would acknowledge what is lost. The check therefore stands below Pebble. It also keeps the order
// of changes that Pebble leaves to the file system: see settle; and lets writes wait for space: see
// room. It is used by pointer: Pebble compares file systems.
type syncFS struct {
	vfs.FS
	halter   halter
	seconds  prometheus.Observer
	room     *room
	patience func(vfs.DiskWriteCategory) time.Duration // of a write that finds no space
}

func (s *syncFS) wrap(f vfs.File, name string, c vfs.DiskWriteCategory) vfs.File {
	return syncFile{File: f, fs: s, name: name, patience: s.patience(c)}
}

// open makes a file for writing, for which there may have to be space.
func (s *syncFS) open(name string, c vfs.DiskWriteCategory, open func() (vfs.File, error)) (f vfs.File, err error) {
	if err = s.room.find(s.patience(c), func() error { f, err = open(); return err }); err != nil {
		return nil, err
	}
	return s.wrap(f, name, c), nil
}

// change changes a directory, which may have to grow.
func (s *syncFS) change(op func() error) error {
	return s.room.find(s.patience(vfs.WriteCategoryUnspecified), op)
}

// markerPrefix begins the name of a marker: an empty file by whose name Pebble says which manifest,
// or which format, is the present one.
const markerPrefix = "marker."

// settle syncs the directory of name before a marker in it comes or goes. Pebble moves a marker in
// one stroke and syncs afterwards. A file system that keeps changes of a directory in any order
// may then be left, by a power cut, with a marker but not the manifest it names, or with none.
func (s *syncFS) settle(name string) error {
	if !strings.HasPrefix(s.PathBase(name), markerPrefix) {
		return nil
	}
	return syncDirectory(s, s.PathDir(name))
}

// Create implements vfs.FS.
func (s *syncFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := s.settle(name); err != nil {
		return nil, err
	}
	return s.open(name, c, func() (vfs.File, error) { return s.FS.Create(name, c) })
}

// Remove implements vfs.FS.
func (s *syncFS) Remove(name string) error {
	if err := s.settle(name); err != nil {
		return err
	}
	return s.FS.Remove(name)
}

// Link implements vfs.FS.
func (s *syncFS) Link(from, to string) error {
	return s.change(func() error { return s.FS.Link(from, to) })
}

// Rename implements vfs.FS.
func (s *syncFS) Rename(from, to string) error {
	return s.change(func() error { return s.FS.Rename(from, to) })
}

// MkdirAll implements vfs.FS.
func (s *syncFS) MkdirAll(dir string, mode os.FileMode) error {
	return s.change(func() error { return s.FS.MkdirAll(dir, mode) })
}

// ReuseForWrite implements vfs.FS.
func (s *syncFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return s.open(to, c, func() (vfs.File, error) { return s.FS.ReuseForWrite(from, to, c) })
}

// OpenReadWrite implements vfs.FS.
func (s *syncFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return s.open(name, c, func() (vfs.File, error) { return s.FS.OpenReadWrite(name, c, opts...) })
}

// OpenDir implements vfs.FS.
func (s *syncFS) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return s.wrap(f, name, vfs.WriteCategoryUnspecified), nil
}

// Unwrap implements vfs.FS.
func (s *syncFS) Unwrap() vfs.FS { return s.FS }

type syncFile struct {
	vfs.File
	fs       *syncFS
	name     string
	patience time.Duration
}

// Write implements vfs.File. What was written before the space ended is not written again.
func (f syncFile) Write(p []byte) (n int, err error) {
	err = f.fs.room.find(f.patience, func() error {
		m, err := f.File.Write(p[n:])
		n += m
		return err
	})
	return n, err
}

// WriteAt implements vfs.File.
func (f syncFile) WriteAt(p []byte, at int64) (n int, err error) {
	err = f.fs.room.find(f.patience, func() error {
		m, err := f.File.WriteAt(p[n:], at+int64(n))
		n += m
		return err
	})
	return n, err
}

func (f syncFile) Sync() error {
	start := time.Now()
	f.check(f.File.Sync())
	f.fs.seconds.Observe(time.Since(start).Seconds())
	return nil
}

func (f syncFile) SyncData() error {
	start := time.Now()
	f.check(f.File.SyncData())
	f.fs.seconds.Observe(time.Since(start).Seconds())
	return nil
}

func (f syncFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	f.check(err)
	return full, nil
}

func (f syncFile) check(err error) {
	if err != nil {
		f.fs.halter.halt(fmt.Errorf("sync %s: %w: the write is in doubt and must not be retried", f.name, err))
	}
}
