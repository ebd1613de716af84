package outbox

// flight is a delivery that has a place among those of which nothing is known.
type flight struct {
	lane   *lane
	sentAt int64
	due    int64 // when it leaves its place to others
}

// send sends the first row of a lane that was chosen.
func (q *Queue) send(now int64, l *lane) {
	l.sentAt = now
	l.group.flying++
	q.flying++
	l.group.aloft[l.standing]++
	if l.standing == untried && q.limits.GroupSlowMax > 0 {
		q.flights = append(q.flights, flight{l, now, now + q.limits.SlowAfter.Milliseconds()})
	}
	q.out = append(q.out, Deliver{Row: l.rows[0], Attempt: l.attempts + 1})
}

// land gives the place of a delivery that has ended to others.
func (q *Queue) land(l *lane) {
	l.flying = false
	if l.slow {
		l.slow = false
		l.group.slow--
		q.slow--
		return
	}
	l.group.flying--
	q.flying--
	l.group.aloft[l.standing]--
}

// yield lets untried deliveries that take long leave their places to others, a number of each group at
// once: who answers does so soon, and needs not wait until those have ended that never will. When there
// are too many it tries again.
func (q *Queue) yield(now int64) {
	for len(q.flights) > 0 {
		f := q.flights[0]
		l := f.lane
		landed := !l.flying || l.slow || l.sentAt != f.sentAt
		if !landed && now < f.due {
			return
		}
		q.flights = q.flights[1:]
		switch {
		case landed:
		case l.group.slow >= q.limits.GroupSlowMax || q.slow >= q.limits.FlightMax:
			f.due = now + q.limits.SlowAfter.Milliseconds()
			q.flights = append(q.flights, f)
		default:
			l.slow = true
			l.group.slow++
			q.slow++
			l.group.flying--
			q.flying--
			l.group.aloft[untried]--
			q.takeTurn(l.group)
		}
	}
}
