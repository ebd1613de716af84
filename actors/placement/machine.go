// Package placement is the pure heart of who belongs to the cluster and where replicas are
// wanted: one entity in the meta shard, changed only by commands, so that every decision about
// growth is committed before it is carried out. What follows from these rows is decided in
// cluster/placement and done by the leader of the meta shard.
package placement

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

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

// ID is the id of the one entity of its kind.
const ID = "00000000-0000-0000-0000-000000000000"

// storesMax bounds the members of a cluster, removed ones included: these are kept for ever, so
// that an old disk is known when it comes back.
const storesMax = 4096

// machine implements grain.Machine.
type machine struct {
	valid  bool
	loaded bool
	stores map[string]*eventv1.Store // by uuid
	row    *eventv1.Placement        // without a next replica the placement was never founded
	shards map[uint32]*eventv1.ShardMap
}

// New makes the machine of the placement. It is called by grain shells.
func New(e grain.Entity) grain.Machine {
	return &machine{valid: e.ID == ID, stores: map[string]*eventv1.Store{}, shards: map[uint32]*eventv1.ShardMap{}}
}

// Load implements grain.Machine.
func (m *machine) Load(r store.Reader, _ uint64, _ []byte, cmd *nodev1.Command) error {
	if !m.valid {
		return nil
	}
	if !m.loaded {
		stores, err := Stores(r)
		if err != nil {
			return err
		}
		for _, s := range stores {
			m.stores[s.Uuid] = s
		}
		p, err := Row(r)
		if err != nil {
			return err
		}
		m.row, m.loaded = p, true
	}
	if s := cmd.GetPutStore().GetStore(); s != nil && m.stores[s.Uuid] == nil {
		return m.loadShards(r)
	}
	wanted := cmd.GetRecoverPlacement().GetShards()
	if s := cmd.GetPutShard().GetShard(); s != nil {
		wanted = []*eventv1.ShardMap{s}
	}
	for _, w := range wanted {
		if m.shards[w.Shard] != nil {
			continue
		}
		known := &eventv1.ShardMap{Shard: w.Shard}
		if _, err := row.Read(r, keys.ShardMap(keys.Shard(w.Shard)), known); err != nil {
			return err
		}
		m.shards[w.Shard] = known
	}
	return nil
}

// loadShards loads all rows of the shard map: a new member's name must be in none.
func (m *machine) loadShards(r store.Reader) error {
	all, err := Shards(r)
	if err != nil {
		return err
	}
	for _, s := range all {
		if m.shards[s.Shard] == nil {
			m.shards[s.Shard] = s
		}
	}
	return nil
}

// Decide implements grain.Machine. Who asks is a node: the ways here are closed to clients.
func (m *machine) Decide(now int64, cmd *nodev1.Command) (grain.Decision, error) {
	if !m.valid || !cmd.GetPrincipal().GetAdmin() || cmd.GetPrincipal().GetApplicationId() != "" {
		return grain.Decision{}, code.New(code.Permission, "only nodes and operators may change the placement")
	}
	switch b := cmd.Body.(type) {
	case *nodev1.Command_FoundPlacement:
		return m.found(now, b.FoundPlacement)
	case *nodev1.Command_PutStore:
		return m.putStore(now, b.PutStore.GetStore())
	case *nodev1.Command_SetStore:
		return m.setStore(now, b.SetStore)
	case *nodev1.Command_PutShard:
		return m.putShard(b.PutShard.GetShard())
	case *nodev1.Command_RaiseVersion:
		return m.raise(b.RaiseVersion.GetVersion())
	case *nodev1.Command_RecoverPlacement:
		return m.recovered(now, b.RecoverPlacement)
	default:
		return grain.Decision{}, code.New(code.InvalidEvent, "the placement does not know this command")
	}
}

// changed is what Evolve folds in.
type changed struct {
	stores []*eventv1.Store
	row    *eventv1.Placement // nil = as it was
	shards []*eventv1.ShardMap
}

// found writes the first member and where the shards are.
func (m *machine) found(now int64, f *nodev1.FoundPlacement) (grain.Decision, error) {
	if m.founded() {
		return grain.Decision{Changes: changed{}, Reply: &nodev1.Reply{Store: m.stores[f.GetFounder().GetUuid()], Duplicate: true}}, nil
	}
	if err := checkStore(f.GetFounder()); err != nil {
		return grain.Decision{}, err
	}
	if f.NextReplica == 0 || len(f.Shards) == 0 {
		return grain.Decision{}, code.Invalid("shards", "must be there")
	}
	c := changed{stores: []*eventv1.Store{member(f.Founder, now)},
		row: &eventv1.Placement{NextReplica: f.NextReplica, Version: max(f.Version, 1)}}
	for _, s := range f.Shards {
		next := proto.CloneOf(s)
		next.ConfVersion = 1
		c.shards = append(c.shards, next)
	}
	return decide(c), nil
}

