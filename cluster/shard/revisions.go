package shard

import (
	"encoding/binary"
	"fmt"

	"parley/persistence/store"
)

// revisions caches the revisions of entities, which the fence compares. A row written by the
// batch under construction is found here and not in the state, so nothing is forgotten within a
// batch: two generations, and the elder goes when the younger is full, between two batches.
type revisions struct {
	reader store.Reader
	max    int
	young  map[string]*revision
	old    map[string]*revision

	youngBytes, oldBytes int // what they take, roughly
}

// revisionOverhead is what a revision costs in memory beside its key, roughly: itself, and its place in
// a map.
const revisionOverhead = 96

// revision is one entity's.
type revision struct {
	key    string
	number uint64 // 0 = the entity has no head row
}

func newRevisions(r store.Reader, most int) *revisions {
	return &revisions{reader: r, max: most, young: map[string]*revision{}, old: map[string]*revision{}}
}

// at gives the revision of an entity; the caller may raise it.
func (c *revisions) at(entity []byte) (*revision, error) {
	if r := c.young[string(entity)]; r != nil {
		return r, nil
	}
	r := c.old[string(entity)]
	if r == nil {
		row, ok, err := c.reader.Get(entity)
		if err != nil {
			return nil, fmt.Errorf("read head: %w", err)
		}
		if ok && len(row) < 8 {
			return nil, fmt.Errorf("head of %d bytes: %w", len(row), errEntry)
		}
		r = &revision{key: string(entity)}
		if ok {
			r.number = binary.BigEndian.Uint64(row)
		}
	}
	c.young[r.key] = r
	c.youngBytes += len(r.key) + revisionOverhead
	return r, nil
}

// rotate makes room. It is called when the batch is in the state.
func (c *revisions) rotate() {
	if len(c.young) >= c.max/2 {
		c.old, c.young = c.young, map[string]*revision{}
		c.oldBytes, c.youngBytes = c.youngBytes, 0
	}
}

// bytes is what all revisions that are kept take in memory, roughly.
func (c *revisions) bytes() int { return c.youngBytes + c.oldBytes }

// forget drops everything, because state was replaced under the cache.
func (c *revisions) forget() {
	c.old, c.young = map[string]*revision{}, map[string]*revision{}
	c.oldBytes, c.youngBytes = 0, 0
}
