package fanout

import nodev1 "parley/proto/node/v1"

// feed is what leaves for one edge, in order: the first item leaves at once, those that arrive
// while a batch is on its way leave together. It is pure; the Fanout that owns it guards it.
//
// One batch at a time keeps the order without numbering acks; a round trip to an edge is short
// beside what 64 KB of events take to deliver.
//
// Over its limit the feed drops all that waits and skips a number: the edge sees the hole, knows
// that its picture is old, and registers again. So a slow edge costs a bounded amount of memory
// and delays nobody.
type feed struct {
	limits Limits

	number       uint64 // of the last batch made or dropped
	pending      []*nodev1.Fanout
	pendingBytes int
	flying       bool // a batch is on its way
	quiet        bool // no batch has left since the last look of idle
}

// Limits bound one edge's feed.
type Limits struct {
	BatchItems   int // items of one batch
	BatchBytes   int // encoded bytes of one batch; an item above it leaves alone
	PendingItems int // items that may wait; one more drops all that wait
	PendingBytes int
}

// add queues an item of an encoded size and gives how many were dropped instead.
func (f *feed) add(item *nodev1.Fanout, size int) (dropped int) {
	if len(f.pending) >= f.limits.PendingItems || len(f.pending) > 0 && f.pendingBytes+size > f.limits.PendingBytes {
		dropped = len(f.pending)
		clear(f.pending)
		f.pending, f.pendingBytes = f.pending[:0], 0
		f.number++
	}
	f.pending = append(f.pending, item)
	f.pendingBytes += size
	return dropped
}

// skip leaves a hole in the numbers, which the next batch or beat shows.
func (f *feed) skip() { f.number++ }

// next gives the batch that may leave now, or nil.
func (f *feed) next(size func(*nodev1.Fanout) int) *nodev1.FanoutBatch {
	if len(f.pending) == 0 || f.flying {
		return nil
	}
	n, bytes := 0, 0
	for n < len(f.pending) && n < f.limits.BatchItems {
		s := size(f.pending[n])
		if n > 0 && bytes+s > f.limits.BatchBytes {
			break
		}
		bytes += s
		n++
	}
	b := &nodev1.FanoutBatch{Items: f.pending[:n:n]}
	f.pending = append([]*nodev1.Fanout(nil), f.pending[n:]...)
	f.pendingBytes -= bytes
	f.number++
	b.Feed = f.number
	f.flying, f.quiet = true, false
	return b
}

// arrived says that the batch on its way has arrived, or surely never will.
func (f *feed) arrived() { f.flying = false }

// idle says that nothing has left since it was asked last, and nothing is on its way or waits.
func (f *feed) idle() bool {
	was := f.quiet
	f.quiet = true
	return was && !f.flying && len(f.pending) == 0
}
