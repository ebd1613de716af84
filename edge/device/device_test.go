package device_test

import (
	"strings"
	"testing"

	"parley/edge/device"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
)

const apple = "00b1c2d3e4f5a6b7c8d9eaf0b1c2d3e4f5a6b7c8d9eaf0b1c2d3e4f5a6b7c8d9"

func TestRead(t *testing.T) {
	for body, want := range map[string]*eventv1.Device{
		`{"device_type":"ANDROID","device_token":"a:b"}`:                            {Platform: 1, Token: "a:b"},
		`{"device_token":"a:b"}`:                                                    {Platform: 1, Token: "a:b"},
		`{"device_token":"00ab"}`:                                                   {Platform: 1, Token: "00ab"}, // too short for Apple
		`{"device_token":"` + apple + `"}`:                                          {Platform: 2, Token: apple},
		`{"device_token":"<` + strings.ToUpper(apple[:8]) + " " + apple[8:] + `>"}`: {Platform: 2, Token: apple},
		`{"device_type":"ios","device_token":"` + apple + `","bundle_id":"com.x","device_push_environment":"Sandbox"}`: {Platform: 2, Token: apple, Topic: "com.x", Environment: "sandbox"},
		`{"device_type":"ios","tokens":{"push":{"token":"` + apple + `","bundle_id":"com.x"},"voip":{"token":"00"}}}`:  {Platform: 2, Token: apple, Topic: "com.x"},
		`{"device_type":"android","device_token":"t","originating_session":"SES-1","device_push_ttl":10}`:              {Platform: 1, Token: "t"},
	} {
		got, err := device.Read("id", []byte(body))
		if err != nil || got.Id != "id" || got.Platform != want.Platform || got.Token != want.Token || got.Topic != want.Topic || got.Environment != want.Environment {
			t.Errorf("%s: %v %v", body, got, err)
		}
	}
	for _, body := range []string{``, `[]`, `{"device_token":1}`, `{"tokens":[]}`, `{"tokens":{"voip":{"token":"00"}}}`, `{"device_type":"web","device_token":"x"}`,
		`{"endpoint":"https://push.example/x","keys":{"p256dh":"!","auth":"!"}}`} {
		if _, err := device.Read("id", []byte(body)); !code.Has(err, code.ValidationFail) {
			t.Errorf("%s: %v", body, err)
		}
	}
}
