// Package outbox delivers the work that committed batches left for somebody else: at least once,
// in order per (source, target), without waking the source. The leader of the source's shard
// delivers; a target that cannot be reached blocks nobody but itself.
//
// A Queue is the step function of one shard in one epoch. An Outbox drives the queues of all the
// shards that this node leads, from one goroutine. Rows reach a queue with the commit that wrote
// them; the disk is looked at only when an epoch begins and after more rows came than may be
// held. A row is deleted by a write of the shard's own outbox entity after its target has acked,
// so a crash between the two delivers again: targets ignore what they have seen.
package outbox
