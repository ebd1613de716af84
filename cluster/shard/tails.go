package shard

// The end of each log stays in memory: what is sent to followers and applied is read there and not from
// the disk. What that takes is bounded for the node and not for a shard, so that it does not
// grow with their number, and a busy shard may have what idle ones have no use for.

// countTail notes what a log keeps in memory now.
func (c *core) countTail(g *group) {
	now := g.log.TailBytes()
	c.tails += now - g.tailBytes
	g.tailBytes = now
}

// boundTails makes room when all logs together keep too much: each forgets half of what it keeps,
// beginning with the oldest. Who appends most has most again soon, and who is idle has nothing in the
// end. What is not applied yet stays; the budgets of proposals bound that.
func (c *core) boundTails() {
	if c.tails > c.o.TailBytes {
		for _, g := range c.order {
			g.log.Trim(g.tailBytes / 2)
			c.countTail(g)
		}
	}
	c.m.tails.Set(float64(c.tails))
}
