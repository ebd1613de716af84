package user

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"

	"google.golang.org/protobuf/proto"

	"parley/actors/conversation/document"
	"parley/actors/conversation/row"
	"parley/actors/name"
	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// Limits of a user's devices.
const (
	// DevicesMax is how many a user has; one more drops the one that was registered first.
	DevicesMax = 16
	// MutedMax is how many conversations a user mutes; one more drops the one that was muted first.
	MutedMax = 1000
	// deviceIDCharactersMax, deviceTokenBytesMax and deviceTopicCharactersMax bound what a client tells.
	deviceIDCharactersMax    = 256
	deviceTokenBytesMax      = 4096
	deviceTopicCharactersMax = 256

	appleTokenBytesMax = 100
	publicKeyBytes     = 65 // an uncompressed point of P-256
	authBytes          = 16
)

// EnvironmentSandbox and EnvironmentProduction say of which of Apple's environments a token is.
const (
	EnvironmentSandbox    = "sandbox"
	EnvironmentProduction = "production"
)

var platformNames = map[eventv1.Platform]string{
	eventv1.Platform_PLATFORM_ANDROID: "android", eventv1.Platform_PLATFORM_IOS: "ios", eventv1.Platform_PLATFORM_WEB: "web",
}

// PlatformName is a platform as it stands on the wire, in metrics and in logs.
func PlatformName(p eventv1.Platform) string { return platformNames[p] }

// PlatformOf is the platform of a name; PLATFORM_UNSPECIFIED for what is none.
func PlatformOf(name string) eventv1.Platform {
	for p, n := range platformNames {
		if n == name {
			return p
		}
	}
	return eventv1.Platform_PLATFORM_UNSPECIFIED
}

func (m *machine) loadDevices(r store.Reader) error {
	if m.devices != nil {
		return nil
	}
	devices := &eventv1.Devices{}
	if _, err := row.Read(r, keys.Devices(m.entity.Shard, m.app, m.id), devices); err != nil {
		return err
	}
	m.devices = devices
	return nil
}

// decideDevices is what a user may ask about its own devices, and an administrator about anybody's.
func (d *draft) decideDevices() (*nodev1.Reply, error) {
	if p := d.cmd.GetPrincipal(); !p.GetAdmin() && p.GetUserId() != d.entity.ID {
		return nil, code.New(code.Permission, "a user has only its own devices")
	}
	if !d.alive() {
		return nil, notFound()
	}
	switch b := d.cmd.Body.(type) {
	case *nodev1.Command_PutDevice:
		return d.putDevice(b.PutDevice.GetDevice())
	case *nodev1.Command_DeleteDevice:
		return d.deleteDevice(b.DeleteDevice)
	default:
		return d.mute(d.cmd.GetMutePush())
	}
}

// putDevice makes wanted the device that was registered last. What it replaces goes: the device of
// its id, and any other with its token, which is the same installation under another id.
func (d *draft) putDevice(wanted *eventv1.Device) (*nodev1.Reply, error) {
	if err := CheckDevice(wanted); err != nil {
		return nil, err
	}
	device := proto.CloneOf(wanted)
	device.CreatedMs = d.now
	device.UpdatedMs = max(d.now, d.devices.GetRegisteredMs()+1) // what comes late for an earlier registration must not meet this one
	list := d.devices.GetDevices()
	if last := len(list) - 1; last >= 0 && sameDevice(list[last], device) {
		return &nodev1.Reply{Devices: &eventv1.Devices{Devices: list[last:]}, Duplicate: true}, nil
	}
	next := &eventv1.Devices{Muted: d.devices.GetMuted(), RegisteredMs: device.UpdatedMs}
	for _, old := range list {
		switch {
		case old.Id == device.Id:
			device.CreatedMs = old.CreatedMs
		case old.Platform == device.Platform && old.Token == device.Token:
		default:
			next.Devices = append(next.Devices, old)
		}
	}
	next.Devices = append(next.Devices, device)
	var dropped []string
	for len(next.Devices) > DevicesMax {
		dropped = append(dropped, next.Devices[0].Id)
		next.Devices = next.Devices[1:]
	}
	d.keepDevices(next)
	return &nodev1.Reply{Devices: &eventv1.Devices{Devices: []*eventv1.Device{device}}, DroppedDevices: dropped}, nil
}

// keepDevices replaces what is kept, and has the rows go that say whose the tokens are which the user has no more.
// Nothing else depends on that: who claims a token asks its holder.
func (d *draft) keepDevices(next *eventv1.Devices) {
	d.change(devicesChanged{next})
	for _, old := range d.devices.GetDevices() {
		if slices.ContainsFunc(next.Devices, func(kept *eventv1.Device) bool { return kept.Token == old.Token }) {
			continue
		}
		d.send(nodev1.Kind_KIND_NAME, name.DeviceID(old.Token), &nodev1.Command{Body: &nodev1.Command_ReleaseName{
			ReleaseName: &nodev1.ReleaseName{OwnerId: d.entity.ID, Token: uint64(old.UpdatedMs)}}})
	}
}

