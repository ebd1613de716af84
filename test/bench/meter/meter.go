// Package meter measures what processes use, sums measurements up, and is what the programs of test/bench have in common.
package meter

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Self is the processor time that this process has used so far, user and system together.
func Self() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // impossible for RUSAGE_SELF and a valid pointer
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// CPU is the processor time that another process has used so far, in steps of 10 ms.
func CPU(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStat(string(text))
}

// parseStat reads a line of proc_pid_stat(5).
func parseStat(line string) (time.Duration, error) {
	// The name in parentheses may hold anything; utime and stime are the 12th and 13th after it.
	const utime, stime = 11, 12
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) <= stime {
		return 0, fmt.Errorf("stat of a process has %d fields", len(fields))
	}
	user, err := strconv.ParseInt(fields[utime], 10, 64)
	system, systemErr := strconv.ParseInt(fields[stime], 10, 64)
	const tick = 10 * time.Millisecond // USER_HZ is 100 everywhere
	return time.Duration(user+system) * tick, errors.Join(err, systemErr)
}

// PSS is the memory of a process in KB, with its share of what it has in common with others.
func PSS(pid int) (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	return parsePSS(string(text))
}

func parsePSS(rollup string) (int, error) {
	for line := range strings.Lines(rollup) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			return strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")))
		}
	}
	return 0, errors.New("no Pss in smaps_rollup")
}

// Load is the machine's load average over one minute: what else runs here while it is measured.
func Load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// Median is the middle one, the upper of two; the zero value of none.
func Median[T cmp.Ordered](all []T) T { return Quantile(slices.Sorted(slices.Values(all)), 0.5) }

// Quantile is the smallest of sorted values that at least the share q, 0 to 1, does not exceed, but
// the upper one of the middle two; the zero value of none.
func Quantile[T cmp.Ordered](sorted []T, q float64) T {
	if len(sorted) == 0 {
		var none T
		return none
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
