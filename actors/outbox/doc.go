// Package outbox delivers the work that committed batches left for somebody else: at least once,
// in order per (source, target), without waking the source. The leader of the source's shard
// delivers; a target that cannot be reached blocks nobody but itself.
//
// Rows are for grains of this cluster, or for sinks, which take them out of it. What grains owe each
// other is delivered however long it takes. A row that a sink does not take in time becomes a dead
// letter: it is kept, bounded per application, until somebody has it delivered again.
//
// A Queue is the step function of one shard in one epoch, one for all grains and one for each kind
// of sink, so that no stranger's server delays what the cluster owes itself. An Outbox drives the
// queues of all the shards that this node leads, from one goroutine. Rows reach a queue with the
// commit that wrote them; the disk is looked at only when an epoch begins and after more rows came
// than may be held. A row is deleted by a write of the queue's own entity after its target has
// acked, so a crash between the two delivers again: targets ignore what they have seen.
package outbox
