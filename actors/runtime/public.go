package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/persistence/raftlog"
	"parley/persistence/store"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// publicPageBytes bounds one page of the public part between nodes.
const publicPageBytes = 512 << 10

// public reads the meta shard's public part on this node: from the replica of the meta shard, if
// one is here, else from the last copy that a leader gave. The copy is kept on disk, so that a
// node starts, and knows where the others are, while nobody answers. It implements store.Reader.
type public struct {
	store  *store.Store
	own    atomic.Bool // a replica with state is here, and stays
	leaves atomic.Bool // the replica here is being dropped, which may take as long as the disk is full
	copy   atomic.Pointer[eventv1.PublicCopy]
	stale  chan struct{} // capacity 1: somebody has a newer version

	pulling chan struct{} // capacity 1: one pull at a time
	began   time.Time     // of the last pull that succeeded; belongs to who is pulling

	unkept chan struct{}       // capacity 1: the copy is not on disk yet
	asked  chan chan error     // who must know that it is; each answer has room
	kept   *eventv1.PublicCopy // on disk; owned by keepPublic
}

func openPublic(st *store.Store) (*public, error) {
	p := &public{
		store: st, stale: make(chan struct{}, 1), pulling: make(chan struct{}, 1), unkept: make(chan struct{}, 1), asked: make(chan chan error),
	}
	kept := &eventv1.PublicCopy{}
	row, closer, err := st.Log().Get(keys.PublicCopy())
	if err == nil {
		err = errors.Join(kept.UnmarshalVT(row), closer.Close())
	}
	if err != nil && !errors.Is(err, pebble.ErrNotFound) {
		return nil, fmt.Errorf("read the copy of the meta shard: %w", err)
	}
	p.copy.Store(kept)
	p.kept = kept
	return p, p.look()
}

// look notes whether the meta shard has state here that is to be shown.
func (p *public) look() error {
	_, ok, err := p.version()
	if err != nil {
		return err
	}
	if !ok {
		p.leaves.Store(false) // it has left
	}
	p.own.Store(ok && !p.leaves.Load())
	return nil
}

// leave has the copy shown: the replica here is being dropped, and hears of nothing new.
func (p *public) leave() {
	p.leaves.Store(true)
	p.own.Store(false)
}

// lasts says whether the state of the replica is still here. It goes in one stroke, and whoever looked before
// may still read it: what is not found then may be in the copy.
func (p *public) lasts() bool {
	_, ok, err := p.version()
	if ok || err != nil {
		return true
	}
	p.own.Store(false)
	return false
}

// version is the applied index of the replica here; ok=false when there is none.
func (p *public) version() (version uint64, ok bool, err error) {
	row, ok, err := p.store.Reader().Get(keys.Replica(keys.Meta))
	if err != nil || !ok {
		return 0, false, err
	}
	applied, err := raftlog.DecodeApplied(row)
	return applied.Index, err == nil, err
}

// Get implements store.Reader.
func (p *public) Get(key []byte) ([]byte, bool, error) {
	if p.own.Load() {
		if value, ok, err := p.store.Reader().Get(key); ok || err != nil || p.lasts() {
			return value, ok, err
		}
	}
	rows := p.copy.Load().Rows
	i, ok := slices.BinarySearchFunc(rows, key, compareRow)
	if !ok {
		return nil, false, nil
	}
	return bytes.Clone(rows[i].Value), true, nil
}

func compareRow(r *eventv1.PublicRow, key []byte) int { return bytes.Compare(r.Key, key) }

// Scan implements store.Reader.
func (p *public) Scan(lo, hi []byte, reverse bool, visit func(key, value []byte) (bool, error)) error {
	if p.own.Load() {
		found := false
		err := p.store.Reader().Scan(lo, hi, reverse, func(key, value []byte) (bool, error) {
			found = true
			return visit(key, value)
		})
		if found || err != nil || p.lasts() {
			return err
		}
	}
	rows := p.copy.Load().Rows
	from, _ := slices.BinarySearchFunc(rows, lo, compareRow)
	to, _ := slices.BinarySearchFunc(rows, hi, compareRow)
	rows = slices.Clone(rows[from:max(from, to)])
	if reverse {
		slices.Reverse(rows)
	}
	for _, r := range rows {
		if more, err := visit(r.Key, r.Value); err != nil || !more {
			return err
		}
	}
	return nil
}

// show replaces the copy, and has it brought to disk.
func (p *public) show(c *eventv1.PublicCopy) {
	p.copy.Store(c)
	select {
	case p.unkept <- struct{}{}:
	default:
	}
}

