package rest_test

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"
)

const (
	pemKey         = "-----BEGIN PRIVATE KEY-----\nMIGcanary\n-----END PRIVATE KEY-----\n"
	pemCertificate = "-----BEGIN CERTIFICATE-----\nMIIcanary\n-----END CERTIFICATE-----\n"
)

// TestPushCredentials uploads every form that a credential has, as the guides of the time did and as
// today's providers want it. None is looked into; none is told again.
func TestPushCredentials(t *testing.T) {
	w := newWorld(t, settings{})
	path := "/v1/applications/" + w.app.id + "/push_tokens/"
	for _, c := range []struct {
		what, platform string
		body           any
		want           object
	}{
		{"a server key", "android", object{"token": "AAAAcanary", "projectId": "p"}, object{"kind": "server_key"}},
		{"a server key as a form", "android", url.Values{"token": {"AAAAcanary"}}, object{"kind": "server_key"}},
		{"a service account", "android", object{"token": object{"type": "service_account", "private_key": "canary"}}, object{"kind": "service_account"}},
		{"a service account as text", "android", object{"token": `{"type":"service_account","private_key":"canary"}`}, object{"kind": "service_account"}},
		{"a .p12 in hexadecimal", "ios", object{"token": hex.EncodeToString([]byte("0\x82canary")), "password": "canary"}, object{"kind": "certificate", "environment": "production"}},
		{"a .p12 in base64", "ios", object{"token": base64.StdEncoding.EncodeToString([]byte("0\x82canary!"))}, object{"kind": "certificate"}},
		{"a signing key", "ios", object{"token": pemKey, "key_id": "K1", "team_id": "T1", "topic": "com.example", "environment": "sandbox"},
			object{"kind": "token", "key_id": "K1", "team_id": "T1", "topic": "com.example", "environment": "sandbox"}},
		{"a certificate in PEM", "ios", object{"token": strings.ReplaceAll(pemCertificate+pemKey, "\n", `\n`)}, object{"kind": "certificate"}},
		{"no certificate at all", "ios", object{"token": "canary, whatever that is"}, object{"kind": "certificate"}},
		{"a key of ours", "web", object{"subject": "mailto:ops@example.com"}, object{"kind": "vapid", "subject": "mailto:ops@example.com"}},
		{"a key of theirs", "web", object{"token": "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"},
			object{"kind": "vapid", "public_key": "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8"}},
	} {
		put := w.call("PUT", path+c.platform, w.admin(), c.body).want(200)
		got := w.call("GET", path+c.platform, w.admin(), nil).want(200)
		c.want["status"], c.want["platform"] = "unverified", c.platform
		for _, a := range []*answer{put, got} {
			for name, want := range c.want {
				if a.at(name) != want {
					t.Errorf("%s: %s is %v, want %v", c.what, name, a.at(name), want)
				}
			}
			if strings.Contains(string(a.raw), "canary") || strings.Contains(string(a.raw), "yfWPiYE") {
				t.Errorf("%s: the secret is told: %s", c.what, a.raw)
			}
		}
	}
	w.operator("GET", "/v2/applications/"+w.app.id, nil).want(200)
	w.operator("PUT", "/v2/applications/"+w.app.id, object{"name": "renamed"}).want(200)
	all := w.operator("GET", "/v2/applications", nil).want(200)
	if strings.Contains(string(all.raw), "push") {
		t.Errorf("credentials are listed with the applications: %s", all.raw)
	}
	w.newUser("ann")
	public := w.call("GET", path+"web", w.as("ann"), nil).want(200)
	if len(public.text("public_key")) != 87 || public.at("subject") != nil || public.at("status") != nil {
		t.Errorf("a user sees %s", public.raw)
	}
	w.call("DELETE", path+"web", w.admin(), nil).want(204)
	w.call("GET", path+"web", w.as("ann"), nil).refused(404, "http:error:not-found")
	w.stop()
	if log := w.log.String(); strings.Contains(log, "canary") || strings.Contains(log, "yfWPiYE") {
		t.Error("the log tells a secret")
	}
}

