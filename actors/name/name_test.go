package name_test

import (
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

// TestLife: each line is a command and who holds the name after it.
func TestLife(t *testing.T) {
	for _, script := range []string{
		"reserve ann -> ann?; reserve ann -> ann?; reserve bob -> ann? held; confirm bob -> ann?; confirm ann -> ann; release bob -> ann; release ann -> free",
		"reserve ann -> ann?; release ann -> free; reserve bob -> bob?; release ann -> bob?; confirm ann -> bob?",
		"confirm ann -> ann; confirm ann -> ann; release ann -> free; release ann -> free",
	} {
		for _, forgetful := range []bool{false, true} {
			w := world.New(3)
			w.Forgetful = forgetful
			for line := range strings.SplitSeq(script, "; ") {
				command, want, _ := strings.Cut(line, " -> ")
				verb, who, _ := strings.Cut(command, " ")
				got := play(t, w, verb, map[string]string{"ann": ann, "bob": bob}[who])
				if got != want {
					t.Errorf("%s (forgetful %v): %s, want %s", command, forgetful, got, want)
				}
			}
		}
	}
}

func play(t *testing.T, w *world.World, verb, owner string) string {
	cmd := &nodev1.Command{Principal: &nodev1.Principal{ApplicationId: app, Admin: true}}
	switch verb {
	case "reserve":
		cmd.Body = &nodev1.Command_ReserveName{ReserveName: &nodev1.ReserveName{OwnerId: owner}}
	case "confirm":
		cmd.Body = &nodev1.Command_ConfirmName{ConfirmName: &nodev1.ConfirmName{OwnerId: owner}}
	default:
		cmd.Body = &nodev1.Command_ReleaseName{ReleaseName: &nodev1.ReleaseName{OwnerId: owner}}
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
		{"user/x", "USR-nonsense", app}, {"conversation/x", ann, app}, {"user/x", ann, id.New(id.Application)},
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
