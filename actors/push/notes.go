package push

import (
	"sync"
	"time"

	eventv1 "parley/proto/event/v1"
)

// noteEvery is how often the status of one credential may be written: providers that refuse one device
// and take the next must not make the meta shard write for each.
const noteEvery = time.Minute

// notesMax bounds the credentials whose last note is remembered.
const notesMax = 4096

// notes decides when the status of a credential is worth writing. Safe for concurrent use.
type notes struct {
	mu      sync.Mutex
	written map[string]time.Time // by credential; guarded by mu
}

func newNotes() *notes { return &notes{written: make(map[string]time.Time)} }

// due says whether a status that differs from the credential's own should be written now.
func (n *notes) due(c *eventv1.PushCredential, status eventv1.PushStatus, now time.Time) bool {
	if c.Status == status {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if last, ok := n.written[c.Id]; ok && now.Sub(last) < noteEvery {
		return false
	}
	if len(n.written) >= notesMax {
		clear(n.written) // rare, and costs at most a write for each to know again
	}
	n.written[c.Id] = now
	return true
}
