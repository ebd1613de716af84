package api_test

import (
	"testing"

	"parley/actors/api"
	"parley/actors/conversation/world"
	"parley/cluster/version"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

const token = "the token of a phone"

// newUsers makes users, and gives their ids.
func newUsers(t *testing.T, a *api.Service, names ...string) (ids []string) {
	t.Helper()
	for _, n := range names {
		u, err := a.CreateUser(t.Context(), admin, "", &eventv1.User{Name: n})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, u.Id)
	}
	return ids
}

// register registers the phone.
func register(t *testing.T, a *api.Service, user string) error {
	t.Helper()
	_, err := a.PutDevice(t.Context(), admin, user, &eventv1.Device{Id: "phone", Platform: eventv1.Platform_PLATFORM_ANDROID, Token: token})
	return err
}

// having gives which of the users have the phone.
func having(t *testing.T, a *api.Service, users ...string) (those []string) {
	t.Helper()
	for _, u := range users {
		list, err := a.Devices(t.Context(), admin, u)
		if code.Has(err, code.UserNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(list) > 0 {
			those = append(those, u)
		}
	}
	return those
}

func one(t *testing.T, those []string, want string) {
	t.Helper()
	if len(those) != 1 || those[0] != want {
		t.Errorf("%v have it, want %s", those, want)
	}
}

// TestADeviceIsItsLastUsers: whoever registers it, and however often, nobody else has it.
func TestADeviceIsItsLastUsers(t *testing.T) {
	for _, late := range []bool{false, true} { // whether the news of what users lost come between or at the end
		w, _, a := newWorld(t)
		users := newUsers(t, a, "ann", "bob", "eve")
		for _, i := range []int{0, 1, 1, 0, 2, 0, 1} {
			w.Now++
			if err := register(t, a, users[i]); err != nil {
				t.Fatal(err)
			}
			if !late {
				deliver(t, w)
			}
			one(t, having(t, a, users...), users[i])
		}
		deliver(t, w)
		if err := a.DeleteUser(t.Context(), admin, users[1]); err != nil {
			t.Fatal(err)
		}
		if err := register(t, a, users[2]); err != nil { // of one who is gone
			t.Fatal(err)
		}
		deliver(t, w)
		one(t, having(t, a, users...), users[2])
	}
}

// TestAClaimThatStops half way is made up for by the next registration, whoever's.
func TestAClaimThatStops(t *testing.T) {
	for stop := range 6 {
		for next := range 2 {
			w, d, a := newWorld(t)
			users := newUsers(t, a, "ann", "bob")
			if err := register(t, a, users[0]); err != nil {
				t.Fatal(err)
			}
			left := stop
			d.before = func(*nodev1.GrainRequest) error {
				if left == 0 {
					return code.New(code.Unavailable, "the node is gone")
				}
				left--
				return nil
			}
			if err := register(t, a, users[1]); !code.Has(err, code.Unavailable) {
				t.Errorf("stopped after %d: %v", stop, err)
			}
			d.before = nil
			w.Now++
			if err := register(t, a, users[next]); err != nil {
				t.Fatal(err)
			}
			deliver(t, w)
			one(t, having(t, a, users...), users[next])
		}
	}
}

// TestAClaimBesideAnother: bob's whole registration falls between what ann's keeps and what it claims.
func TestAClaimBesideAnother(t *testing.T) {
	w, d, a := newWorld(t)
	users := newUsers(t, a, "ann", "bob")
	if err := register(t, a, users[0]); err != nil {
		t.Fatal(err)
	}
	w.Now++
	d.before = func(req *nodev1.GrainRequest) error {
		if req.Command.GetReserveName().GetToken() == 0 {
			return nil
		}
		d.before = nil
		w.Now++
		return register(t, a, users[1])
	}
	if err := register(t, a, users[0]); err != nil {
		t.Fatal(err)
	}
	deliver(t, w)
	one(t, having(t, a, users...), users[0])
}

// TestALateReleaseFreesNothing: a device that is registered again in the same millisecond, or by a leader whose clock
// is behind, keeps its row when the news of its end before come.
func TestALateReleaseFreesNothing(t *testing.T) {
	for _, behind := range []int64{0, 1000} {
		w, _, a := newWorld(t)
		users := newUsers(t, a, "ann", "bob")
		if err := register(t, a, users[0]); err != nil {
			t.Fatal(err)
		}
		if err := a.DeleteDevice(t.Context(), admin, users[0], "phone"); err != nil {
			t.Fatal(err)
		}
		w.Now -= behind
		if err := register(t, a, users[0]); err != nil {
			t.Fatal(err)
		}
		deliver(t, w)
		w.Now += 2000
		if err := register(t, a, users[1]); err != nil {
			t.Fatal(err)
		}
		deliver(t, w)
		one(t, having(t, a, users...), users[1])
	}
}

// TestATokenOfTwoPlatforms is of one user all the same.
func TestATokenOfTwoPlatforms(t *testing.T) {
	w, _, a := newWorld(t)
	users := newUsers(t, a, "ann", "bob")
	android, ios := eventv1.Platform_PLATFORM_ANDROID, eventv1.Platform_PLATFORM_IOS
	for _, of := range []struct {
		user, device string
		platform     eventv1.Platform
	}{{users[0], "x", android}, {users[0], "y", ios}, {users[1], "x", android}} {
		w.Now++
		if _, err := a.PutDevice(t.Context(), admin, of.user, &eventv1.Device{Id: of.device, Platform: of.platform, Token: "abcdef"}); err != nil {
			t.Fatal(err)
		}
	}
	deliver(t, w)
	one(t, having(t, a, users...), users[1])
}

// TestAClaimBetween: two users register at the same time, and again: the one whose claim is done last has it.
func TestAClaimBetween(t *testing.T) {
	w, d, a := newWorld(t)
	users := newUsers(t, a, "ann", "bob")
	if err := register(t, a, users[0]); err != nil {
		t.Fatal(err)
	}
	between := func(req *nodev1.GrainRequest) error {
		if req.Command.GetReleaseName() != nil { // ann has lost it, and registers it again before she has lost the claim
			d.before = nil
			w.Now++
			return register(t, a, users[0])
		}
		return nil
	}
	d.before = between
	w.Now++
	if err := register(t, a, users[1]); err != nil {
		t.Fatal(err)
	}
	deliver(t, w)
	one(t, having(t, a, users...), users[1])
	d.before = func(req *nodev1.GrainRequest) error {
		if req.Command.GetReleaseName() == nil {
			return nil
		}
		again := d.before
		d.before = nil
		w.Now++
		defer func() { d.before = again }()
		return register(t, a, users[1]) // each time
	}
	if err := register(t, a, users[0]); !code.Has(err, code.Unavailable) {
		t.Errorf("changing hands for ever: %v", err)
	}
}

// TestNoClaimsWhileANodeIsOlder: it would refuse them.
func TestNoClaimsWhileANodeIsOlder(t *testing.T) {
	w := world.New(shards)
	o := options(&direct{w: w}, w.Rows())
	o.Gate = version.NewGate(version.Spoken(), version.Features())
	a, err := api.New(o)
	if err != nil {
		t.Fatal(err)
	}
	users := newUsers(t, a, "ann", "bob")
	for _, tc := range []struct {
		at   version.Number
		have int
	}{{1, 2}, {2, 1}} {
		o.Gate.Raise(tc.at)
		for _, u := range users {
			if err := register(t, a, u); err != nil {
				t.Fatal(err)
			}
		}
		if got := having(t, a, users...); len(got) != tc.have {
			t.Errorf("at version %d %v have it", tc.at, got)
		}
	}
	one(t, having(t, a, users...), users[1])
}

func deliver(t *testing.T, w *world.World) {
	t.Helper()
	if err := w.Deliver(); err != nil {
		t.Fatal(err)
	}
}