func TestPushCredentialsThatAreRefused(t *testing.T) {
	w := newWorld(t, settings{})
	path := "/v1/applications/" + w.app.id + "/push_tokens/"
	for _, c := range []struct {
		platform, body, field string
	}{
		{"android", `{}`, "token"}, {"android", `{"token":""}`, "token"}, {"android", `{"token":7}`, "token"}, {"ios", `{"token":null}`, "token"},
		{"ios", `{"token":"` + strings.Repeat("00", 65537) + `"}`, "token"}, {"ios", `{"token":"x","environment":"moon"}`, "environment"},
		{"web", `{"token":"short"}`, "token"}, {"ios", `{"token":"x","topic":"` + strings.Repeat("x", 1025) + `"}`, "topic"},
	} {
		got := w.call("PUT", path+c.platform, w.admin(), c.body).refused(400, "http:error:validation-fail")
		if got.text("invalid_parameters", 0, "name") != c.field {
			t.Errorf("%s %.40s: %s", c.platform, c.body, got.raw)
		}
	}
	w.call("PUT", path+"windows", w.admin(), object{"token": "x"}).refused(404, "http:error:not-found")
	w.call("GET", path+"android", w.admin(), nil).refused(404, "http:error:not-found")
}

// TestDevices registers as the iOS SDKs of three generations, as Android and as a browser.
func TestDevices(t *testing.T) {
	w := newWorld(t, settings{})
	w.newUser("ann")
	ann := w.as("ann")
	const token = "00b1c2d3e4f5a6b7c8d9eaf0b1c2d3e4f5a6b7c8d9eaf0b1c2d3e4f5a6b7c8d9"
	for _, c := range []struct {
		prefix, id string
		body       any
	}{
		{"/beta", "1", object{"device_type": "ios", "device_token": token}},
		{"/v1", token, object{"device_type": "ios", "device_token": token, "bundle_id": "com.example", "device_push_environment": "sandbox"}},
		{"/v1", "3", object{"device_type": "ios", "device_push_environment": "production", "tokens": object{"push": object{"token": token[2:] + "01", "bundle_id": "com.example"},
			"voip": object{"token": token, "bundle_id": "com.example.voip"}}}},
		{"/beta2", "4", url.Values{"device_type": {"android"}, "device_token": {"t4"}}},
		{"/v0.3", "5", object{"device_type": "web", "endpoint": "https://fcm.googleapis.com/fcm/send/x", "expirationTime": nil,
			"keys": object{"p256dh": base64.RawURLEncoding.EncodeToString(append([]byte{4}, make([]byte, 64)...)), "auth": base64.URLEncoding.EncodeToString(make([]byte, 16))}}},
	} {
		got := w.call("PUT", c.prefix+"/devices/"+c.id, ann, c.body).want(200)
		if got.text("id") != c.id || !strings.HasSuffix(got.text("href"), "/devices/"+c.id) {
			t.Errorf("%s: %s", c.id, got.raw)
		}
	}
	list := w.call("GET", "/v1/devices", ann, nil).want(200)
	var got []string
	for _, d := range list.list("devices") {
		got = append(got, d.(object)["id"].(string)+" "+d.(object)["device_type"].(string))
	}
	// The second registration had the first one's token: it is the same phone.
	if want := token + " ios,3 ios,4 android,5 web"; strings.Join(got, ",") != want {
		t.Errorf("devices %v", got)
	}
	if strings.Contains(string(list.raw), "googleapis") {
		t.Errorf("a token is told: %s", list.raw)
	}
	for _, body := range []string{`{}`, `{"device_type":"toaster","device_token":"x"}`, `{"device_type":"ios","device_token":"xyz"}`, `{"device_token":7}`,
		`{"device_type":"web","endpoint":"http://x.example/","keys":{}}`, `{"tokens":{"voip":{"token":"x"}}}`} {
		w.call("PUT", "/v1/devices/x", ann, body).refused(400, "http:error:validation-fail")
	}
	w.call("DELETE", "/beta/devices/4", ann, nil).want(200)
	w.call("DELETE", "/v1/devices/4", ann, nil).want(204)
	if n := len(w.call("GET", "/v1/devices", ann, nil).want(200).list("devices")); n != 3 {
		t.Errorf("%d devices are left", n)
	}
	w.stop()
	if log := w.log.String(); strings.Contains(log, "fcm/send") || strings.Contains(log, token) || !strings.Contains(log, "path=/v1/devices/{device}") {
		t.Error("the log tells a token")
	}
}
