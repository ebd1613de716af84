package user_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"parley/actors/conversation/world"
	"parley/actors/name"
	"parley/actors/user"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

func putting(d *eventv1.Device) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_PutDevice{PutDevice: &nodev1.PutDevice{Device: d}}}
}

func forgetting(deviceID, token string) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_DeleteDevice{DeleteDevice: &nodev1.DeleteDevice{Id: deviceID, Token: token}}}
}

func muting(conversation string, muted bool) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_MutePush{MutePush: &nodev1.MutePush{ConversationId: conversation, Muted: muted}}}
}

func phone(deviceID, token string) *eventv1.Device {
	return &eventv1.Device{Id: deviceID, Platform: eventv1.Platform_PLATFORM_ANDROID, Token: token}
}

// devicesOf lists ann's devices as id=token, for a conversation.
func devicesOf(t *testing.T, w *world.World, conversation string) string {
	t.Helper()
	reply, err := w.Ask(nodev1.Kind_KIND_USER, app, ann, &nodev1.Query{Principal: admin,
		Body: &nodev1.Query_GetDevices{GetDevices: &nodev1.GetDevices{Conversation: conversation}}})
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, d := range reply.Devices.Devices {
		list = append(list, d.Id+"="+d.Token)
	}
	return strings.Join(list, " ")
}

func TestDevices(t *testing.T) {
	each(t, func(t *testing.T, w *world.World) {
		must(t, w, ann, creating(&eventv1.User{Name: "ann"}))
		for _, step := range []struct {
			cmd  *nodev1.Command
			want string
		}{
			{putting(phone("a", "1")), "a=1"}, {putting(phone("b", "2")), "a=1 b=2"},
			{putting(phone("a", "3")), "b=2 a=3"}, // another token of the same device
			{putting(phone("c", "2")), "a=3 c=2"}, // the same installation under another id
			{forgetting("c", "old"), "a=3 c=2"}, {forgetting("c", "2"), "a=3"}, {forgetting("c", ""), "a=3"},
			{forgetting("a", ""), ""},
		} {
			must(t, w, ann, step.cmd)
			if got := devicesOf(t, w, room); got != step.want {
				t.Errorf("after %v: %q, want %q", step.cmd, got, step.want)
			}
		}
	})
}

func TestRegisteringAgainWritesNothing(t *testing.T) {
	w := world.New(3)
	must(t, w, ann, creating(&eventv1.User{Name: "ann"}))
	for range 2 {
		cmd := putting(phone("a", "1"))
		cmd.Principal = admin
		results, err := w.Do(nodev1.Kind_KIND_USER, app, ann, cmd)
		if err != nil || results[0].Err != nil {
			t.Fatal(err, results[0].Err)
		}
		if results[0].Writes == results[0].Reply.Duplicate {
			t.Errorf("%+v", results[0])
		}
		w.Now += 1000
	}
}

func TestTooManyDevices(t *testing.T) {
	each(t, func(t *testing.T, w *world.World) {
		must(t, w, ann, creating(&eventv1.User{Name: "ann"}))
		var dropped []string
		for i := range user.DevicesMax + 2 {
			dropped = append(dropped, must(t, w, ann, putting(phone(fmt.Sprint("d", i), fmt.Sprint("t", i)))).DroppedDevices...)
		}
		if !slices.Equal(dropped, []string{"d0", "d1"}) || strings.Count(devicesOf(t, w, room), "=") != user.DevicesMax {
			t.Errorf("dropped %v, left %s", dropped, devicesOf(t, w, room))
		}
	})
}

func TestMuted(t *testing.T) {
	each(t, func(t *testing.T, w *world.World) {
		other := id.Derive(id.Conversation, app, "", "other")
		must(t, w, ann, creating(&eventv1.User{Name: "ann"}))
		must(t, w, ann, putting(phone("a", "1")))
		for _, muted := range []bool{true, true, false, false} {
			must(t, w, ann, muting(room, muted))
			if got := devicesOf(t, w, room); (got == "") != muted || devicesOf(t, w, other) != "a=1" {
				t.Errorf("muted %v: %q, and elsewhere %q", muted, got, devicesOf(t, w, other))
			}
		}
		must(t, w, ann, muting(room, true))
		for i := range user.MutedMax {
			must(t, w, ann, muting(id.Derive(id.Conversation, app, "", fmt.Sprint(i)), true))
		}
		if devicesOf(t, w, room) != "a=1" {
			t.Error("the conversation that was muted first is muted beyond the limit")
		}
	})
}

func TestADeletedUserHasNoDevices(t *testing.T) {
	each(t, func(t *testing.T, w *world.World) {
		must(t, w, ann, creating(&eventv1.User{Name: "ann"}))
		must(t, w, ann, putting(phone("a", "a-token")))
		must(t, w, ann, deleting())
		for key, row := range w.Rows() {
			if strings.Contains(string(row), "a-token") {
				t.Errorf("the device is still stored, in %x", key)
			}
		}
		if _, err := do(t, w, admin, ann, putting(phone("a", "1"))); !code.Has(err, code.UserNotFound) {
			t.Errorf("registered after the deletion: %v", err)
		}
	})
}

