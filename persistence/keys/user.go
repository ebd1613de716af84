package keys

import "encoding/binary"

// User is a user's profile.
func User(s Shard, app, user UUID) []byte { return entity(s, tableUser, app, user, 0) }

// Membership is one row of a user's index.
func Membership(s Shard, app, user, conversation UUID) []byte {
	return append(entity(s, tableMembership, app, user, 16), conversation[:]...)
}

// Memberships is the prefix of a user's index.
func Memberships(s Shard, app, user UUID) []byte { return entity(s, tableMembership, app, user, 0) }

// MembershipOrder places a conversation in a user's index, by time of the conversation's creation and
// then by id: what follows the MembershipOrders prefix reads like a ListedPosition.
func MembershipOrder(s Shard, app, user UUID, createdMs int64, conversation UUID) []byte {
	b := binary.BigEndian.AppendUint64(entity(s, tableMembershipBy, app, user, 24), uint64(createdMs))
	return append(b, conversation[:]...)
}

// MembershipOrders is the prefix of a user's index in order of creation.
func MembershipOrders(s Shard, app, user UUID) []byte {
	return entity(s, tableMembershipBy, app, user, 0)
}

// Devices is a user's devices.
func Devices(s Shard, app, user UUID) []byte { return entity(s, tableDevices, app, user, 0) }

// Deleted is which conversations of a user were deleted lately.
func Deleted(s Shard, app, user UUID) []byte { return entity(s, tableDeleted, app, user, 0) }

// Name is the reservation of a name; kind is "user", "conversation" or "device".
func Name(s Shard, app UUID, kind, name string) []byte {
	b := table(s, tableName, 17+len(kind)+len(name))
	b = append(append(b, app[:]...), kind...)
	return append(append(b, '/'), name...)
}

// Application is an application's row, in the meta shard.
func Application(app UUID) []byte { return append(table(Meta, tableApplication, 16), app[:]...) }

// Applications is the prefix of all applications.
func Applications() []byte { return table(Meta, tableApplication, 0) }

// Credential is an operator's API key, in the meta shard.
func Credential(key string) []byte { return append(table(Meta, tableCredential, len(key)), key...) }

// Credentials is the prefix of all API keys.
func Credentials() []byte { return table(Meta, tableCredential, 0) }

// Settings is the cluster's own row, in the meta shard.
func Settings() []byte { return table(Meta, tableSettings, 0) }
