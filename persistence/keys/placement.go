package keys

import "encoding/binary"

// Store is a member of the cluster, in the meta shard.
func Store(uuid UUID) []byte { return append(table(Meta, tableStore, 16), uuid[:]...) }

// Stores is the prefix of all members, removed ones included.
func Stores() []byte { return table(Meta, tableStore, 0) }

// ShardMap is where the replicas of s are wanted, in the meta shard.
func ShardMap(s Shard) []byte {
	return binary.BigEndian.AppendUint32(table(Meta, tableShardMap, 4), uint32(s))
}

// ShardMaps is the prefix of all ShardMap rows.
func ShardMaps() []byte { return table(Meta, tableShardMap, 0) }

// Placement is the row with the next replica id, in the meta shard.
func Placement() []byte { return table(Meta, tablePlacement, 0) }

// PublicPrefixes lists those of what every node follows of the meta shard: the heads of its
// entities, applications, API keys, settings, members and the shard map.
func PublicPrefixes() [][]byte {
	return [][]byte{
		table(Meta, tableHead, 0), Applications(), Credentials(), Settings(), Stores(), ShardMaps(), Placement(),
	}
}
