package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3/raftpb"

	"parley/persistence/keys"
	"parley/persistence/raftlog"
	"parley/persistence/store"
)

// termJump is how far the term of a recovered shard jumps: further than a majority that was taken for
// dead could get by elections in years.
const termJump = 1 << 24

// Marker is left in a recovered store, for the node to complete the recovery at its next start: the
// cluster's placement must learn of it before the driver acts on it. It is deleted afterwards.
type Marker struct {
	ID     string      `json:"id"`     // bare UUID
	Dead   []DeadStore `json:"dead"`   // never members again
	Shards []Recovered `json:"shards"` // whose only voter is in this store now
}

// DeadStore is a store that is lost, by the name and uuid of its membership.
type DeadStore struct {
	Node string `json:"node"`
	UUID string `json:"store_uuid"`
}

// Recovered is a shard with the replica that is its only voter.
type Recovered struct {
	Shard   keys.Shard `json:"shard"`
	Replica uint64     `json:"replica"`
}

// ReadMarker gives the marker of a store, nil when there is none.
func ReadMarker(st *store.Store) (*Marker, error) {
	row, closer, err := st.Log().Get(keys.RecoveryMarker())
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the marker of a recovery: %w", err)
	}
	m := &Marker{}
	if err := errors.Join(json.Unmarshal(row, m), closer.Close()); err != nil {
		return nil, fmt.Errorf("read the marker of a recovery: %w", err)
	}
	return m, nil
}

// ClearMarker ends a recovery in this store, durably.
func ClearMarker(st *store.Store) error {
	if err := st.Log().Delete(keys.RecoveryMarker(), pebble.Sync); err != nil {
		return fmt.Errorf("clear the marker of a recovery: %w", err)
	}
	return nil
}

// Apply does this store's part of the plan. After a crash in the middle it is given again, with a new
// plan. id names the recovery. What an earlier recovery has left to do here is done with this one.
//
// The log goes first, in one synced batch, and then the configurations: a shard of which only the log was
// changed still counts as lost, and is recovered again.
func Apply(ctx context.Context, st *store.Store, p *Plan, id string) error {
	identity, known, err := st.Identity()
	if err != nil || !known || identity.ClusterID != p.Cluster {
		return errors.Join(fmt.Errorf("recover: this store is not of the plan's cluster %s", p.Cluster), err)
	}
	marker, err := resume(st, p, id)
	if err != nil {
		return err
	}
	log, state := st.Log().NewBatch(), st.State().NewBatch()
	defer log.Close()
	defer state.Close()
	for _, c := range p.Chosen {
		if c.Node == identity.NodeName {
			if err := choose(st, c, log, state); err != nil {
				return fmt.Errorf("recover shard %d: %w", c.Shard, err)
			}
			marker.Shards = append(marker.Shards, Recovered{c.Shard, c.ID})
		} else if err := drop(st, c.Shard, log); err != nil {
			return fmt.Errorf("drop the replica of shard %d: %w", c.Shard, err)
		}
	}
	row, err := json.Marshal(marker)
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	if err := log.Set(keys.RecoveryMarker(), row, nil); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	if err := log.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("recover: write the logs: %w", err)
	}
	if err := state.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("recover: write the configurations: %w", err)
	}
	if err := st.FlushState(ctx); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	return nil
}

// resume begins the marker with what an earlier recovery left undone: its dead stay dead, and a shard of it
// that this plan leaves alone has its only voter here still.
func resume(st *store.Store, p *Plan, id string) (*Marker, error) {
	m, err := ReadMarker(st)
	if err != nil {
		return nil, err
	}
	if m == nil {
		m = &Marker{}
	}
	m.ID = id
	m.Shards = slices.DeleteFunc(m.Shards, func(r Recovered) bool {
		return slices.ContainsFunc(p.Chosen, func(c Choice) bool { return c.Shard == r.Shard })
	})
	for _, d := range p.Gone {
		if !slices.Contains(m.Dead, d) {
			m.Dead = append(m.Dead, d)
		}
	}
	return m, nil
}

// drop gives up the replica of a shard that is chosen elsewhere, also one without state: it would wait for
// a snapshot from leaders of the past, and keep the node from ever getting a new one.
func drop(st *store.Store, s keys.Shard, log *pebble.Batch) error {
	local, ok, err := localReplica(st, s)
	if err != nil || !ok {
		return err
	}
	return raftlog.StageRemoval(log, s, local)
}

// choose makes a replica the only voter of its shard: all that its log holds counts as committed, and the
// changes of configuration among what was not applied yet count for nothing.
func choose(st *store.Store, c Choice, log, state *pebble.Batch) error {
	h, err := openReplica(st, c.Shard)
	if err != nil {
		return err
	}
	if h == nil || h.id != c.ID || h.last != (raftlog.Position{Index: c.Last, Term: c.Term}) {
		return errors.New("the store has changed since it was surveyed")
	}
	hard, _, err := h.log.InitialState()
	if err != nil {
		return err
	}
	term := max(hard.GetTerm(), h.last.Term) + termJump
	w := raftlog.Write{Shard: c.Shard, Replica: c.ID, Last: h.last.Index,
		Vote: &raftlog.Vote{Term: term, For: c.ID, Commit: h.last.Index}}
	if w.Entries, err = withoutChanges(h); err != nil {
		return err
	}
	if err := w.Stage(log); err != nil {
		return err
	}
	row := raftlog.Applied{Position: h.applied.Position, Members: []raftlog.Member{{Replica: c.ID, Node: c.Node}},
		Conf: raftpb.EnsureConfState(&raftpb.ConfState{Voters: []uint64{c.ID}})}
	return state.Set(keys.Replica(c.Shard), row.Encode(), nil)
}

// withoutChanges gives the log from its first change of configuration on that was not applied, with
// nothing in the place of each such change; nil when there is none.
func withoutChanges(h *held) ([]*raftpb.Entry, error) {
	if h.applied.Index >= h.last.Index {
		return nil, nil
	}
	entries, err := h.log.Entries(h.applied.Index+1, h.last.Index+1, ^uint64(0))
	if err != nil {
		return nil, fmt.Errorf("read what was not applied: %w", err)
	}
	first := -1
	for i, e := range entries {
		if e.GetType() == raftpb.EntryNormal {
			continue
		}
		entries[i] = &raftpb.Entry{Term: new(e.GetTerm()), Index: new(e.GetIndex()), Type: raftpb.EntryNormal.Enum()}
		if first < 0 {
			first = i
		}
	}
	if first < 0 {
		return nil, nil
	}
	return entries[first:], nil
}
