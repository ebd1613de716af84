package shard

import (
	"parley/persistence/keys"
)

// cramped remembers the snapshots that found too little space here, so that none is streamed again, only to be thrown
// away again, before there is more. How much a snapshot takes is known to nobody beforehand. It belongs to who
// receives snapshots, which is one at a time.
type cramped map[keys.Shard]attempt

// attempt is one at a snapshot for which the space did not suffice.
type attempt struct {
	free    uint64 // what there was when it began
	refused int    // others since then
}

// crampedMax is how many are refused in a row. The next is tried all the same: the shard may have become smaller. With the
// longest pause between them that is once in about two minutes.
const crampedMax = 16

// crampedMore is the part of the free space by which it must have grown: that it wavers says nothing.
const crampedMore = 16

// refuses says that a snapshot would again find too little space, of which there is so much.
func (c cramped) refuses(s keys.Shard, free uint64) bool {
	last, ok := c[s]
	if !ok || free > last.free+last.free/crampedMore || last.refused >= crampedMax {
		return false
	}
	last.refused++
	c[s] = last
	return true
}

// tried takes note of an attempt that began with so much space.
func (c cramped) tried(s keys.Shard, free uint64, sufficed bool) {
	delete(c, s)
	if !sufficed {
		c[s] = attempt{free: free}
	}
}
