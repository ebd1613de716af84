package shard

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// WriteBytesMax is the largest encoded size of one Write; above it a proposal gets ErrTooLarge.
const WriteBytesMax = 1 << 20

// Options are the tunables of a Host. The zero value is not valid; start from DefaultOptions.
type Options struct {
	// Node is this node's name, as other nodes and Lead.Node call it. It has no default.
	Node string

	// TickInterval is Raft's unit of time. A group whose only voter is this node, and a group
	// that is idle, are not ticked.
	TickInterval time.Duration
	// ElectionTicks is how long a follower waits for its leader, at least; at most twice that.
	ElectionTicks int
	// HeartbeatTicks is how often a leader speaks.
	HeartbeatTicks int
	// QuiesceTicks is how long a leader without work keeps ticking before its group falls idle.
	QuiesceTicks int

	// EntryBytes is where a batch of waiting writes is cut into another entry.
	EntryBytes int
	// MessageBytes bounds the entries of one append message. Four times as much bounds those under way to one follower,
	// and is where the messages of all shards for one node are cut into another batch.
	MessageBytes int
	// InflightMessages bounds the append messages under way to one follower.
	InflightMessages int
	// ShardBytesMax bounds the encoded writes of one shard that wait for their outcome; above
	// it a proposal gets ErrOverloaded.
	ShardBytesMax int
	// NodeBytesMax bounds the same over all shards of this node.
	NodeBytesMax int
	// InboxBytesMax bounds the received batches that wait for the store loop; above it batches
	// are dropped, and Raft sends again.
	InboxBytesMax int
	// ReadsMax bounds the reads of one shard that wait for a read index.
	ReadsMax int
	// ReadsFrom is where the numbers of read rounds begin. Each life of a node needs a place of its own,
	// so that an answer to an earlier life, still on its way, fits none of this one's rounds: a Host
	// draws one at random when this is 0.
	ReadsFrom uint64
	// TailBytes bounds what all logs of this node keep in memory, beyond what is not applied yet. Who is
	// further behind is sent entries from the disk.
	TailBytes int
	// RevisionsMax bounds the cached revisions of entities, over all shards.
	RevisionsMax int

	// SnapshotBytesPerSecond bounds what this node sends as snapshots, over all shards; 0 does not.
	SnapshotBytesPerSecond int

	// SyncsInFlight bounds the log batches that wait for the disk at once.
	SyncsInFlight int
	// StallAfter is how long a log sync may take before this node gives up leading.
	StallAfter time.Duration
	// FlushInterval is how often state is flushed, after which the logs are truncated.
	FlushInterval time.Duration
	// FlushBytes is how many log bytes cause a flush before its time.
	FlushBytes int
	// KeepEntries is how many entries a group of several replicas keeps behind the flushed
	// state, so that a replica that was away for a moment needs no snapshot.
	KeepEntries int
	// HeldBytes is how much more of their logs all leaders here keep for replicas that a snapshot is on its way to, or
	// that catch up behind one: without it a shard that is written to faster than KeepEntries would send snapshots for ever.
	HeldBytes int
	// CaughtUpEntries is how far a learner may lag and still become a voter.
	CaughtUpEntries int

	// Removed, when set, is told of replicas here that their shard has no more: when a replica has
	// applied its removal, and again once that is confirmed and RemoveReplica may follow. It is
	// called from the store loop, also after each open, and must not block.
	Removed func(Removal)

	// Space, when set, is told that this node's disk has become full, or has space again; the other
	// nodes' hosts should then be told by PeerSpace. It is called from one goroutine and must not block.
	Space func(full bool)

	// Logger hears of leadership, snapshots and stalls.
	Logger *slog.Logger
	// Metrics takes the host's metrics; nil keeps none.
	Metrics prometheus.Registerer
	// Fatal is told of a disk that failed or a log that cannot be read. It must not return: what
	// the disk holds is unknown from then on. The default panics.
	Fatal func(error)
}

// burstBytes is what goes out at once, see MessageBytes.
func (o *Options) burstBytes() int { return 4 * o.MessageBytes }

// DefaultOptions are for a production node; Node has still to be set.
func DefaultOptions() Options {
	return Options{
		TickInterval: 100 * time.Millisecond, ElectionTicks: 10, HeartbeatTicks: 2, QuiesceTicks: 5,
		EntryBytes: 256 << 10, MessageBytes: 1 << 20, InflightMessages: 256,
		ShardBytesMax: 16 << 20, NodeBytesMax: 128 << 20, InboxBytesMax: 64 << 20, ReadsMax: 4096,
		TailBytes: 32 << 20, RevisionsMax: 128 << 10, SnapshotBytesPerSecond: 64 << 20,
		SyncsInFlight: 2, StallAfter: time.Second,
		FlushInterval: 30 * time.Second, FlushBytes: 64 << 20, KeepEntries: 1024, HeldBytes: 1 << 30, CaughtUpEntries: 64,
		Logger: slog.New(slog.DiscardHandler),
		Fatal:  func(err error) { panic(fmt.Sprintf("fatal: %v", err)) },
	}
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	var errs []error
	if o.Node == "" {
		errs = append(errs, errors.New("node has no name"))
	}
	if o.Logger == nil || o.Fatal == nil {
		errs = append(errs, errors.New("logger and fatal must be set"))
	}
	for _, limit := range []struct {
		name  string
		value int64
	}{
		{"tick interval", int64(o.TickInterval)}, {"heartbeat ticks", int64(o.HeartbeatTicks)},
		{"election ticks beyond heartbeat ticks", int64(o.ElectionTicks - o.HeartbeatTicks)},
		{"quiesce ticks", int64(o.QuiesceTicks)}, {"entry bytes", int64(o.EntryBytes)},
		{"message bytes", int64(o.MessageBytes)}, {"messages in flight", int64(o.InflightMessages)},
		{"shard bytes", int64(o.ShardBytesMax)}, {"node bytes", int64(o.NodeBytesMax)},
		{"inbox bytes", int64(o.InboxBytesMax)}, {"reads", int64(o.ReadsMax)}, {"tail bytes", int64(o.TailBytes)},
		{"revisions", int64(o.RevisionsMax)}, {"syncs in flight", int64(o.SyncsInFlight)},
		{"stall limit", int64(o.StallAfter)}, {"flush interval", int64(o.FlushInterval)},
		{"flush bytes", int64(o.FlushBytes)}, {"held bytes", int64(o.HeldBytes)}, {"caught-up entries", int64(o.CaughtUpEntries)},
	} {
		if limit.value <= 0 {
			errs = append(errs, fmt.Errorf("%s must be above zero", limit.name))
		}
	}
	if o.SnapshotBytesPerSecond < 0 {
		errs = append(errs, errors.New("snapshot bytes must not be negative"))
	}
	if o.KeepEntries < 0 {
		errs = append(errs, errors.New("kept entries must not be negative"))
	}
	if o.ShardBytesMax < WriteBytesMax || o.NodeBytesMax < WriteBytesMax {
		errs = append(errs, fmt.Errorf("a limit of waiting bytes is below one write of %d", WriteBytesMax))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("shard options: %w", err)
	}
	return nil
}
