package user

import (
	"parley/actors/conversation/row"
	"parley/persistence/keys"
	"parley/persistence/store"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
)

// change is one row that a decision changes, with its effect on the view.
type change interface {
	encode(m *machine) []store.Op
	fold(m *machine)
}

type (
	profileChanged     struct{ user *eventv1.User }
	listed             struct{ createdMs int64 }
	unlisted           struct{ createdMs int64 }
	membershipIndexed  struct{ membership *eventv1.Membership }
	membershipOrdered  struct{ membership *eventv1.Membership }
	membershipDropped  struct{ membership *eventv1.Membership }
	deletionNoted      struct{ deleted *eventv1.DeletedConversations }
	deletionsForgotten struct{}
	devicesChanged     struct{ devices *eventv1.Devices } // empty: the row goes
)

func (c profileChanged) encode(m *machine) []store.Op {
	return []store.Op{row.Put(keys.User(m.entity.Shard, m.app, m.id), c.user)}
}
func (c profileChanged) fold(m *machine) { m.user = c.user }

func (c listed) encode(m *machine) []store.Op {
	return []store.Op{store.Put(keys.Listed(m.entity.Shard, m.app, keys.KindUser, c.createdMs, m.id), nil)}
}
func (c listed) fold(*machine) {}

func (c unlisted) encode(m *machine) []store.Op {
	return []store.Op{store.Delete(keys.Listed(m.entity.Shard, m.app, keys.KindUser, c.createdMs, m.id))}
}
func (c unlisted) fold(*machine) {}

func (c membershipIndexed) encode(m *machine) []store.Op {
	return []store.Op{row.Put(m.membershipKey(c.membership), c.membership)}
}
func (c membershipIndexed) fold(m *machine) {
	m.memberships[c.membership.ConversationId] = c.membership
}

func (c membershipOrdered) encode(m *machine) []store.Op {
	return []store.Op{store.Put(m.orderKey(c.membership), nil)}
}
func (c membershipOrdered) fold(*machine) {}

func (c membershipDropped) encode(m *machine) []store.Op {
	return []store.Op{store.Delete(m.membershipKey(c.membership)), store.Delete(m.orderKey(c.membership))}
}
func (c membershipDropped) fold(m *machine) { m.memberships[c.membership.ConversationId] = nil }

func (c deletionNoted) encode(m *machine) []store.Op {
	return []store.Op{row.Put(keys.Deleted(m.entity.Shard, m.app, m.id), c.deleted)}
}
func (c deletionNoted) fold(m *machine) { m.deleted = c.deleted }

func (c deletionsForgotten) encode(m *machine) []store.Op {
	return []store.Op{store.Delete(keys.Deleted(m.entity.Shard, m.app, m.id))}
}
func (c deletionsForgotten) fold(m *machine) { m.deleted = &eventv1.DeletedConversations{} }

func (c devicesChanged) encode(m *machine) []store.Op {
	key := keys.Devices(m.entity.Shard, m.app, m.id)
	if c.devices.SizeVT() == 0 {
		return []store.Op{store.Delete(key)}
	}
	return []store.Op{row.Put(key, c.devices)}
}
func (c devicesChanged) fold(m *machine) { m.devices = c.devices }

func (m *machine) membershipKey(of *eventv1.Membership) []byte {
	return keys.Membership(m.entity.Shard, m.app, m.id, row.UUID(id.Conversation, of.ConversationId))
}

func (m *machine) orderKey(of *eventv1.Membership) []byte {
	con := row.UUID(id.Conversation, of.ConversationId)
	return keys.MembershipOrder(m.entity.Shard, m.app, m.id, of.ConversationCreatedMs, con)
}