// sameDevice says whether registering b after a changes nothing but times.
func sameDevice(a, b *eventv1.Device) bool {
	b = proto.CloneOf(b)
	b.CreatedMs, b.UpdatedMs = a.CreatedMs, a.UpdatedMs
	return proto.Equal(a, b)
}

// deleteDevice removes a device, by its id, its token or both; one that is not there is gone already. The same
// token may be of several: of another platform each.
func (d *draft) deleteDevice(c *nodev1.DeleteDevice) (*nodev1.Reply, error) {
	list := d.devices.GetDevices()
	rest := slices.DeleteFunc(slices.Clone(list), func(have *eventv1.Device) bool {
		return (c.Id == "" || c.Id == have.Id) && (c.Token == "" || c.Token == have.Token) && (c.Id != "" || c.Token != "")
	})
	if len(rest) == len(list) {
		return &nodev1.Reply{}, nil
	}
	d.keepDevices(&eventv1.Devices{Devices: rest, Muted: d.devices.GetMuted(), RegisteredMs: d.devices.GetRegisteredMs()})
	return &nodev1.Reply{Exists: true}, nil
}

// mute switches the notifications of one conversation off or on. Whether the user is in it does not
// matter: who is not gets none.
func (d *draft) mute(c *nodev1.MutePush) (*nodev1.Reply, error) {
	if _, err := id.Parse(id.Conversation, c.GetConversationId()); err != nil {
		return nil, code.New(code.ConversationNotFound, "conversation does not exist")
	}
	muted := d.devices.GetMuted()
	if slices.Contains(muted, c.ConversationId) == c.Muted {
		return &nodev1.Reply{}, nil
	}
	next := slices.DeleteFunc(slices.Clone(muted), func(have string) bool { return have == c.ConversationId })
	if c.Muted {
		next = append(next, c.ConversationId)
	}
	next = next[max(0, len(next)-MutedMax):]
	d.change(devicesChanged{&eventv1.Devices{
		Devices: d.devices.GetDevices(), Muted: next, RegisteredMs: d.devices.GetRegisteredMs(),
	}})
	return &nodev1.Reply{}, nil
}

// CheckDevice checks what a client tells of a device; its errors are code.ValidationFail. Whether
// the token is any good only its provider knows.
func CheckDevice(d *eventv1.Device) error {
	if d.GetId() == "" {
		return code.Invalid("device_id", "is not allowed to be empty")
	}
	if err := document.CheckText(d.Id, deviceIDCharactersMax); err != nil {
		return code.Invalid("device_id", err.Error())
	}
	if d.Token == "" || len(d.Token) > deviceTokenBytesMax {
		return code.Invalid("device_token", fmt.Sprintf("must have 1 to %d bytes", deviceTokenBytesMax))
	}
	if err := document.CheckText(d.Topic, deviceTopicCharactersMax); err != nil {
		return code.Invalid("bundle_id", err.Error())
	}
	switch d.Platform {
	case eventv1.Platform_PLATFORM_ANDROID:
		if err := document.CheckText(d.Token, deviceTokenBytesMax); err != nil {
			return code.Invalid("device_token", err.Error())
		}
		return nil
	case eventv1.Platform_PLATFORM_IOS:
		return checkApple(d)
	case eventv1.Platform_PLATFORM_WEB:
		return checkSubscription(d)
	default:
		return code.Invalid("device_type", "must be one of [android, ios, web]")
	}
}

func checkApple(d *eventv1.Device) error {
	if token, err := hex.DecodeString(d.Token); err != nil || len(token) > appleTokenBytesMax {
		return code.Invalid("device_token", "must be a device token in hexadecimal")
	}
	switch d.Environment {
	case "", EnvironmentSandbox, EnvironmentProduction:
		return nil
	}
	return code.Invalid("device_push_environment", "must be one of [sandbox, production]")
}

// checkSubscription checks what a browser's PushSubscription gives (W3C Push API).
func checkSubscription(d *eventv1.Device) error {
	u, err := url.Parse(d.Token)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return code.Invalid("device_token", "must be the endpoint of a subscription, an https uri")
	}
	if len(d.P256Dh) != publicKeyBytes || d.P256Dh[0] != 4 {
		return code.Invalid("keys.p256dh", "must be an uncompressed point of P-256 in base64url")
	}
	if len(d.Auth) != authBytes {
		return code.Invalid("keys.auth", fmt.Sprintf("must be %d bytes in base64url", authBytes))
	}
	return nil
}
