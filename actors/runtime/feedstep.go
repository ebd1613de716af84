package runtime

import (
	"time"

	"parley/actors/fanout"
	"parley/cluster/directory"
	nodev1 "parley/proto/node/v1"
)

// FeedStepper is what stands between the nodes that feed an edge and the edge, without the
// goroutine that moves its time: its owner does, as a simulation that has a clock of its own. What
// Deliver and Led do is the same code as in a running node.
type FeedStepper struct{ feeds *feeds }

// NewFeedStepper makes one for an edge, which is told to register again if it is a Resyncer.
func NewFeedStepper(edge fanout.Edge, now func() time.Time) *FeedStepper {
	f := newFeeds(edge)
	f.now = now
	return &FeedStepper{f}
}

// Deliver implements fanout.Edge: it takes a batch from any node, this one included.
func (s *FeedStepper) Deliver(b *nodev1.FanoutBatch) { s.feeds.take(b) }

// Led hears of every change of a lead.
func (s *FeedStepper) Led(l directory.Lead) { s.feeds.led(l) }

// Tick looks for nodes other than self that have fallen silent. It is called every half second.
func (s *FeedStepper) Tick(self string) {
	for _, node := range s.feeds.silent(self) {
		s.feeds.resync(s.feeds.ledBy(node))
	}
}
