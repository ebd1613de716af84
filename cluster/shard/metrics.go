package shard

import "github.com/prometheus/client_golang/prometheus"

// The reasons for which something is dropped or refused, as metric labels.
const (
	dropNoReplica    = "no_replica"    // message for a replica that is not here
	dropMalformed    = "malformed"     // batch that does not decode
	dropInboxFull    = "inbox_full"    // batch beyond InboxBytesMax
	dropUnknownPeer  = "unknown_peer"  // message to a replica whose node is not known
	dropForeignKind  = "foreign_kind"  // message of a kind that no peer may send
	dropStaleReplica = "stale_replica" // message for another replica of the shard
	dropRemoved      = "removed"       // message for a replica that was removed: it stays silent
	dropNoSpace      = "no_space"      // entries and snapshots for a node whose disk is full
	dropSnapshot     = "snapshot"      // snapshot that Raft had no use for
)

// metrics are what a host counts.
type metrics struct {
	outcomes    *prometheus.CounterVec // by outcome
	entries     prometheus.Counter
	entryBytes  prometheus.Counter
	syncSeconds prometheus.Histogram
	syncBatch   prometheus.Histogram
	applyBatch  prometheus.Histogram
	dropped     *prometheus.CounterVec // by reason
	leading     prometheus.Gauge
	idle        prometheus.Gauge
	waiting     prometheus.Gauge
	stalls      prometheus.Counter
	snapshots   *prometheus.CounterVec // by direction and result
	truncated   prometheus.Counter
	tails       prometheus.Gauge
	revisions   prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	histogram := func(name, help string, start float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(start, 2, 16),
		})
	}
	m := &metrics{
		outcomes:    vec("parley_shard_proposals_total", "Proposals by outcome.", "outcome"),
		entries:     counter("parley_shard_entries_total", "Log entries written."),
		entryBytes:  counter("parley_shard_entry_bytes_total", "Payload bytes of log entries written."),
		syncSeconds: histogram("parley_shard_sync_seconds", "Time of one log batch to become durable.", 50e-6),
		syncBatch:   histogram("parley_shard_sync_batch_groups", "Groups in one log batch.", 1),
		applyBatch:  histogram("parley_shard_apply_batch_writes", "Writes in one batch of state.", 1),
		dropped:     vec("parley_shard_dropped_total", "Dropped messages and batches by reason.", "reason"),
		leading:     gauge("parley_shard_leading_shards", "Shards that this node leads."),
		idle:        gauge("parley_shard_idle_shards", "Shards whose groups are idle and not ticked."),
		waiting:     gauge("parley_shard_waiting_bytes", "Encoded writes that wait for their outcome."),
		stalls:      counter("parley_shard_disk_stalls_total", "Times a log sync exceeded the stall limit."),
		snapshots:   vec("parley_shard_snapshots_total", "Snapshots by direction and result.", "direction", "result"),
		truncated:   counter("parley_shard_log_truncations_total", "Truncations of a replica's log."),
		tails:       gauge("parley_shard_tail_bytes", "Log entries kept in memory."),
		revisions:   gauge("parley_shard_revisions_bytes", "Revisions of entities kept in memory."),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.outcomes, m.entries, m.entryBytes, m.syncSeconds, m.syncBatch, m.applyBatch, m.dropped,
		m.leading, m.idle, m.waiting, m.stalls, m.snapshots, m.truncated, m.tails, m.revisions,
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
