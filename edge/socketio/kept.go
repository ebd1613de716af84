package socketio

import (
	"time"

	"parley/edge/dialect/nexmo"
	"parley/edge/limit"
)

// kept is what is remembered of a session without connection.
type kept struct {
	dialect   nexmo.Dialect
	positions map[string]uint64 // last acknowledged sequence, by conversation
	ended     time.Time
}

// What is kept of a session takes about so much memory: by itself, with its id and its place among the
// others, and for each position.
const (
	keptBytes     = 256
	positionBytes = 96
)

// newKept remembers sessions by their ids. It is bounded in bytes and not in sessions, of which one may
// follow a thousand conversations.
func newKept(bytes int) *limit.Recent[string, kept] {
	return limit.NewWeighed(bytes, func(_ string, k kept) int { return keptBytes + len(k.positions)*positionBytes })
}
