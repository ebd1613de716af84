package rest_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"parley/actors/api"
	"parley/actors/webhook"
	"parley/edge/rest"
	eventv1 "parley/proto/event/v1"
	"parley/test/solo"
)

// parseKey reads a private key as it is told at the creation.
func parseKey(t *testing.T, text string) *rsa.PrivateKey {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "PRIVATE KEY" {
		t.Fatalf("no PKCS#8 PEM: %.40q", text)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	must(t, err)
	return key.(*rsa.PrivateKey)
}

func TestApplicationLife(t *testing.T) {
	w := newWorld(t, settings{})
	made := w.operator("POST", "/v2/applications", object{"name": "My app", "capabilities": object{
		"rtc": object{"webhooks": object{"event_url": object{"address": "https://example.com/rtc", "http_method": "POST"}}}}}).want(201)
	app := tenant{id: made.text("id"), key: parseKey(t, made.text("keys", "private_key"))}
	if made.text("keys", "public_key") != solo.PublicKey(t, app.key) || app.key.N.BitLen() != 2048 || made.at("privacy", "improve_ai") != false {
		t.Errorf("made %s", made.raw)
	}
	w.call("GET", "/v1/users", app.token(t, nil), nil).want(200)

	read := w.operator("GET", "/v2/applications/"+app.id, nil).want(200)
	if read.at("keys", "private_key") != nil || read.text("capabilities", "rtc", "webhooks", "event_url", "address") != "https://example.com/rtc" {
		t.Errorf("read %s", read.raw)
	}
	list := w.operator("GET", "/v2/applications?page_size=1&page=2", nil).want(200)
	if list.text("total_items") != "2" || list.text("total_pages") != "2" || len(list.list("_embedded", "applications")) != 1 {
		t.Errorf("list %s", list.raw)
	}
	renamed := w.operator("PUT", "/v2/applications/"+app.id, object{"name": "Renamed"}).want(200)
	if renamed.text("name") != "Renamed" || renamed.text("keys", "public_key") != solo.PublicKey(t, app.key) {
		t.Errorf("renamed %s", renamed.raw)
	}
	// A replaced key ends the tokens of the one before at once.
	token := app.token(t, nil)
	w.call("GET", "/v1/users", token, nil).want(200)
	w.operator("PUT", "/v2/applications/"+app.id, object{"name": "x", "keys": object{"public_key": solo.PublicKey(t, solo.Key(t, 2))}}).want(200)
	w.call("GET", "/v1/users", token, nil).refused(401, "system:error:invalid-token")
	w.call("GET", "/v1/users", tenant{app.id, solo.Key(t, 2)}.token(t, nil), nil).want(200)

	w.operator("DELETE", "/v2/applications/"+app.id, nil).want(204)
	w.call("GET", "/v1/users", tenant{app.id, solo.Key(t, 2)}.token(t, nil), nil).refused(401, "system:error:invalid-token")
	w.operator("GET", "/v2/applications/"+app.id, nil).refused(404, "application:error:not-found")
}

func privatePEM(key *rsa.PrivateKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

// TestAPublicKeyIsStoredAsItWasRead, not as it was written: what stands round it is not kept.
func TestAPublicKeyIsStoredAsItWasRead(t *testing.T) {
	w := newWorld(t, settings{})
	key := solo.Key(t, 2)
	old := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)}))
	for _, text := range []string{
		old, strings.ReplaceAll(strings.TrimSpace(old), "\n", `\n`),
		"prime1: 12345\r\n" + strings.ReplaceAll(solo.PublicKey(t, key), "\n", "\r\n") + "\r\n",
	} {
		made := w.operator("POST", "/v2/applications", object{"name": "x", "keys": object{"public_key": text}}).want(201)
		if got := made.text("keys", "public_key"); got != solo.PublicKey(t, key) {
			t.Errorf("%q is stored as %q", text, got)
		}
	}
}

