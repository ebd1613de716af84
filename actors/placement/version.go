package placement

import (
	"google.golang.org/protobuf/proto"

	"parley/actors/grain"
	"parley/cluster/version"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// founded says whether the cluster has a placement.
func (m *machine) founded() bool { return m.row.GetNextReplica() != 0 }

// version is what the cluster speaks.
func (m *machine) version() version.Number { return VersionOf(m.row) }

// VersionOf is the version of the cluster that a row says. Rows of before it was kept say 1.
func VersionOf(p *eventv1.Placement) version.Number { return version.Number(max(p.GetVersion(), 1)) }

// Spoken are the versions that a member's build speaks.
func Spoken(s *eventv1.Store) version.Range { return version.Told(s.VersionOldest, s.VersionNewest) }

// raise lets the cluster speak a later version, which all members do. It never goes back.
func (m *machine) raise(to uint32) (grain.Decision, error) {
	wanted := version.Number(to)
	switch {
	case !m.founded():
		return grain.Decision{}, code.New(code.Unavailable, "the cluster is being founded; try again")
	case wanted == m.version():
		return grain.Decision{Changes: changed{}, Reply: &nodev1.Reply{Duplicate: true}}, nil
	case wanted < m.version():
		return grain.Decision{}, code.New(code.Permission, "the cluster is at version %d and does not go back to %d", m.version(), wanted)
	}
	for _, s := range m.stores {
		if s.State != eventv1.StoreState_STORE_STATE_REMOVED && Spoken(s).Refuses(wanted) != "" {
			return grain.Decision{}, code.New(code.IdempotencyConflict, "not every member speaks version %d", wanted)
		}
	}
	next := proto.CloneOf(m.row)
	next.Version = to
	return decide(changed{row: next}), nil
}
