package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// disk is what this machine's disk gives to one writer that syncs every 4 KiB.
type disk struct {
	perSecond float64
	p50       time.Duration
}

// probeDisk appends and syncs in dir for a while. The servers keep their data beside it.
func probeDisk(dir string, lasts time.Duration) (d disk, err error) {
	path := filepath.Join(dir, "disk")
	f, err := os.Create(path)
	if err != nil {
		return disk{}, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(path)) }()
	block := make([]byte, 4<<10)
	var took []time.Duration
	begin := time.Now()
	for time.Since(begin) < lasts {
		at := time.Now()
		if _, err := f.Write(block); err != nil {
			return disk{}, fmt.Errorf("probe the disk: %w", err)
		}
		if err := f.Sync(); err != nil {
			return disk{}, fmt.Errorf("probe the disk: %w", err)
		}
		took = append(took, time.Since(at))
	}
	slices.Sort(took)
	return disk{perSecond: float64(len(took)) / time.Since(begin).Seconds(), p50: took[len(took)/2]}, nil
}
