package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"parley/persistence/keys"
)

const lifeBytes = 8

// BeginLife gives the number of the life that a node begins with this store: clock, in Unix nanoseconds,
// or one more than the last if the clock was once ahead of what it shows now. The others take a node with a
// smaller number for one that was replaced. It is durable when the call returns. The node calls it once at
// each start, before anybody hears of it.
func (s *Store) BeginLife(clock uint64) (uint64, error) {
	if err := s.gate.enter(); err != nil {
		return 0, err
	}
	defer s.gate.leave()
	row, ok, err := s.get(s.log, keys.StoreLife())
	if err != nil {
		return 0, fmt.Errorf("read the last life: %w", err)
	}
	life := clock
	if ok {
		if len(row) != lifeBytes {
			return 0, s.note(s.log, &DamageError{Dir: s.log.dir, Err: errors.New("the row of the last life has another length")})
		}
		life = max(clock, binary.BigEndian.Uint64(row)+1)
	}
	if err := s.note(s.log, s.log.db.Set(keys.StoreLife(), binary.BigEndian.AppendUint64(nil, life), pebble.Sync)); err != nil {
		return 0, fmt.Errorf("write the life that begins: %w", err)
	}
	return life, nil
}
