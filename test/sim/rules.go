package sim

import (
	"encoding/json"
	"fmt"
	"strings"

	nodev1 "parley/proto/node/v1"
	"parley/test/history"
)

// slot is one event.
type slot struct {
	room     string
	sequence uint64
}

// fail notes a broken promise.
func (w *World) fail(rule, format string, args ...any) {
	w.broken = append(w.broken, history.Violation{Rule: rule, Detail: fmt.Sprintf(format, args...)})
}

// claims is how far each user ever said it had received or read, per conversation. Nobody may be
// told more.
type claims map[[2]string]uint64

func (c claims) claim(room, user string, sequence uint64) {
	key := [2]string{room, user}
	c[key] = max(c[key], sequence)
}

func (c claims) check(w *World, room, user string, told uint64) {
	if claimed := c[[2]string{room, user}]; told > claimed {
		w.fail("S9", "%s: %s is told to have received or read %d and claimed %d", room, user, told, claimed)
	}
}

// receiptOf is the event that a receipt is about.
func receiptOf(kind string, body []byte) (uint64, bool) {
	if !strings.HasSuffix(kind, ":seen") && !strings.HasSuffix(kind, ":delivered") {
		return 0, false
	}
	var b struct {
		EventID uint64 `json:"event_id"`
	}
	err := json.Unmarshal(body, &b)
	return b.EventID, err == nil
}

// checkShowing holds what a subscription showed against a complete log: who subscribed was a
// member at that moment, and after a member:left of its own nothing more was shown.
func (w *World) checkShowing(s *showing, log []*nodev1.EventView) {
	member := false
	for _, v := range log {
		sequence := v.Event.Sequence
		if sequence == s.head+1 && !member {
			w.fail("S10", "%s: %s subscribed at %d and was no member", s.room, s.user, s.head)
		}
		switch kind := v.Event.Type; {
		case kind == "member:joined", kind == "member:invited":
			member = member || subject(v) == s.user
		case kind == "member:left" && subject(v) == s.user:
			member = false
			if sequence > s.head && s.last > sequence {
				w.fail("S10", "%s: %s left at %d and was shown %d", s.room, s.user, sequence, s.last)
			}
		}
	}
}

// checkReceipts looks at every receipt in a log.
func (w *World) checkReceipts(room string, log []*nodev1.EventView) {
	for _, v := range log {
		if claimed, ok := receiptOf(v.Event.Type, v.Event.Body); ok {
			w.claims.check(w, room, v.Event.FromUser, claimed)
		}
	}
}

// subject is the user that a member event is about.
func subject(v *nodev1.EventView) string {
	var body struct {
		User struct{ ID string }
	}
	if err := json.Unmarshal(v.Event.Body, &body); err != nil || body.User.ID == "" {
		panic("a member event without a user: " + string(v.Event.Body))
	}
	return body.User.ID
}

// present says who of the users is invited or joined at the end of a log.
func present(log []*nodev1.EventView) map[string]bool {
	in := map[string]bool{}
	for _, v := range log {
		switch v.Event.Type {
		case "member:joined", "member:invited":
			in[subject(v)] = true
		case "member:left":
			in[subject(v)] = false
		}
	}
	return in
}

// checkConnections is S15: at rest every device of a member has everything, and S11 for a read
// that begins now: what was deleted has no body.
func (w *World) checkConnections(room string, log []*nodev1.EventView) {
	in := present(log)
	for i, c := range w.connections {
		if in[c.user.user] && c.last[room] != uint64(len(log)) {
			w.fail("S15", "device %d of %s has %d of %s, the head is %d", i, c.user.name, c.last[room], room, len(log))
		}
	}
	for _, v := range log {
		if w.deleted[slot{room, v.Event.Sequence}] != 0 && (v.Event.DeletedMs == 0 || len(v.Event.Body) > 2) {
			w.fail("S11", "%s/%d was deleted and reads %q", room, v.Event.Sequence, v.Event.Body)
		}
	}
}
