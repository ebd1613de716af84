package store

// Reader reads applied state. Implementations are a live state Pebble, a Pebble snapshot, and a
// batch laid over either. Safe for concurrent use unless an implementation says otherwise.
type Reader interface {
	// Get gives a copy of the value, or ok=false when the key is absent. An error means damage
	// or a closed store, never absence.
	Get(key []byte) (value []byte, ok bool, err error)

	// Scan calls visit for each key in [lo, hi), ascending, or descending when reverse is set,
	// until visit says stop. Key and value are valid only during the call.
	Scan(lo, hi []byte, reverse bool, visit func(key, value []byte) (more bool, err error)) error
}

// Op is one change of state: a put, the deletion of one key, or of a range [Key, End).
type Op struct {
	Kind  OpKind
	Key   []byte
	Value []byte // of a put
	End   []byte // of a range deletion
}

// OpKind tells the kinds of Op apart. Stored in log entries: numbers never change.
type OpKind byte

// The kinds of Op.
const (
	OpPut         OpKind = 1
	OpDelete      OpKind = 2
	OpDeleteRange OpKind = 3
)

// Put makes an Op that sets key.
func Put(key, value []byte) Op { return Op{Kind: OpPut, Key: key, Value: value} }

// Delete makes an Op that removes key.
func Delete(key []byte) Op { return Op{Kind: OpDelete, Key: key} }

// DeleteRange makes an Op that removes [lo, hi).
func DeleteRange(lo, hi []byte) Op { return Op{Kind: OpDeleteRange, Key: lo, End: hi} }