func member(wanted *eventv1.Store, now int64) *eventv1.Store {
	s := proto.CloneOf(wanted)
	s.State, s.JoinedMs, s.ChangedMs = eventv1.StoreState_STORE_STATE_UP, now, now
	return s
}

// putStore makes a member, or takes note of where it is now. A removed disk stays removed, a name
// belongs to one disk at a time, and an earlier life of a node does not speak for the later one.
func (m *machine) putStore(now int64, wanted *eventv1.Store) (grain.Decision, error) {
	if err := checkStore(wanted); err != nil {
		return grain.Decision{}, err
	}
	if !m.founded() {
		return grain.Decision{}, code.New(code.Unavailable, "the cluster is being founded; try again")
	}
	old := m.stores[wanted.Uuid]
	switch {
	case old.GetState() == eventv1.StoreState_STORE_STATE_REMOVED:
		return grain.Decision{}, code.New(code.Permission,
			"node %s was removed from the cluster with this data directory; start it with an empty one to join again", old.Node)
	case Spoken(wanted).Refuses(m.version()) != "":
		return grain.Decision{}, code.New(code.Permission, "%s", Spoken(wanted).Refuses(m.version()))
	case old == nil:
		if err := m.admit(wanted); err != nil {
			return grain.Decision{}, err
		}
		return decide(changed{stores: []*eventv1.Store{member(wanted, now)}}), nil
	case wanted.Node != old.Node:
		return grain.Decision{}, code.Invalid("node", "must be "+old.Node+", as this store's node was first called")
	case wanted.Incarnation < old.Incarnation:
		return grain.Decision{}, code.New(code.Permission, "a later start of node %s is known", old.Node)
	}
	next := proto.CloneOf(wanted)
	next.State, next.JoinedMs, next.ChangedMs = old.State, old.JoinedMs, old.ChangedMs
	if proto.Equal(next, old) {
		return grain.Decision{Changes: changed{}, Reply: &nodev1.Reply{Store: old, Duplicate: true}}, nil
	}
	return decide(changed{stores: []*eventv1.Store{next}}), nil
}

// admit says whether a new store may become a member. A name that a shard still counts on has to wait: the
// replica would be looked for on the new disk, which has none, and never be replaced.
func (m *machine) admit(wanted *eventv1.Store) error {
	if len(m.stores) >= storesMax {
		return code.New(code.Permission, "the cluster has had %d stores, which is the limit", storesMax)
	}
	if s := m.named(wanted.Node); s != nil {
		return code.New(code.Permission,
			"the name %s belongs to another data directory of this cluster; if that is lost, remove the node first: parley node remove %s", wanted.Node, wanted.Node)
	}
	for _, s := range slices.Sorted(maps.Keys(m.shards)) {
		if slices.ContainsFunc(m.shards[s].Replicas, func(r *eventv1.PlacedReplica) bool { return r.Node == wanted.Node }) {
			return code.New(code.Unavailable,
				"shard %d has not yet let go of its replica on the former node %s; try again, or choose another name", s, wanted.Node)
		}
	}
	return nil
}

// named gives the member of that name, nil for none.
func (m *machine) named(node string) *eventv1.Store {
	for _, s := range m.stores {
		if s.Node == node && s.State != eventv1.StoreState_STORE_STATE_REMOVED {
			return s
		}
	}
	return nil
}

// transitions are the ways of a member; a removal that has begun is finished.
var transitions = map[eventv1.StoreState][]eventv1.StoreState{
	eventv1.StoreState_STORE_STATE_UP:       {eventv1.StoreState_STORE_STATE_DRAINING, eventv1.StoreState_STORE_STATE_REMOVING},
	eventv1.StoreState_STORE_STATE_DRAINING: {eventv1.StoreState_STORE_STATE_UP, eventv1.StoreState_STORE_STATE_REMOVING},
	eventv1.StoreState_STORE_STATE_REMOVING: {eventv1.StoreState_STORE_STATE_REMOVED},
}

