package shard

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// logWriter turns the log tasks of all groups into batches of the log Pebble. It keeps no
// goroutine: a batch is written by one call and waited for by another, and whoever drives it
// lets the waits end in the order of the writes (invariant I2).
type logWriter struct {
	db *pebble.DB
	m  *metrics
}

// logBatch is tasks on their way to the disk. A nil batch had nothing to write, or nothing that
// must survive; its tasks only keep their place behind the earlier ones.
type logBatch struct {
	tasks []*logTask
	batch *pebble.Batch
}

// write puts tasks into one batch and into the Pebble, where they are visible but perhaps not
// durable.
func (w *logWriter) write(tasks []*logTask) (logBatch, error) {
	b := w.db.NewBatch()
	sync := false
	for _, t := range tasks {
		if err := t.write.Stage(b); err != nil {
			return logBatch{}, fmt.Errorf("log of shard %d: %w", t.write.Shard, err)
		}
		sync = sync || t.write.MustSync()
	}
	w.m.syncBatch.Observe(float64(len(tasks)))
	if !sync {
		if err := b.Commit(pebble.NoSync); err != nil {
			return logBatch{}, fmt.Errorf("write log: %w", err)
		}
		return logBatch{tasks: tasks}, b.Close()
	}
	if err := w.db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
		return logBatch{}, fmt.Errorf("write log: %w", err)
	}
	return logBatch{tasks, b}, nil
}

// wait returns once a batch is durable. An error is final: what the disk holds is unknown.
func (w *logWriter) wait(b logBatch) error {
	if b.batch == nil {
		return nil
	}
	if err := b.batch.SyncWait(); err != nil {
		return fmt.Errorf("sync log: %w", err)
	}
	return b.batch.Close()
}
