package store

import (
	"fmt"
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
// of changes that Pebble leaves to the file system: see settle. It is used by pointer: Pebble
// compares file systems.
type syncFS struct {
	vfs.FS
	halter  halter
	seconds prometheus.Observer
}

func (s *syncFS) wrap(f vfs.File, name string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return syncFile{File: f, fs: s, name: name}, nil
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

func (s *syncFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := s.settle(name); err != nil {
		return nil, err
	}
	f, err := s.FS.Create(name, c)
	return s.wrap(f, name, err)
}

func (s *syncFS) Remove(name string) error {
	if err := s.settle(name); err != nil {
		return err
	}
	return s.FS.Remove(name)
}

func (s *syncFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.ReuseForWrite(from, to, c)
	return s.wrap(f, to, err)
}

func (s *syncFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := s.FS.OpenReadWrite(name, c, opts...)
	return s.wrap(f, name, err)
}

func (s *syncFS) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	return s.wrap(f, name, err)
}

// Unwrap implements vfs.FS.
func (s *syncFS) Unwrap() vfs.FS { return s.FS }

type syncFile struct {
	vfs.File
	fs   *syncFS
	name string
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
