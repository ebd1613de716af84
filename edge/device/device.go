// Package device reads what clients tell of a device that is to get notifications. Every generation of
// the mobile SDKs has its own way; all of them are read here, for REST and for the sockets alike.
package device

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"

	"parley/actors/user"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
)

// Body is the JSON of a registration.
type Body struct {
	Type        string  `json:"device_type,omitempty" doc:"android, ios or web; guessed from the token if absent."`
	Token       string  `json:"device_token,omitempty" doc:"Registration token of Firebase, or Apple's device token in hexadecimal."`
	Environment string  `json:"device_push_environment,omitempty" doc:"Of Apple's token: sandbox or production."`
	Bundle      string  `json:"bundle_id,omitempty" doc:"The app that Apple's token is of."`
	Tokens      *Tokens `json:"tokens,omitempty" doc:"What newer iOS clients tell instead of device_token and bundle_id."`
	Endpoint    string  `json:"endpoint,omitempty" doc:"Of a browser's push subscription."`
	Keys        *Keys   `json:"keys,omitempty" doc:"Of a browser's push subscription."`
}

// Tokens are those of one app; the one for calls is not kept.
type Tokens struct {
	Push *AppToken `json:"push,omitempty"`
}

// AppToken is a token with the app that it is of.
type AppToken struct {
	Token  string `json:"token"`
	Bundle string `json:"bundle_id,omitempty"`
}

// Keys are the keys of a browser's push subscription, in base64url (W3C Push API, PushSubscription).
type Keys struct {
	P256dh string `json:"p256dh"`
	Auth   string `json:"auth"`
}

// Read makes a device of a registration's JSON. Its errors are code.ValidationFail.
func Read(deviceID string, body []byte) (*eventv1.Device, error) {
	var b Body
	if err := json.Unmarshal(body, &b); err != nil {
		return nil, code.New(code.ValidationFail, "The registration's members have the wrong types.")
	}
	d := &eventv1.Device{Id: deviceID, Token: b.Token, Environment: strings.ToLower(b.Environment), Topic: b.Bundle}
	if b.Tokens != nil && b.Tokens.Push != nil {
		d.Token, d.Topic = b.Tokens.Push.Token, b.Tokens.Push.Bundle
	}
	if b.Endpoint != "" {
		d.Token = b.Endpoint
	}
	if b.Keys != nil {
		d.P256Dh, d.Auth = decode(b.Keys.P256dh), decode(b.Keys.Auth)
	}
	apple := strings.ToLower(strings.NewReplacer("<", "", ">", "", " ", "").Replace(d.Token)) // old iOS prints it so
	d.Platform = user.PlatformOf(strings.ToLower(b.Type))
	if b.Type == "" {
		d.Platform = guess(b, apple)
	}
	if d.Platform == eventv1.Platform_PLATFORM_IOS {
		d.Token = apple
	}
	return d, user.CheckDevice(d)
}

// guess tells the platform of clients that do not.
func guess(b Body, token string) eventv1.Platform {
	const appleBytes = 32
	switch raw, err := hex.DecodeString(token); {
	case b.Endpoint != "":
		return eventv1.Platform_PLATFORM_WEB
	case err == nil && len(raw) >= appleBytes:
		return eventv1.Platform_PLATFORM_IOS
	default:
		return eventv1.Platform_PLATFORM_ANDROID
	}
}

// decode takes base64url with or without padding; nil for what is neither, which no check lets pass.
func decode(text string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return nil
	}
	return b
}
