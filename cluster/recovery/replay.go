package recovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/cluster/shard"
	"parley/cluster/transport"
	"parley/persistence/keys"
	"parley/persistence/store"
)

// replayEvery is how often Replay looks how far a shard is.
const replayEvery = 10 * time.Millisecond

// Replay brings the state of every replica up to what its log knows to be committed, as a start of the node
// does, with nobody else to hear from. After a power cut the state is older than the log.
func Replay(ctx context.Context, st *store.Store) (err error) {
	r, err := Survey(st)
	if err != nil {
		return err
	}
	o := shard.DefaultOptions()
	o.Node, o.Logger, o.Metrics = r.Node, slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	h, err := shard.Open(st, transport.NewMemory().Endpoint(r.Node), alone{}, o)
	if err != nil {
		return fmt.Errorf("replay the logs: %w", err)
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	for _, replica := range r.Replicas {
		if err := awaitApplied(ctx, h, replica.Shard, replica.Commit); err != nil {
			return fmt.Errorf("replay the log of shard %d: %w", replica.Shard, err)
		}
	}
	return st.FlushState(ctx)
}

// awaitApplied waits until a shard has come as far as index.
func awaitApplied(ctx context.Context, h *shard.Host, s keys.Shard, index uint64) error {
	ticker := time.NewTicker(replayEvery)
	defer ticker.Stop()
	for {
		status, err := h.Status(ctx, s)
		if err != nil || status.Applied >= index {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// alone hears of leaderships that mean nothing: nobody is asked anything.
type alone struct{}

// LeadChanged implements shard.Observer.
func (alone) LeadChanged(shard.Lead) {}
