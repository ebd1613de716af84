package snapshot

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"parley/persistence/keys"
	"parley/persistence/store"
)

// Install replaces everything that st holds of the file's shard by the file, in one step: at each
// moment, and after a crash at any moment, the state has all rows of before or all of the
// snapshot, applied index and configuration included (invariant I6). When it returns, the
// snapshot is durable. Nobody applies to the shard meanwhile; other shards go on.
//
// The file's tables are moved into the state: install once, then Remove. The end of ctx is
// ignored, because half an ingest cannot be taken back. After store.Hurry a disk that is full gives
// store.ErrNoSpace, and nothing has happened.
func Install(ctx context.Context, st *store.Store, f *File) error {
	if len(f.tables) == 0 {
		return fmt.Errorf("install snapshot of shard %d: it was installed or removed before", f.Stats.Shard)
	}
	ctx = context.WithoutCancel(ctx)
	if err := flush(ctx, st); err != nil {
		return fmt.Errorf("install snapshot of shard %d: %w", f.Stats.Shard, err)
	}
	lo, hi := keys.Span(f.Stats.Shard)
	tables := f.tables
	f.tables = nil
	_, err := st.State().IngestAndExcise(ctx, tables, nil, nil, pebble.KeyRange{Start: lo, End: hi})
	if err != nil {
		return fmt.Errorf("install snapshot of shard %d: %w", f.Stats.Shard, err)
	}
	return nil
}

// Drop removes everything that st holds of shard, in one durable step: what is done with the
// state of a replica that was removed. The end of ctx is ignored, as with Install, and a disk that
// is full is told of in the same way.
func Drop(ctx context.Context, st *store.Store, shard keys.Shard) error {
	ctx = context.WithoutCancel(ctx)
	if err := flush(ctx, st); err != nil {
		return fmt.Errorf("drop shard %d: %w", shard, err)
	}
	lo, hi := keys.Span(shard)
	if err := st.State().Excise(ctx, pebble.KeyRange{Start: lo, End: hi}); err != nil {
		return fmt.Errorf("drop shard %d: %w", shard, err)
	}
	return nil
}

// flush leaves nothing of the shard in memory. Pebble would flush by itself what it has to excise,
// holding up every other write and without an end while the disk is full; this wait ends with Hurry.
func flush(ctx context.Context, st *store.Store) error { return st.FlushState(ctx) }