func TestApplicationsAreRefused(t *testing.T) {
	w := newWorld(t, settings{})
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	must(t, err)
	for _, tc := range []struct {
		body   object
		field  string
		reason string
	}{
		{object{}, "name", "is required"},
		{object{"name": ""}, "name", "is not allowed to be empty"},
		{object{"name": "x", "capabilities": "rtc"}, "capabilities", "must be of type object"},
		{object{"name": "x", "capabilities": object{"rtc": object{"webhooks": object{"event_url": object{"address": "ftp://x"}}}}},
			"capabilities.rtc.webhooks.event_url.address", "must be a valid uri"},
		{object{"name": "x", "keys": object{"public_key": solo.PublicKey(t, small)}}, "keys.public_key", "must be an RSA key of 2048 to 8192 bits; it has 1024"},
		{object{"name": "x", "keys": object{"public_key": "hello"}}, "keys.public_key", "must be a public key in PEM format"},
		{object{"name": "x", "keys": object{"public_key": solo.PublicKey(t, solo.Key(t, 2)) + privatePEM(solo.Key(t, 2))}},
			"keys.public_key", "must be one public key, with nothing behind it"},
		{object{"name": "x", "keys": object{"public_key": privatePEM(solo.Key(t, 2)) + solo.PublicKey(t, solo.Key(t, 2))}},
			"keys.public_key", "a private key must never be sent"},
	} {
		got := w.operator("POST", "/v2/applications", tc.body).refused(400, "http:error:validation-fail")
		if got.text("invalid_parameters", 0, "name") != tc.field || !strings.HasSuffix(got.text("invalid_parameters", 0, "reason"), tc.reason) {
			t.Errorf("%v: %s", tc.body, got.raw)
		}
	}
	basic := func(pair string) map[string]string {
		return map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))}
	}
	for _, header := range []map[string]string{nil, basic(apiKey + ":wrong"), basic("wrong:" + apiSecret), basic(apiKey), basic(":"), {"Authorization": "Basic !"}} {
		got := w.do(request{method: "GET", path: "/v2/applications", header: header}).refused(401, "system:error:invalid-credentials")
		if got.header.Get("WWW-Authenticate") == "" {
			t.Error("no WWW-Authenticate")
		}
	}
	w.call("GET", "/v2/applications?api_key="+apiKey+"&api_secret="+apiSecret, "", nil).refused(401, "system:error:invalid-credentials")
}

func TestOldApplications(t *testing.T) {
	w := newWorld(t, settings{})
	pair := "api_key=" + apiKey + "&api_secret=" + apiSecret
	form := url.Values{"api_key": {apiKey}, "api_secret": {apiSecret}, "name": {"Old"}, "type": {"voice"},
		"answer_url": {"https://example.com/answer"}, "answer_method": {"GET"}, "event_url": {"https://example.com/event"}}
	made := w.call("POST", "/v1/applications", "", form).want(201)
	app := tenant{id: made.text("id"), key: parseKey(t, made.text("keys", "private_key"))}
	if made.text("voice", "webhooks", 0, "endpoint_type") != "answer_url" || made.text("voice", "webhooks", 0, "http_method") != "GET" ||
		made.text("voice", "webhooks", 1, "endpoint") != "https://example.com/event" || made.text("_links", "self", "href") != "/v1/applications/"+app.id {
		t.Errorf("made %s", made.raw)
	}
	w.call("POST", "/beta/conversations", app.token(t, nil), nil).want(200) // every application can chat
	w.call("POST", "/v1/applications", "", object{"api_key": apiKey, "api_secret": apiSecret, "name": "JSON"}).want(201)
	w.call("POST", "/v1/applications", "", object{"api_key": apiKey, "api_secret": "x", "name": "JSON"}).refused(401, "system:error:invalid-credentials")
	w.call("POST", "/v1/applications", "", nil).refused(401, "system:error:invalid-credentials")
	list := w.call("GET", "/v1/applications?page_size=2&page_index=1&"+pair, "", nil).want(200)
	if list.text("count") != "3" || len(list.list("_embedded", "applications")) != 2 || list.text("page_index") != "1" {
		t.Errorf("list %s", list.raw)
	}
	put := w.call("PUT", "/v1/applications/"+app.id+"?"+pair, "", object{"name": "Older"}).want(200)
	if put.text("name") != "Older" || len(put.list("voice", "webhooks")) != 2 {
		t.Errorf("put %s", put.raw)
	}
	w.call("DELETE", "/v1/applications/"+app.id+"?"+pair, "", nil).want(204)
	w.call("GET", "/v1/applications/"+app.id+"?"+pair, "", nil).refused(404, "application:error:not-found")
}

