//go:build chaos && linux

package chaos

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The requests of Linux that hurt a file system.
const (
	ext4Shutdown = 0x8004587d // EXT4_IOC_SHUTDOWN, linux/fs/ext4/ext4.h
	noLogFlush   = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH: what is not on the disk is lost
	fileFreeze   = 0xc0045877 // FIFREEZE, linux/fs.h
	fileThaw     = 0xc0045878 // FITHAW
)

// disk is one node's file system, on an image in a file. Without an image it is a plain directory
// that nothing can be done to.
type disk struct {
	image string
	dir   string
}

// make makes the file system and mounts it.
func (d *disk) make(size int64) error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil || d.image == "" {
		return err
	}
	f, err := os.Create(d.image)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		return err
	}
	if err := run("mkfs.ext4", "-q", "-F", "-m", "0", d.image); err != nil {
		return err
	}
	return d.mount()
}

func (d *disk) mount() error { return run("mount", "-o", "loop", d.image, d.dir) }

// request makes one of the requests above on the mounted file system.
func (d *disk) request(what uint, argument int32) error {
	f, err := os.Open(d.dir)
	if err != nil {
		return err
	}
	err = unix.IoctlSetPointerInt(int(f.Fd()), what, int(argument))
	if err != nil {
		err = fmt.Errorf("ioctl %#x on %s: %w", what, d.dir, err)
	}
	return errors.Join(err, f.Close())
}

// cut takes the power: from here on every write fails, and what was not synced is gone when the
// file system is mounted again. Nobody may be syncing meanwhile, see cluster.hold.
func (d *disk) cut() error { return d.request(ext4Shutdown, noLogFlush) }

// freeze stops every write until thaw.
func (d *disk) freeze() error { return d.request(fileFreeze, 0) }
func (d *disk) thaw() error   { return d.request(fileThaw, 0) }

// remount gives the power back. Nobody may have a file open.
func (d *disk) remount() error {
	if err := unix.Unmount(d.dir, 0); err != nil {
		return fmt.Errorf("umount %s: %w", d.dir, err)
	}
	return d.mount()
}

// ballast is the file that fills a disk.
func (d *disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill takes all space that is left, at once.
func (d *disk) fill() error {
	f, err := os.Create(d.ballast())
	if err != nil {
		return err
	}
	const smallest = 4096 // a block
	for size, at := int64(1<<30), int64(0); size >= smallest; {
		switch err = unix.Fallocate(int(f.Fd()), 0, at, size); {
		case err == nil:
			at += size
		case errors.Is(err, unix.ENOSPC):
			size /= 2
			err = nil
		case !errors.Is(err, unix.EINTR):
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(err, f.Close())
}

func (d *disk) empty() error { return os.Remove(d.ballast()) }

// close unmounts; what a killed process still holds goes with the mount table of this program.
func (d *disk) close() error {
	if d.image == "" {
		return nil
	}
	return errors.Join(unix.Unmount(d.dir, unix.MNT_DETACH), os.Remove(d.image))
}

// flip turns one bit of a file.
func flip(path string, offset int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], offset)
	if err == nil || errors.Is(err, io.EOF) {
		b[0] ^= 0x10
		_, err = f.WriteAt(b[:], offset)
	}
	return errors.Join(err, f.Sync(), f.Close())
}
