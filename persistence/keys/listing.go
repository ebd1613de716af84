package keys

import "encoding/binary"

// Listed places an entity in its application's listing, by time of creation and then by id.
func Listed(s Shard, app UUID, k EntityKind, createdMs int64, e UUID) []byte {
	b := append(Listing(s, app, k), 0, 0, 0, 0, 0, 0, 0, 0)
	binary.BigEndian.PutUint64(b[len(b)-8:], uint64(createdMs))
	return append(b, e[:]...)
}

// Listing is the prefix of an application's listing of one kind.
func Listing(s Shard, app UUID, k EntityKind) []byte {
	return append(append(table(s, tableListed, 41), app[:]...), byte(k))
}

// ListedPosition is what follows the Listing prefix: creation time and id. Positions of
// different shards compare as bytes, so a merge over all shards is in order of creation.
func ListedPosition(key []byte) []byte { return key[23:] }

// ListedEntity reads the entity back from a ListedPosition.
func ListedEntity(position []byte) (createdMs int64, e UUID) {
	copy(e[:], position[8:24])
	return int64(binary.BigEndian.Uint64(position)), e
}