// Nothing secret reaches the log: not the token, not the key, not the body, not the query.
func TestLogKeepsSecrets(t *testing.T) {
	w := newWorld(t, settings{})
	token := w.admin()
	w.call("POST", "/v1/users", token, object{"name": "canary-name", "strange-canary": 1})
	w.call("POST", "/v1/users", token, `{"name":"canary-broken`)
	w.call("GET", "/v1/users?name=canary-query", token, nil).want(200)
	w.call("GET", "/v1/users", token+"x", nil).want(401)
	w.operator("GET", "/v2/applications", nil).want(200)
	w.call("GET", "/v1/applications?api_key="+apiKey+"&api_secret="+apiSecret, "", nil).want(200)
	w.stop() // the last line is written after the answer
	log := w.log.String()
	for _, secret := range []string{"canary", apiSecret, token, token[len(token)-40:], "Basic ", "Bearer "} {
		if strings.Contains(log, secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	for _, want := range []string{"operation=v1.createUser", "status=400", "code=http:error:validation-fail", "request_id=", "application=" + w.app.id} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}

func TestDocsPageIsServed(t *testing.T) {
	w := newWorld(t, settings{})
	page := w.call("GET", "/docs", "", nil)
	if page.status != http.StatusOK || !strings.Contains(string(page.raw), "/docs/viewer.js") {
		t.Errorf("page %d %s", page.status, page.raw)
	}
}

func TestOptionsAndPartsAreValidated(t *testing.T) {
	for name, change := range map[string]func(*rest.Options){
		"tiny bodies": func(o *rest.Options) { o.BodyBytesMax = 1 },
		"no time":     func(o *rest.Options) { o.RequestTimeout = 0 },
		"flat JSON":   func(o *rest.Options) { o.JSONDepth = 1 },
		"no clock":    func(o *rest.Options) { o.Now = nil },
	} {
		o := rest.DefaultOptions()
		change(&o)
		if o.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := rest.New(rest.Parts{}, rest.DefaultOptions()); err == nil {
		t.Error("a handler without parts")
	}
}

// TestWebhookSecret: the secret is told when it is made, and never again; a rotation keeps the one
// before for a day.
func TestWebhookSecret(t *testing.T) {
	w := newWorld(t, settings{})
	for _, path := range []string{"/v2/applications", "/v1/applications?api_key=" + apiKey + "&api_secret=" + apiSecret} {
		made := w.operator("POST", path, object{"name": "My app"}).want(201)
		first := made.text("keys", "webhook_secret")
		if !strings.HasPrefix(first, "whsec_") || len(first) != 50 {
			t.Errorf("made %s", made.raw)
		}
		one := "/v2/applications/" + made.text("id")
		for _, later := range []*answer{
			w.operator("GET", one, nil).want(200), w.operator("PUT", one, object{"name": "Renamed"}).want(200), w.operator("GET", "/v2/applications", nil).want(200),
		} {
			if strings.Contains(string(later.raw), "whsec_") || strings.Contains(string(later.raw), "webhook_secret") {
				t.Errorf("told again: %s", later.raw)
			}
		}
		rotated := w.operator("POST", one+"/webhook-secret", nil).want(200)
		if second := rotated.text("secret"); second == first || !strings.HasPrefix(second, "whsec_") || rotated.text("previous_valid_until") == "" {
			t.Errorf("rotated %s", rotated.raw)
		}
	}
	w.operator("POST", "/v2/applications/"+"0de7a7b5-0000-4000-8000-00000000dead/webhook-secret", nil).refused(404, "application:error:not-found")
}

// behind is the cluster as a node shows it that has heard of nothing since.
type behind struct {
	api.Cluster
	shown atomic.Pointer[eventv1.Application] // at the next look
}

func (b *behind) Application(ctx context.Context, id string) (*eventv1.Application, error) {
	if old := b.shown.Swap(nil); old != nil {
		return old, nil
	}
	return b.Cluster.Application(ctx, id)
}

// TestNodesThatAreBehindUndoNothing: an application is changed through one node, and then, something else of it, through
// another one that has not heard of that yet. A key that was replaced stays replaced, and a secret is the one that was told.
func TestNodesThatAreBehindUndoNothing(t *testing.T) {
	w := newWorld(t, settings{})
	node := &behind{Cluster: w.handler.Cluster}
	w.handler.Cluster = node
	path, key := "/v2/applications/"+w.app.id, solo.PublicKey(t, solo.Key(t, 2))
	old, err := node.Application(t.Context(), w.app.id)
	must(t, err)
	w.operator("PUT", path, object{"name": "x", "keys": object{"public_key": key}}).want(200)
	secret := w.operator("POST", path+"/webhook-secret", nil).want(200).text("secret")
	pair := "?" + url.Values{"api_key": {apiKey}, "api_secret": {apiSecret}}.Encode()
	for _, change := range []func() string{
		func() string { return w.operator("PUT", path, object{"name": "v2"}).want(200).text("name") },
		func() string {
			return w.call("PUT", "/v1/applications/"+w.app.id+pair, "", object{"name": "v1"}).want(200).text("name")
		},
		func() string {
			secret = w.operator("POST", path+"/webhook-secret", nil).want(200).text("secret")
			return "v1"
		},
	} {
		node.shown.Store(old)
		name := change()
		now, err := node.Application(t.Context(), w.app.id)
		must(t, err)
		if now.Name != name || now.PublicKey != key || webhook.SecretText(now.WebhookSecrets.Current) != secret {
			t.Errorf("after the change to %s: %s, the new key %v, the secret that was told %v", name, now.Name,
				now.PublicKey == key, webhook.SecretText(now.WebhookSecrets.Current) == secret)
		}
	}
}
