package placement

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"parley/actors/grain"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

const (
	// replicaJump is how many replica ids a recovery passes over: the lost majority may have given some
	// away that the survivors never heard of.
	replicaJump = 1 << 20
	// recoveriesMax bounds the recoveries that are remembered: each survivor of one disaster has its own,
	// and repeats it until it is heard.
	recoveriesMax = 64
)

// recovered takes note of an unsafe recovery: the dead stores never come back, and a shard is where its one
// survivor is. A second time for the same recovery it changes nothing.
func (m *machine) recovered(now int64, c *nodev1.RecoverPlacement) (grain.Decision, error) {
	switch {
	case !m.founded() || c.GetId() == "":
		return grain.Decision{}, code.Invalid("id", "must be there, in a cluster that was founded")
	case m.row.Recovery == c.Id || slices.Contains(m.row.EarlierRecoveries, c.Id):
		return grain.Decision{Changes: changed{}, Reply: &nodev1.Reply{Duplicate: true}}, nil
	}
	out := changed{row: proto.CloneOf(m.row)}
	if last := out.row.Recovery; last != "" {
		earlier := append(out.row.EarlierRecoveries, last)
		out.row.EarlierRecoveries = earlier[max(0, len(earlier)-(recoveriesMax-1)):]
	}
	out.row.Recovery = c.Id
	out.row.NextReplica += replicaJump
	for i, uuid := range c.Dead {
		next, err := m.gone(c, i)
		if err != nil {
			return grain.Decision{}, err
		}
		if next == nil || m.stores[uuid].GetState() == eventv1.StoreState_STORE_STATE_REMOVED {
			continue
		}
		next.State, next.ChangedMs = eventv1.StoreState_STORE_STATE_REMOVED, now
		out.stores = append(out.stores, next)
	}
	for _, s := range c.Shards {
		next := proto.CloneOf(s)
		next.ConfVersion = m.shards[s.Shard].GetConfVersion() + 1
		out.shards = append(out.shards, next)
	}
	return decide(out), nil
}

// gone gives the row of a dead store, to be changed. A store that only the lost majority took in has none
// yet: it gets one, or its disk could join as if it were new. nil = its node is not told either.
func (m *machine) gone(c *nodev1.RecoverPlacement, i int) (*eventv1.Store, error) {
	uuid := c.Dead[i]
	if s := m.stores[uuid]; s != nil {
		return proto.CloneOf(s), nil
	}
	if i >= len(c.DeadNodes) {
		return nil, nil
	}
	if _, err := id.Parse(id.Application, uuid); err != nil {
		return nil, code.Invalid("dead", "must be UUIDs")
	}
	return &eventv1.Store{Uuid: uuid, Node: c.DeadNodes[i]}, nil
}
