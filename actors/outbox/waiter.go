package outbox

import (
	"parley/actors/grain"
	"parley/persistence/keys"
)

// Link names a source and a target within an application.
type Link struct{ Application, Source, Target string }

// Waiter hears which rows of a link have been acked by their target. Stop it.
type Waiter struct {
	// Acked carries the rows, newest last. One that is not taken in time is dropped: whoever
	// waits has a deadline anyway.
	Acked <-chan grain.Row

	outbox *Outbox
	link   Link
	acked  chan grain.Row
}

// waiterRows is how many acked rows a waiter may be behind: a join leaves two.
const waiterRows = 16

// Await makes a waiter for rows of shard s. Make it before the command whose row it waits for, or
// the ack may come first. Only the leader of the source's shard hears of acks: elsewhere there is
// no waiter.
func (b *Outbox) Await(s keys.Shard, l Link) (w *Waiter, ok bool) {
	c := make(chan grain.Row, waiterRows)
	w = &Waiter{Acked: c, outbox: b, link: l, acked: c}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, leads := b.leading[s]; !leads {
		return nil, false
	}
	if b.waiters[l] == nil {
		b.waiters[l] = make(map[*Waiter]struct{}, 1)
	}
	b.waiters[l][w] = struct{}{}
	return w, true
}

// Stop ends the waiter.
func (w *Waiter) Stop() {
	b := w.outbox
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiters[w.link], w)
	if len(b.waiters[w.link]) == 0 {
		delete(b.waiters, w.link)
	}
}

// tell wakes the waiters of a row's link.
func (b *Outbox) tell(r grain.Row) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := range b.waiters[Link{r.Row.ApplicationId, r.Row.SourceId, r.Row.TargetId}] {
		select {
		case w.acked <- r:
		default: // it is far behind: its deadline will wake it
		}
	}
}
