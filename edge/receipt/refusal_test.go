package receipt

import (
	"errors"
	"fmt"
	"testing"

	nodev1 "parley/proto/node/v1"
)

// crowded is a cluster that keeps the first receipts for a while, and refuses the others at once.
type crowded struct {
	*stage
	room, depth, deepest int
}

func (c *crowded) one(e *entry, done func(*nodev1.Reply, error)) {
	if c.room--; c.room >= 0 {
		c.stage.one(e, done)
		return
	}
	c.depth++
	c.deepest = max(c.deepest, c.depth)
	done(nil, errors.New("full"))
	c.depth--
}

// TestRefusalsAreNotNested: a cluster that refuses each of many receipts at once is not called from within its
// own calls, however many wait; and each is answered.
func TestRefusalsAreNotNested(t *testing.T) {
	c := &crowded{stage: newStage(t, func(*Options) {})}
	c.carrier = c
	c.room = c.options.InFlight
	const waiting = 1000
	for i := range c.options.InFlight + waiting {
		c.receive(fmt.Sprint("u", i, "-"), 1)
	}
	c.answer(nil, errors.New("late"))
	if c.deepest != 1 {
		t.Errorf("%d calls within each other", c.deepest)
	}
	if len(c.told) != 1+waiting {
		t.Errorf("%d of %d are answered", len(c.told), 1+waiting)
	}
	for len(c.answers) > 0 {
		c.answer(small, nil)
	}
	if len(c.lines) != 0 {
		t.Error("the line has not come to rest")
	}
}
