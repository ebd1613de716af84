package history

import (
	"maps"
	"slices"
	"sort"
)

// checkPages holds reads that were made meanwhile against S3, S4, S7, S8 and S18.
func (c *checker) checkPages(h History) {
	for _, p := range h.Pages {
		for i, e := range p.Events {
			if want := p.Start + uint64(i); e.Sequence != want {
				c.brokenAt(slot{p.Conversation, want}, "S3", "%s read by %s at %s: %d stands in the place of %d", p.Conversation, p.User, p.Node, e.Sequence, want)
				break
			}
			c.checkView(p.Application, p.Conversation, p.User+" at "+p.Node, e)
		}
	}
	c.checkReach(h)
}

// checkView is one event on its way to one observer.
func (c *checker) checkView(application, conversation, observer string, e Event) {
	if e.Application != "" && e.Application != application {
		c.brokenAt(slot{conversation, e.Sequence}, "S18", "%s/%d of %s is shown to %s of %s", conversation, e.Sequence, e.Application, observer, application)
	}
	c.checkSame(conversation, observer, e)
	if e.ClientID != "" {
		c.checkSent(sendKey{conversation, e.User, e.ClientID}, e)
	}
}

// reach is a moment at which somebody knew that a conversation goes up to a sequence.
type reach struct {
	at       int64
	sequence uint64
}

// checkReach is S7: what somebody has known, a read that starts later knows at every node.
func (c *checker) checkReach(h History) {
	known := map[string][]reach{}
	for _, s := range h.Sends {
		if s.Outcome == Committed {
			known[s.Conversation] = append(known[s.Conversation], reach{s.Ended, s.Sequence})
		}
	}
	pages := map[string][]Page{}
	for _, p := range h.Pages {
		known[p.Conversation] = append(known[p.Conversation], reach{p.Ended, p.Head})
		pages[p.Conversation] = append(pages[p.Conversation], p)
	}
	for _, conversation := range slices.Sorted(maps.Keys(pages)) {
		asked, list := pages[conversation], known[conversation]
		sort.SliceStable(asked, func(i, j int) bool { return asked[i].Began < asked[j].Began })
		sort.SliceStable(list, func(i, j int) bool { return list[i].at < list[j].at })
		highest := uint64(0)
		for _, p := range asked {
			for len(list) > 0 && list[0].at < p.Began {
				highest, list = max(highest, list[0].sequence), list[1:]
			}
			if p.Head < highest {
				c.brokenAt(slot{conversation, highest}, "S7", "%s: %s reads up to %d at %s from %d on, %d was known before", conversation, p.User, p.Head, p.Node, p.Began, highest)
			}
		}
	}
}

// checkScreens is S5 and S15, and what S4, S8 and S18 say of what was shown.
func (c *checker) checkScreens(h History) {
	for _, s := range h.Screens {
		last := s.After
		for _, e := range s.Shown {
			if e.Sequence != last+1 {
				c.brokenAt(slot{s.Conversation, e.Sequence}, "S5", "%s was shown %s/%d after %d", s.Device, s.Conversation, e.Sequence, last)
			}
			last = e.Sequence
			c.checkView(s.Application, s.Conversation, s.Device, e)
		}
		if head := uint64(len(c.logs[s.Conversation])); h.Settled && s.Open && last != head {
			c.brokenAt(slot{s.Conversation, last}, "S15", "%s has %d of %s, the head is %d", s.Device, last, s.Conversation, head)
		}
	}
}

// checkAnswered is S13.
func (c *checker) checkAnswered(sends []Send) {
	told := map[sendKey]bool{}
	for _, s := range sends {
		k := sendKey{s.Conversation, s.User, s.ClientID}
		told[k] = told[k] || s.Outcome != Unknown
	}
	for _, s := range sends {
		k := sendKey{s.Conversation, s.User, s.ClientID}
		if !told[k] {
			told[k] = true
			c.brokenAt(slot{s.Conversation, 0}, "S13", "%v has no answer, first sent at %d", k, s.Began)
		}
	}
}

// checkDeletions is S11.
func (c *checker) checkDeletions(h History) {
	gone := map[slot]int64{}
	for _, d := range h.Deletions {
		gone[slot{d.Conversation, d.Sequence}] = d.Ended
	}
	alive := func(conversation string, e Event, began int64, who string) {
		at := slot{conversation, e.Sequence}
		if ended, deleted := gone[at]; deleted && ended < began && !e.Deleted {
			c.brokenAt(at, "S11", "%s/%d was deleted at %d and its body is shown to %s, who asked at %d", conversation, e.Sequence, ended, who, began)
		}
	}
	for _, p := range h.Pages {
		for _, e := range p.Events {
			alive(p.Conversation, e, p.Began, p.User)
		}
	}
	for _, s := range h.Screens {
		for _, e := range s.Shown {
			alive(s.Conversation, e, s.Began, s.Device)
		}
	}
	for _, r := range h.Reads {
		for _, e := range r.Events {
			alive(r.Conversation, e, 1<<62, r.Observer)
		}
	}
}

// checkReceipts is S9.
func (c *checker) checkReceipts(h History) {
	type reader struct{ conversation, user string } // or a membership of the user
	claimed, told := map[reader][]reach{}, map[reader][]reach{}
	for _, r := range h.Receipts {
		at := reader{r.Conversation, r.User}
		if r.Seen > r.Shown {
			c.brokenAt(slot{r.Conversation, r.Seen}, "S9", "%s claims to have read %d of %s and was shown %d", r.User, r.Seen, r.Conversation, r.Shown)
		}
		if r.Outcome != Refused {
			claimed[at] = append(claimed[at], reach{r.Began, r.Seen})
		}
		if r.Outcome != Committed {
			continue
		}
		at.user = r.Member // who leaves and joins again begins anew
		for _, before := range told[at] {
			if !r.AtLeast && before.at < r.Began && before.sequence > r.Told {
				c.brokenAt(slot{r.Conversation, r.Told}, "S9", "%s: the cursor of %s went back from %d to %d", r.Conversation, r.User, before.sequence, r.Told)
			}
		}
		told[at] = append(told[at], reach{r.Ended, r.Told})
	}
	for _, cursor := range h.Cursors {
		most := uint64(0)
		for who, claims := range claimed {
			if who.conversation != cursor.Conversation || cursor.User != "" && cursor.User != who.user {
				continue
			}
			for _, claim := range claims {
				if claim.at <= cursor.At {
					most = max(most, claim.sequence)
				}
			}
		}
		if cursor.Seen > most {
			c.brokenAt(slot{cursor.Conversation, cursor.Seen}, "S9", "%s: %s is told to have read %d and claimed %d", cursor.Conversation, cursor.User, cursor.Seen, most)
		}
	}
}