// keep writes the copy to disk. A disk that is full keeps it waiting for space.
func (p *public) keep() error {
	c := p.copy.Load()
	if c == p.kept {
		return nil
	}
	row, err := c.MarshalVT()
	if err != nil {
		return fmt.Errorf("encode the copy of the meta shard: %w", err)
	}
	if err := p.store.Log().Set(keys.PublicCopy(), row, pebble.Sync); err != nil {
		return fmt.Errorf("keep the copy of the meta shard: %w", err)
	}
	p.kept = c
	return nil
}

// durable waits until the copy as it is now, or a later one, is on disk, or ctx ends.
func (p *public) durable(ctx context.Context) error {
	done := make(chan error, 1) // one answer, also when nobody waits any more
	select {
	case p.asked <- done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// news tells that a leader has a version of the public part. It may be an earlier one: after an unsafe
// recovery the meta shard goes on from a log that is shorter than what was copied.
func (p *public) news(version uint64) {
	if version == p.copy.Load().Version || p.own.Load() {
		return
	}
	select {
	case p.stale <- struct{}{}:
	default:
	}
}

// page reads a part of the public rows after a key, for a node that follows them.
func (p *public) page(after []byte) (*nodev1.Reply, error) {
	version, ok, err := p.version()
	if err != nil || !ok {
		return nil, errors.Join(err, shard.ErrNoReplica)
	}
	page := &eventv1.PublicCopy{Version: version}
	reply := &nodev1.Reply{Public: page}
	size := 0
	for _, prefix := range keys.PublicPrefixes() {
		lo := prefix
		if bytes.Compare(after, prefix) >= 0 {
			lo = append(bytes.Clone(after), 0)
		}
		hi := keys.End(prefix)
		if bytes.Compare(lo, hi) >= 0 {
			continue
		}
		err := p.store.Reader().Scan(lo, hi, false, func(key, value []byte) (bool, error) {
			if size += len(key) + len(value); size > publicPageBytes && len(page.Rows) > 0 {
				reply.Next = page.Rows[len(page.Rows)-1].Key
				return false, nil
			}
			page.Rows = append(page.Rows, &eventv1.PublicRow{Key: bytes.Clone(key), Value: bytes.Clone(value)})
			return true, nil
		})
		if err != nil || len(reply.Next) > 0 {
			return reply, err
		}
	}
	return reply, nil
}

// pullTries is how often a pull begins anew because the public part changed between its pages.
const pullTries = 5

// pull brings the copy up to what the meta shard's leader has applied by now. It goes to disk by itself: an
// earlier copy is as good for a start.
func (r *Runtime) pull(ctx context.Context) error {
	p, asked := r.public, time.Now()
	select {
	case p.pulling <- struct{}{}:
		defer func() { <-p.pulling }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if p.began.After(asked) {
		return nil // one that began after the question has answered it
	}
	for range pullTries {
		began := time.Now()
		c, err := r.pullOnce(ctx)
		if err != nil {
			return err
		}
		if c != nil {
			p.began = began
			p.show(c)
			return nil
		}
	}
	return code.New(code.Unavailable, "the meta shard changes too fast to be followed")
}

// pullOnce gives nil when the pages do not belong together.
func (r *Runtime) pullOnce(ctx context.Context) (*eventv1.PublicCopy, error) {
	whole := &eventv1.PublicCopy{}
	for after := []byte(nil); ; {
		reply, err := r.request(ctx, r.directory.Get(keys.Meta).Node, &nodev1.GrainRequest{Query: &nodev1.Query{
			Body: &nodev1.Query_GetPublic{GetPublic: &nodev1.GetPublic{After: after}}}})
		if err != nil {
			return nil, err
		}
		page := reply.GetPublic()
		if whole.Version != 0 && page.GetVersion() != whole.Version {
			return nil, nil
		}
		whole.Version = page.GetVersion()
		whole.Rows = append(whole.Rows, page.GetRows()...)
		if after = reply.GetNext(); len(after) == 0 {
			return whole, nil
		}
	}
}

// fresh waits until this node shows all that was committed in the meta shard before the call, or
// ctx ends.
func (r *Runtime) fresh(ctx context.Context) error {
	if !r.public.own.Load() {
		return r.pull(ctx)
	}
	return r.readIndex(ctx, keys.Meta)
}

// keepPublic brings each copy to disk, or the latest when they come faster.
func (r *Runtime) keepPublic(ctx context.Context) {
	p := r.public
	for {
		var done chan error
		select {
		case <-ctx.Done():
			return
		case <-p.unkept:
		case done = <-p.asked:
		}
		err := p.keep()
		if err != nil {
			r.options.Logger.Error("the copy of the meta shard was not kept", "error", err)
		}
		if done != nil {
			done <- err
		}
	}
}

// followPublic keeps the copy of a node without a replica of the meta shard up to date.
func (r *Runtime) followPublic(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.public.stale:
		}
		if err := r.pull(ctx); err != nil && ctx.Err() == nil {
			r.options.Logger.Debug("the meta shard could not be followed", "error", err)
		}
	}
}
