package store

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"parley/persistence/keys"
)

// Identity says whose disk this is. It is written once, when the store joins a cluster; a copied
// or restored disk gets a new StoreUUID and with it new replicas.
type Identity struct {
	Format    int    `json:"format"`     // of this row; set by SetIdentity
	ClusterID string `json:"cluster_id"` // bare UUID
	NodeName  string `json:"node_name"`
	StoreUUID string `json:"store_uuid"`           // bare UUID, never used twice
	CreatedMs int64  `json:"created_ms,omitempty"` // Unix milliseconds
	Shards    uint32 `json:"shards,omitempty"`     // data shards of the cluster; 0 in stores of before it was kept
	Joined    bool   `json:"joined,omitempty"`     // the cluster was there before: this store never founds one
}

const identityFormat = 1

// Identity reads the identity; ok is false in a store that belongs to no cluster yet.
func (s *Store) Identity() (id Identity, ok bool, err error) {
	if err := s.gate.enter(); err != nil {
		return Identity{}, false, err
	}
	defer s.gate.leave()
	row, ok, err := s.get(s.log, keys.StoreIdentity())
	if err != nil || !ok {
		return Identity{}, false, err
	}
	if err := json.Unmarshal(row, &id); err != nil {
		return Identity{}, false, s.note(s.log, &DamageError{Dir: s.log.dir, Err: fmt.Errorf("identity: %w", err)})
	}
	if id.Format > identityFormat {
		return Identity{}, false, fmt.Errorf("%s: identity has format %d, this version knows up to %d",
			s.log.dir, id.Format, identityFormat)
	}
	return id, true, nil
}

// SetIdentity writes the identity; it is durable when the call returns. A store keeps the
// cluster and the uuid that it was first given: other ones are refused.
func (s *Store) SetIdentity(id Identity) error {
	if id.ClusterID == "" || id.NodeName == "" || id.StoreUUID == "" {
		return errors.New("identity needs a cluster id, a node name and a store uuid")
	}
	old, ok, err := s.Identity()
	if err != nil {
		return err
	}
	if ok && (old.ClusterID != id.ClusterID || old.StoreUUID != id.StoreUUID) {
		return fmt.Errorf("%s belongs to cluster %s as store %s; it cannot become store %s of cluster %s",
			s.dir, old.ClusterID, old.StoreUUID, id.StoreUUID, id.ClusterID)
	}
	id.Format = identityFormat
	row, err := json.Marshal(id)
	if err != nil {
		return fmt.Errorf("encode identity: %w", err)
	}
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	return s.note(s.log, s.log.db.Set(keys.StoreIdentity(), row, pebble.Sync))
}
