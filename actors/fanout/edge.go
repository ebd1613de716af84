// Package fanout carries committed events from the leader of a shard to the edges that want them.
package fanout

import nodev1 "parley/proto/node/v1"

// Edge is an edge node's receiving side. The edge layer implements it and cmd passes it in.
type Edge interface {
	// Deliver hands over what left for this edge at once, in order. It must not block: what the
	// edge cannot take it drops, and finds again as a gap. The batch is shared: read only.
	Deliver(batch *nodev1.FanoutBatch)
}
