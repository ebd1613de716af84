package outbox

import "time"

// clock reads the wall's time for the queues, and notices when somebody has set it. Rows are dated by the wall, so
// queues live by it too; but what waits for a time is to wait for as long, and not for a time that may come again.
type clock struct {
	wall  func() time.Time
	began time.Time // what has elapsed since then is known, whoever sets the wall
	ahead int64     // of the wall, in milliseconds, as noticed last
}

// driftMax is what the wall may gain or lose before it counts as set, in milliseconds.
const driftMax = 1000

func newClock(wall func() time.Time) *clock {
	return &clock{wall: wall, began: time.Now(), ahead: wall().UnixMilli()}
}

// read gives the time, in Unix milliseconds, and by how many it was set since the last read.
func (c *clock) read() (now, set int64) {
	now = c.wall().UnixMilli()
	set = now - c.ahead - time.Since(c.began).Milliseconds()
	if -driftMax < set && set < driftMax {
		return now, 0
	}
	c.ahead += set
	return now, set
}

// now reads the clock. If it was set, all that waits for a time waits for one that is as far away as before.
func (b *Outbox) now() int64 {
	now, set := b.clock.read()
	if set != 0 {
		for _, l := range b.queues {
			l.queue.onClockSet(set)
			if l.alarmAt != 0 {
				l.alarmAt += set
			}
		}
	}
	return now
}

// onClockSet moves what the queue waits for by as many milliseconds as its clock was set.
func (q *Queue) onClockSet(by int64) {
	for _, l := range q.lanes {
		l.retryAt += by
		l.sentAt += by
	}
	for i := range q.flights {
		q.flights[i].sentAt += by
		q.flights[i].due += by
	}
	q.retryAt += by
	q.lookAt += by
	if q.alarm != 0 {
		q.alarm += by
	}
}
