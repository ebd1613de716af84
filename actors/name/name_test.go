package name_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"parley/actors/conversation/world"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

const app = "6f1b34c6-3f04-4f0e-8c57-5d7c1f5f7a11"

var (
	ann = id.Derive(id.User, app, "", "ann")
	bob = id.Derive(id.User, app, "", "bob")
)

// TestLife: each line is a command, its owner and token, and who holds the name after it.
func TestLife(t *testing.T) {
	for _, script := range []string{
		"reserve ann -> ann?; reserve ann -> ann?; reserve bob -> ann? held; confirm bob -> ann?; confirm ann -> ann; release bob -> ann; release ann -> free",
		"reserve ann -> ann?; release ann -> free; reserve bob -> bob?; release ann -> bob?; confirm ann -> bob?",
		"confirm ann -> free; release ann -> free",
		// A late release and a late confirmation do nothing to a later reservation of the same owner.
		"reserve ann -> ann?; confirm ann -> ann; reserve ann 2 -> ann/2?; release ann 1 -> ann/2?; confirm ann 0 -> ann/2?; confirm ann 2 -> ann/2; release ann 2 -> free",
		// A later token releases older reservations; an older one does not replace a later one.
		"reserve ann 3 -> ann/3?; reserve ann 2 -> ann/3?; release ann 9 -> free; release ann 9 -> free; reserve bob -> bob?",
		"reserve ann 1 -> ann/1?; confirm ann 2 -> ann/1; reserve ann 2 -> ann/2?",
	} {
		for _, forgetful := range []bool{false, true} {
			w := world.New(3)
			w.Forgetful = forgetful
			for line := range strings.SplitSeq(script, "; ") {
				command, want, _ := strings.Cut(line, " -> ")
				if got := play(t, w, strings.Fields(command)); got != want {
					t.Errorf("%s of %q (forgetful %v): %s, want %s", command, script, forgetful, got, want)
				}
			}
		}
	}
}

func play(t *testing.T, w *world.World, words []string) string {
	owner, token := map[string]string{"ann": ann, "bob": bob}[words[1]], uint64(0)
	if len(words) > 2 {
		token, _ = strconv.ParseUint(words[2], 10, 64)
	}
	cmd := &nodev1.Command{Principal: &nodev1.Principal{ApplicationId: app, Admin: true}}
	switch words[0] {
	case "reserve":
		cmd.Body = &nodev1.Command_ReserveName{ReserveName: &nodev1.ReserveName{OwnerId: owner, Token: token}}
	case "confirm":
		cmd.Body = &nodev1.Command_ConfirmName{ConfirmName: &nodev1.ConfirmName{OwnerId: owner, Token: token}}
	default:
		cmd.Body = &nodev1.Command_ReleaseName{ReleaseName: &nodev1.ReleaseName{OwnerId: owner, Token: token}}
	}
	results, err := w.Do(nodev1.Kind_KIND_NAME, app, "user/n", cmd)
	if err != nil || results[0].Err != nil {
		t.Fatal(err, results)
	}
	return told(results[0].Reply.Name, results[0].Reply.Exists)
}

func told(n *eventv1.Name, held bool) string {
	if n == nil {
		return "free"
	}
	out := map[string]string{ann: "ann", bob: "bob"}[n.OwnerId]
	if n.Token > 0 {
		out += fmt.Sprint("/", n.Token)
	}
	if !n.Confirmed {
		out += "?"
	}
	if held {
		out += " held"
	}
	return out
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ entity, owner, application string }{
		{"user/", ann, app}, {"nonsense", ann, app}, {"team/x", ann, app}, {"user/" + strings.Repeat("x", 101), ann, app},
		{"user/x", "USR-nonsense", app}, {"conversation/x", ann, app}, {"device/x", id.New(id.Conversation), app}, {"user/x", ann, id.New(id.Application)},
	} {
		w := world.New(3)
		results, err := w.Do(nodev1.Kind_KIND_NAME, app, c.entity, &nodev1.Command{
			Principal: &nodev1.Principal{ApplicationId: c.application, Admin: true},
			Body:      &nodev1.Command_ReserveName{ReserveName: &nodev1.ReserveName{OwnerId: c.owner}}})
		if err != nil || !code.Has(results[0].Err, code.ValidationFail) {
			t.Errorf("%.20s for %s: %v %v", c.entity, c.owner, err, results)
		}
	}
}
