// Package recovery brings shards back whose majority is lost for good: on the stopped node that holds
// the longest log of a shard, that one replica is made its only voter.
//
// It breaks a promise, which is why nothing does it by itself: an event that was acknowledged by the lost
// majority before the surviving replica had it is gone. What is in the surviving log is kept, committed
// or not. The replica goes on in a far later term, so that whatever the dead still say is of the past, and
// the cluster is told to refuse their stores for ever.
//
//	Replay, Survey (each surviving store) ──▶ Decide (pure) ──▶ Apply (each surviving store) ──▶ start the nodes
package recovery

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/persistence/raftlog"
	"parley/persistence/store"
)

// Report is what one surviving store holds. Its JSON travels between the machines of the survivors.
type Report struct {
	Cluster  string    `json:"cluster_id"`
	Node     string    `json:"node"`
	Store    string    `json:"store_uuid"`
	Shards   uint32    `json:"shards"` // data shards of the cluster, without the meta shard
	Replicas []Replica `json:"replicas"`
	// Members are all stores that this one knows of. Survey leaves them to who can read their rows.
	Members []Member `json:"members"`
}

// Replica is one shard's replica in a store.
type Replica struct {
	Shard  keys.Shard `json:"shard"`
	ID     uint64     `json:"replica"`
	Term   uint64     `json:"last_term"`    // of the last entry of its log
	Last   uint64     `json:"last_index"`   // likewise
	Commit uint64     `json:"commit_index"` // what it knew to be committed
	Conf   Conf       `json:"configuration"`
}

// Conf is a shard's configuration as far as a replica knows it to be committed. What the state has applied
// may be older: it is not synced, and after a power cut it goes on from where it was last flushed.
type Conf struct {
	Voters   []uint64         `json:"voters"`
	Outgoing []uint64         `json:"outgoing,omitempty"` // voters of the half that is being left
	Members  []raftlog.Member `json:"members"`
}

// errNoCluster says that a directory holds no store of a cluster.
var errNoCluster = errors.New("the directory belongs to no cluster")

// tailBytes bounds what is kept in memory of one log.
const tailBytes = 1 << 20

// Survey reads what the store holds. Nobody else may have it open, and it changes nothing that a start
// of the node would not change, too.
func Survey(st *store.Store) (*Report, error) {
	identity, known, err := st.Identity()
	if err != nil {
		return nil, fmt.Errorf("survey: %w", err)
	}
	if !known {
		return nil, errNoCluster
	}
	r := &Report{Cluster: identity.ClusterID, Node: identity.NodeName, Store: identity.StoreUUID, Shards: identity.Shards}
	for s := keys.Meta; s <= keys.Shard(identity.Shards); s++ {
		held, err := openReplica(st, s)
		if err != nil {
			return nil, fmt.Errorf("survey shard %d: %w", s, err)
		}
		if held != nil {
			r.Replicas = append(r.Replicas, held.describe())
		}
	}
	return r, nil
}

// held is a replica that has state, with its log.
type held struct {
	shard   keys.Shard
	id      uint64
	applied raftlog.Applied
	log     *raftlog.Log
	last    raftlog.Position
	commit  uint64
	conf    Conf
}

// localReplica gives the id of the replica that is here; ok=false when there is none, or a tombstone.
func localReplica(st *store.Store, s keys.Shard) (id uint64, ok bool, err error) {
	row, closer, err := st.Log().Get(keys.LocalReplica(s))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	local, err := raftlog.DecodeLocal(row)
	if err := errors.Join(err, closer.Close()); err != nil {
		return 0, false, err
	}
	return local.Replica, !local.Removed, nil
}

// openReplica gives nil for a shard of which there is nothing here: no replica, a tombstone, or one that
// never got its first snapshot.
func openReplica(st *store.Store, s keys.Shard) (*held, error) {
	local, ok, err := localReplica(st, s)
	if err != nil || !ok {
		return nil, err
	}
	row, ok, err := st.Reader().Get(keys.Replica(s))
	if err != nil || !ok {
		return nil, err
	}
	h := &held{shard: s, id: local}
	if h.applied, err = raftlog.DecodeApplied(row); err != nil {
		return nil, err
	}
	if h.log, err = raftlog.Open(st.Log(), s, h.id, h.applied, tailBytes); err != nil {
		return nil, err
	}
	if h.last.Index, err = h.log.LastIndex(); err != nil {
		return nil, err
	}
	if h.last.Term, err = h.log.Term(h.last.Index); err != nil {
		return nil, err
	}
	return h, h.follow()
}

// follow finds the configuration that the committed entries of the log lead to.
func (h *held) follow() error {
	hard, conf, err := h.log.InitialState()
	if err != nil {
		return err
	}
	h.commit = hard.GetCommit()
	h.conf = Conf{Voters: conf.GetVoters(), Outgoing: conf.GetVotersOutgoing(), Members: h.applied.Members}
	node, err := raft.NewRawNode(&raft.Config{ID: h.id, Storage: h.log, Applied: h.applied.Index, ElectionTick: 10, HeartbeatTick: 1,
		MaxSizePerMsg: tailBytes, MaxInflightMsgs: 1, Logger: &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)}})
	if err != nil {
		return err
	}
	for from := h.applied.Index + 1; from <= h.commit; {
		entries, err := h.log.Entries(from, h.commit+1, tailBytes)
		if err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		for _, e := range entries {
			if err := h.reconfigure(node, e); err != nil {
				return err
			}
		}
		from += uint64(len(entries))
	}
	return nil
}

// reconfigure carries out what an entry changes of the configuration; most change nothing.
func (h *held) reconfigure(node *raft.RawNode, e *raftpb.Entry) error {
	change, err := shard.ConfChange(e)
	if err != nil || change == nil {
		return err
	}
	conf := node.ApplyConfChange(change)
	h.conf.Voters, h.conf.Outgoing = conf.GetVoters(), conf.GetVotersOutgoing()
	if len(change.GetContext()) == 0 {
		return nil
	}
	row, err := raftlog.DecodeApplied(change.GetContext())
	if err != nil {
		return err
	}
	h.conf.Members = row.Members
	return nil
}

func (h *held) describe() Replica {
	return Replica{Shard: h.shard, ID: h.id, Term: h.last.Term, Last: h.last.Index, Commit: h.commit, Conf: h.conf}
}

// voterNodes lists the nodes of the voters, by name.
func (c Conf) voterNodes() []string {
	var nodes []string
	for _, m := range c.Members {
		if slices.Contains(c.Voters, m.Replica) || slices.Contains(c.Outgoing, m.Replica) {
			nodes = append(nodes, m.Node)
		}
	}
	slices.Sort(nodes)
	return nodes
}

// quorum says whether the voters on nodes that are not dead can still decide, in both halves of a joint
// configuration.
func (c Conf) quorum(dead []string) bool {
	for _, half := range [][]uint64{c.Voters, c.Outgoing} {
		alive := 0
		for _, m := range c.Members {
			if slices.Contains(half, m.Replica) && !slices.Contains(dead, m.Node) {
				alive++
			}
		}
		if len(half) > 0 && alive <= len(half)/2 {
			return false
		}
	}
	return true
}

// longer says which of two replicas knows more: the later last term, then the longer log. It is the order
// in which Raft elects, so everything that the lesser one has applied is in the greater one's log.
func longer(a, b candidate) int {
	return cmp.Or(cmp.Compare(a.Term, b.Term), cmp.Compare(a.Last, b.Last), cmp.Compare(b.ID, a.ID))
}