func TestDevicesAreTheUsersOwn(t *testing.T) {
	w := world.New(3)
	must(t, w, ann, creating(&eventv1.User{Name: "ann"}))
	self := &nodev1.Principal{ApplicationId: app, UserId: ann}
	stranger := &nodev1.Principal{ApplicationId: app, UserId: id.Derive(id.User, app, "", "eve")}
	for _, cmd := range []*nodev1.Command{putting(phone("a", "1")), forgetting("a", ""), muting(room, true)} {
		if _, err := do(t, w, stranger, ann, cmd); !code.Has(err, code.Permission) {
			t.Errorf("a stranger's %v: %v", cmd, err)
		}
		if _, err := do(t, w, self, ann, cmd); err != nil {
			t.Errorf("the user's own %v: %v", cmd, err)
		}
	}
	if _, err := w.Ask(nodev1.Kind_KIND_USER, app, ann, &nodev1.Query{Principal: stranger, Body: &nodev1.Query_GetDevices{GetDevices: &nodev1.GetDevices{}}}); !code.Has(err, code.Permission) {
		t.Errorf("a stranger reads the devices: %v", err)
	}
}

func TestCheckDevice(t *testing.T) {
	const hexToken = "00ab"
	point := append([]byte{4}, make([]byte, 64)...)
	for _, c := range []struct {
		d     *eventv1.Device
		field string // that is refused; empty = none
	}{
		{phone("a", "t"), ""}, {phone("", "t"), "device_id"}, {phone(strings.Repeat("x", 257), "t"), "device_id"},
		{phone("a", ""), "device_token"}, {phone("a", strings.Repeat("x", 4097)), "device_token"}, {phone("a", "\xff"), "device_token"},
		{&eventv1.Device{Id: "a", Token: "t"}, "device_type"},
		{&eventv1.Device{Id: "a", Platform: 2, Token: hexToken, Environment: "sandbox", Topic: "com.x"}, ""},
		{&eventv1.Device{Id: "a", Platform: 2, Token: hexToken, Environment: "moon"}, "device_push_environment"},
		{&eventv1.Device{Id: "a", Platform: 2, Token: "../3/device"}, "device_token"},
		{&eventv1.Device{Id: "a", Platform: 2, Token: strings.Repeat("00", 101)}, "device_token"},
		{&eventv1.Device{Id: "a", Platform: 2, Token: hexToken, Topic: strings.Repeat("x", 257)}, "bundle_id"},
		{&eventv1.Device{Id: "a", Platform: 3, Token: "https://push.example/x", P256Dh: point, Auth: make([]byte, 16)}, ""},
		{&eventv1.Device{Id: "a", Platform: 3, Token: "http://push.example/x", P256Dh: point, Auth: make([]byte, 16)}, "device_token"},
		{&eventv1.Device{Id: "a", Platform: 3, Token: "https://u:p@push.example/x", P256Dh: point, Auth: make([]byte, 16)}, "device_token"},
		{&eventv1.Device{Id: "a", Platform: 3, Token: "https://push.example/x", P256Dh: point[1:], Auth: make([]byte, 16)}, "keys.p256dh"},
		{&eventv1.Device{Id: "a", Platform: 3, Token: "https://push.example/x", P256Dh: point, Auth: nil}, "keys.auth"},
	} {
		err := user.CheckDevice(c.d)
		field := ""
		if e, ok := code.Of(err); ok {
			field = e.Fields[0].Name
		}
		if field != c.field {
			t.Errorf("%v: %v, want %q", c.d, err, c.field)
		}
	}
}

// TestTokensAreGivenBack: whose a device is stays written down as long as the user has one with its token, and no
// longer.
func TestTokensAreGivenBack(t *testing.T) {
	each(t, func(t *testing.T, w *world.World) {
		must(t, w, ann, creating(&eventv1.User{Name: "ann"}))
		hold := func(d *eventv1.Device) {
			kept := must(t, w, ann, putting(d)).Devices.Devices[0]
			cmd := &nodev1.Command{Principal: admin, Body: &nodev1.Command_ReserveName{
				ReserveName: &nodev1.ReserveName{OwnerId: ann, Token: uint64(kept.UpdatedMs)}}}
			if results, err := w.Do(nodev1.Kind_KIND_NAME, app, name.DeviceID(kept.Token), cmd); err != nil || results[0].Err != nil || results[0].Reply.Exists {
				t.Fatal(err, results)
			}
			w.Now++
		}
		held := func(tokens ...string) {
			t.Helper()
			if err := w.Deliver(); err != nil {
				t.Fatal(err)
			}
			for _, token := range []string{"1", "2", "3"} {
				reply, err := w.Ask(nodev1.Kind_KIND_NAME, app, name.DeviceID(token), &nodev1.Query{Principal: admin, Body: &nodev1.Query_GetName{GetName: &nodev1.GetName{}}})
				if err != nil || reply.Exists != slices.Contains(tokens, token) {
					t.Errorf("%s is held: %v, %v; want %v", token, reply, err, tokens)
				}
			}
		}
		hold(phone("a", "1"))
		hold(phone("b", "2"))
		held("1", "2")
		hold(phone("c", "1")) // the same installation under another id
		held("1", "2")
		hold(phone("b", "3")) // another token of the same device
		held("1", "3")
		must(t, w, ann, forgetting("", "1"))
		must(t, w, ann, forgetting("", ""))
		held("3")
		hold(phone("a", "1")) // before the news of its release, which is older
		must(t, w, ann, forgetting("a", ""))
		hold(phone("a", "1"))
		held("1", "3")
		must(t, w, ann, deleting())
		held()
	})
}
