package store

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Apply adds op to b. Several ops on one key take effect in the order of the calls.
func Apply(b *pebble.Batch, op Op) error {
	switch op.Kind {
	case OpPut:
		return b.Set(op.Key, op.Value, nil)
	case OpDelete:
		return b.Delete(op.Key, nil)
	case OpDeleteRange:
		return b.DeleteRange(op.Key, op.End, nil)
	default:
		return fmt.Errorf("op of unknown kind %d", op.Kind)
	}
}
