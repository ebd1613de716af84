// Package blob is the pure heart of a blob: bytes that are kept once per application and content,
// in chunks that are replicated like everything else, or in an object store.
//
// A blob's id is the SHA-256 of its bytes. It is made when the first image holds it, and it goes
// when the last hold is released. A hold is made before the image is, and has a time: then a sweep
// asks the image whether it came into being. The image says so, or durably that it never will;
// the hold is confirmed or released accordingly. Whatever stops half way is therefore cleaned up,
// and nothing that an image shows is ever lost.
//
//	none ──hold──▶ open ──all chunks, seal──▶ sealed ──last release──▶ none
//	                 └───────────last release─────────────────────────▶ none
//
// The bytes of an external blob are an object whose name ends in the blob's generation. A blob
// that is made anew has a higher one, so that removing the old object cannot hurt the new one.
package blob

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"parley/actors/conversation/row"
	"parley/actors/grain"
	"parley/internal/invariant"
	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// Limits of a blob.
const (
	// BytesMax is the size of the largest blob.
	BytesMax = 32 << 20
	// ChunkBytes is the size of every chunk but the last: one write stays below 256 KiB.
	ChunkBytes = 240 << 10
	// HoldMs is how long an image may take from its first hold to its creation, in milliseconds.
	HoldMs = 30 * 60 * 1000
)

// errNotASum says that a text is not the id of a blob.
var errNotASum = errors.New("not a SHA-256 in lower-case hex")

// ParseSum gives the bytes behind a blob's id.
func ParseSum(s string) (sum keys.Sum, err error) {
	if len(s) != hex.EncodedLen(len(sum)) {
		return sum, errNotASum
	}
	if _, err := hex.Decode(sum[:], []byte(s)); err != nil || hex.EncodeToString(sum[:]) != s {
		return sum, errNotASum
	}
	return sum, nil
}

// Chunks is how many chunks size bytes have.
func Chunks(size uint64) uint32 { return uint32((size + ChunkBytes - 1) / ChunkBytes) }

// ChunkSize is the length of one chunk of size bytes; 0 when there is no such chunk.
func ChunkSize(size uint64, index uint32) int {
	start := uint64(index) * ChunkBytes
	if start >= size {
		return 0
	}
	return int(min(size-start, ChunkBytes))
}

// Object is the name of an external blob's object, below the store's own prefix.
func Object(application, sha256 string, generation uint64) string {
	return fmt.Sprintf("%s/%s.%d", application, sha256, generation)
}

// machine implements grain.Machine for one blob.
type machine struct {
	entity     grain.Entity
	app        keys.UUID
	sum        keys.Sum
	wellFormed bool // the id; else no blob can stand behind it
	loaded     bool

	generation uint64                   // of the newest blob that was ever made here
	blob       *eventv1.Blob            // nil = none
	holds      map[string]*eventv1.Hold // by holder; nil = absent
}

// New makes the machine of the blob e. It is called by grain shells, once per activation and again
// after a batch that was not committed.
func New(e grain.Entity) grain.Machine {
	app, errApp := id.Parse(id.Application, e.Application)
	sum, errSum := ParseSum(e.ID)
	return &machine{
		entity: e, app: app, sum: sum, wellFormed: errApp == nil && errSum == nil, holds: map[string]*eventv1.Hold{},
	}
}

// Load implements grain.Machine.
func (m *machine) Load(r store.Reader, _ uint64, head []byte, cmd *nodev1.Command) error {
	if !m.wellFormed {
		return nil
	}
	if !m.loaded {
		b, err := row.Find[eventv1.Blob](r, keys.Blob(m.entity.Shard, m.app, m.sum))
		if err != nil {
			return err
		}
		m.blob, m.loaded = b, true
		if len(head) == 8 {
			m.generation = binary.BigEndian.Uint64(head)
		}
	}
	switch b := cmd.Body.(type) {
	case *nodev1.Command_HoldBlob:
		return m.loadHold(r, b.HoldBlob.GetHolder())
	case *nodev1.Command_ConfirmHold:
		return m.loadHold(r, b.ConfirmHold.GetHolder())
	case *nodev1.Command_ReleaseHold:
		return m.loadHold(r, b.ReleaseHold.GetHolder())
	}
	return nil
}

func (m *machine) loadHold(r store.Reader, holder string) error {
	u, err := id.Parse(id.Image, holder)
	if err != nil {
		return nil
	}
	return row.Learn(m.holds, holder, r, keys.Hold(m.entity.Shard, m.app, m.sum, u))
}

// Decide implements grain.Machine.
func (m *machine) Decide(now int64, cmd *nodev1.Command) (grain.Decision, error) {
	if !m.wellFormed || cmd.GetPrincipal().GetApplicationId() != m.entity.Application {
		return grain.Decision{}, noBlob()
	}
	d := &draft{machine: m, now: now}
	reply, err := d.decide(cmd)
	if err != nil {
		return grain.Decision{}, err
	}
	out := grain.Decision{Changes: d.changes, Reply: reply}
	for _, c := range d.changes {
		out.Ops = append(out.Ops, c.encode(m)...)
	}
	return out, nil
}

// Evolve implements grain.Machine.
func (m *machine) Evolve(d grain.Decision) {
	changes, ok := d.Changes.([]change)
	invariant.That(ok, "blob %s: foreign changes %T", m.entity.ID, d.Changes)
	for _, c := range changes {
		c.fold(m)
	}
}

// Head implements grain.Machine: the generation outlives the blob.
func (m *machine) Head() []byte { return binary.BigEndian.AppendUint64(nil, m.generation) }

// Settle implements grain.Machine.
func (m *machine) Settle() { clear(m.holds) }

func noBlob() error { return code.New(code.NotFound, "blob does not exist") }
