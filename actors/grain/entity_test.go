package grain

import (
	"fmt"
	"testing"

	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// TestHeadKeys pins the fences of entities: they are on disk, so they never change.
func TestHeadKeys(t *testing.T) {
	const uuid = "0de7a7b5-0000-4000-8000-000000000002"
	for _, c := range []struct {
		e    Entity
		want string // hex, "" = no such entity
	}{
		{Entity{1, nodev1.Kind_KIND_CONVERSATION, appID, "CON-" + uuid}, "7300000001110de7a7b5000040008000000000000001" + "0de7a7b500004000800000000000000201"},
		{Entity{2, nodev1.Kind_KIND_USER, appID, "USR-" + uuid}, "7300000002110de7a7b5000040008000000000000001" + "0de7a7b500004000800000000000000202"},
		{Entity{3, nodev1.Kind_KIND_NAME, appID, "user/ann"}, "7300000003110de7a7b5000040008000000000000001" + "07f031acfcf1c262b159ec8e6743c80903"},
		{Entity{0, nodev1.Kind_KIND_APPLICATION, appID, appID}, "73000000001100000000000000000000000000000000" + "0de7a7b500004000800000000000000104"},
		{Entity{1, nodev1.Kind_KIND_CONVERSATION, appID, "CON-tea"}, ""},
		{Entity{1, nodev1.Kind_KIND_CONVERSATION, "", "CON-" + uuid}, ""},
		{Entity{1, nodev1.Kind_KIND_USER, appID, "CON-" + uuid}, ""},
		{Entity{1, nodev1.Kind_KIND_SHARD, appID, "1"}, ""},
	} {
		key, err := HeadKey(c.e)
		if (err != nil) != (c.want == "") || err == nil && fmt.Sprintf("%x", key) != c.want {
			t.Errorf("%s: %x, %v; want %s", c.e.ID, key, err, c.want)
		}
	}
}

// TestSinkPlaces pins where the rows for a sink stand in the outbox, apart from those of others: they
// are on disk, so it never changes.
func TestSinkPlaces(t *testing.T) {
	const other = "0de7a7b5-0000-4000-8000-000000000009"
	for want, c := range map[keys.Shard]struct {
		kind        nodev1.Kind
		app, target string
	}{
		0x90646934: {nodev1.Kind_KIND_WEBHOOK, appID, "event_url"}, 0x2693b09f: {nodev1.Kind_KIND_WEBHOOK, appID, "callback"},
		0x6c3faabb: {nodev1.Kind_KIND_PUSH, appID, "push"}, 0x885b2a51: {nodev1.Kind_KIND_WEBHOOK, other, "event_url"},
	} {
		if got := Place(c.kind, c.app, c.target, 4); got != want {
			t.Errorf("%s %s: %#x, want %#x", c.kind, c.target, uint32(got), uint32(want))
		}
	}
}

// TestSinksAreTheOwnersToSay: a command to a conversation carries the sinks that its own node knows
// of, whatever came with it; the caller's command is not changed.
func TestSinksAreTheOwnersToSay(t *testing.T) {
	for _, c := range []struct {
		kind            nodev1.Kind
		came, has, want uint32
	}{
		{nodev1.Kind_KIND_CONVERSATION, 0, 3, 3}, {nodev1.Kind_KIND_CONVERSATION, 3, 0, 0}, {nodev1.Kind_KIND_CONVERSATION, 1, 2, 2}, {nodev1.Kind_KIND_USER, 1, 3, 0},
	} {
		a := &Activation{entity: Entity{Kind: c.kind, Application: appID}, setting: &Setting{Sinks: func(string) uint32 { return c.has }}}
		cmd := &nodev1.Command{ClientId: "c1", Sinks: c.came}
		if got := a.withSinks(cmd); got.Sinks != c.want || got.ClientId != "c1" || cmd.Sinks != c.came {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestErrorsSurviveTheWire: what carries a code arrives as it was; what carries none tells nothing.
func TestErrorsSurviveTheWire(t *testing.T) {
	for _, err := range []error{busy("full"), fmt.Errorf("open /secret: denied")} {
		got := CodedError(ErrorOf(err))
		if want := "system:error:unavailable: full; try again"; got.Error() != want && got.Error() != "system:error:internal-error: internal error" {
			t.Errorf("%v arrived as %v", err, got)
		}
	}
	if CodedError(nil) != nil {
		t.Error("no error arrived as one")
	}
}

// TestNoSpaceIsTold: a write for which no disk has space is refused by a leader that goes on, in a code of its
// own; a node that does not know the code takes it for one that it asks again after.
func TestNoSpaceIsTold(t *testing.T) {
	reply := fate(7, fmt.Errorf("propose: %w", shard.ErrNoSpace), true)
	if reply.NotLeader || reply.Error.GetCode() != string(code.Unavailable) || !proceeds(shard.ErrNoSpace) {
		t.Errorf("told as %v", reply)
	}
	e, ok := code.Of(CodedError(reply.Error))
	if !ok || e.Code != code.NotStored || e.HTTPStatus() != 507 || e.RetryAfter != spaceAfter {
		t.Errorf("arrived as %v", e)
	}
}