// setStore changes what the cluster does with a member.
func (m *machine) setStore(now int64, c *nodev1.SetStore) (grain.Decision, error) {
	old := m.named(c.GetNode())
	if old == nil {
		return grain.Decision{}, code.New(code.NotFound, "no member is called %q", c.GetNode())
	}
	if old.State == c.State {
		return grain.Decision{Changes: changed{}, Reply: &nodev1.Reply{Store: old, Duplicate: true}}, nil
	}
	if !slices.Contains(transitions[old.State], c.State) {
		return grain.Decision{}, code.New(code.ClusterState, "node %s is %s; that can not be undone", old.Node, StateName(old.State))
	}
	if c.State == eventv1.StoreState_STORE_STATE_REMOVING {
		if err := m.mayRemove(old, c.Force); err != nil {
			return grain.Decision{}, err
		}
	}
	next := proto.CloneOf(old)
	next.State, next.ChangedMs = c.State, now
	return decide(changed{stores: []*eventv1.Store{next}}), nil
}

// mayRemove keeps the cluster at three members that hold replicas, and always at one. A member that
// holds none may go at any time.
func (m *machine) mayRemove(leaving *eventv1.Store, force bool) error {
	left := -1
	for _, s := range m.stores {
		stays := s.State == eventv1.StoreState_STORE_STATE_UP || s.State == eventv1.StoreState_STORE_STATE_DRAINING
		if stays && Holds(s) {
			left++
		}
	}
	switch {
	case !Holds(leaving):
		return nil
	case left < 1:
		return code.New(code.ClusterState, "the last node that holds data cannot be removed")
	case left < 3 && !force:
		return code.New(code.ClusterState, "only %d of the nodes that hold data would be left, and no failure would be tolerated; --force (\"force\": true) says that this is meant", left)
	}
	return nil
}

// putShard replaces a shard's row if it is still the one that the decision was made from.
func (m *machine) putShard(wanted *eventv1.ShardMap) (grain.Decision, error) {
	old := m.shards[wanted.GetShard()]
	if wanted == nil || !m.founded() {
		return grain.Decision{}, code.Invalid("shard", "must be there")
	}
	if wanted.ConfVersion != old.ConfVersion {
		return grain.Decision{}, code.New(code.IdempotencyConflict, "shard %d has changed meanwhile", wanted.Shard)
	}
	c := changed{row: proto.CloneOf(m.row)}
	next := &eventv1.ShardMap{Shard: wanted.Shard, ConfVersion: old.ConfVersion + 1}
	for _, r := range wanted.Replicas {
		r = proto.CloneOf(r)
		if r.Id == 0 {
			r.Id = c.row.NextReplica
			c.row.NextReplica++
		}
		if r.Id >= c.row.NextReplica || r.Node == "" {
			return grain.Decision{}, code.Invalid("shard", "has a replica that was never allocated")
		}
		next.Replicas = append(next.Replicas, r)
	}
	c.shards = append(c.shards, next)
	return decide(c), nil
}

func decide(c changed) grain.Decision {
	d := grain.Decision{Changes: c, Reply: &nodev1.Reply{}}
	for _, s := range c.stores {
		u, _ := id.Parse(id.Application, s.Uuid) // checked
		d.Ops = append(d.Ops, row.Put(keys.Store(u), s))
		d.Reply.Store = s
	}
	if c.row != nil {
		d.Ops = append(d.Ops, row.Put(keys.Placement(), c.row))
	}
	for _, s := range c.shards {
		d.Ops = append(d.Ops, row.Put(keys.ShardMap(keys.Shard(s.Shard)), s))
		d.Reply.ShardMap = s
	}
	return d
}

// Evolve implements grain.Machine.
func (m *machine) Evolve(d grain.Decision) {
	c, ok := d.Changes.(changed)
	invariant.That(ok, "placement: foreign changes %T", d.Changes)
	for _, s := range c.stores {
		m.stores[s.Uuid] = s
	}
	if c.row != nil {
		m.row = c.row
	}
	for _, s := range c.shards {
		m.shards[s.Shard] = s
	}
}

// Head implements grain.Machine. The placement has no hot part.
func (m *machine) Head() []byte { return nil }

// Settle implements grain.Machine.
func (m *machine) Settle() { clear(m.shards) }

// nameBytesMax bounds names and addresses.
const nameBytesMax = 256

func checkStore(s *eventv1.Store) error {
	if _, err := id.Parse(id.Application, s.GetUuid()); err != nil {
		return code.Invalid("uuid", "must be a UUID")
	}
	for _, f := range []struct{ name, text string }{{"node", s.Node}, {"gossip", s.Gossip}, {"rpc", s.Rpc}, {"raft", s.Raft}} {
		if f.text == "" || len(f.text) > nameBytesMax {
			return code.Invalid(f.name, fmt.Sprintf("must have 1 to %d bytes", nameBytesMax))
		}
	}
	if len(s.Http) > nameBytesMax { // empty on a node that serves no clients
		return code.Invalid("http", fmt.Sprintf("must not have more than %d bytes", nameBytesMax))
	}
	return nil
}
