package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"parley/proto/code"
)

// firebase is Google's service with its token server. It takes everything but the tokens in dead.
type firebase struct {
	server *httptest.Server
	told   chan pushed
	dead   map[string]bool // set before the node sends
}

// pushed is a notification as a device gets it.
type pushed struct {
	device string
	event  object
}

type object = map[string]any

func newFirebase(t *testing.T) *firebase {
	t.Helper()
	f := &firebase{told: make(chan pushed, 64), dead: map[string]bool{"tablet": true}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"access_token":"at","expires_in":3600}`) })
	mux.HandleFunc("POST /v1/projects/p-1/messages:send", func(w http.ResponseWriter, r *http.Request) {
		var m struct {
			Message struct {
				Token string            `json:"token"`
				Data  map[string]string `json:"data"`
			} `json:"message"`
		}
		event := object{}
		if r.Header.Get("Authorization") != "Bearer at" || json.NewDecoder(r.Body).Decode(&m) != nil || json.Unmarshal([]byte(m.Message.Data["nexmo"]), &event) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		f.told <- pushed{m.Message.Token, event}
		if f.dead[m.Message.Token] {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"error":{"status":"NOT_FOUND","details":[{"errorCode":"UNREGISTERED"}]}}`)
		}
	})
	f.server = httptest.NewServer(mux)
	t.Cleanup(f.server.Close)
	return f
}

// next waits for n notifications, and gives "device:event id" of each, and the last one.
func (f *firebase) next(t *testing.T, n int) (map[string]int, pushed) {
	t.Helper()
	got, last := map[string]int{}, pushed{}
	late := time.NewTimer(60 * time.Second)
	defer late.Stop()
	for range n {
		select {
		case last = <-f.told:
			got[fmt.Sprintf("%s:%v", last.device, last.event["id"])]++
		case <-late.C:
			t.Fatalf("no notification after %v", got)
		}
	}
	return got, last
}

// office is a node with an application, and whoever calls it.
type office struct {
	t    *testing.T
	node *Node
	url  string
	app  string
	key  *rsa.PrivateKey
}

func newOffice(t *testing.T, n *Node) *office {
	t.Helper()
	o := &office{t: t, node: n, url: n.Addresses().HTTPURL()}
	made := o.call("POST", "/v2/applications", "", object{"name": "tests"}, http.StatusCreated)
	o.app = made["id"].(string)
	block, _ := pem.Decode([]byte(made["keys"].(object)["private_key"].(string)))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	o.key = key.(*rsa.PrivateKey)
	return o
}

// token signs a token; the name "" is an administrator's.
func (o *office) token(name string) string {
	o.t.Helper()
	now := time.Now()
	claims := jwt.MapClaims{"application_id": o.app, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": uuid.NewString()}
	if name != "" {
		claims["sub"], claims["acl"] = name, object{"paths": object{"/**": object{}}}
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(o.key)
	if err != nil {
		o.t.Fatal(err)
	}
	return signed
}

// call sends a request, as an operator without a token, and reads the answer. What a busy node says that it
// surely did not do is asked again.
func (o *office) call(method, path, token string, body object, status int) object {
	o.t.Helper()
	var answer []byte
	var got int
	o.eventually(method+" "+path, func() bool {
		got, answer = o.send(method, path, token, body)
		return !bytes.Contains(answer, []byte(code.Unavailable))
	})
	if got != status {
		o.t.Fatalf("%s %s: %d %s", method, path, got, answer)
	}
	out := object{}
	if len(answer) > 0 && json.Unmarshal(answer, &out) != nil {
		o.t.Fatalf("%s %s: %s", method, path, answer)
	}
	return out
}

func (o *office) send(method, path, token string, body object) (status int, answer []byte) {
	o.t.Helper()
	var text []byte
	if body != nil {
		text, _ = json.Marshal(body) // what tests send has a JSON form
	}
	r, err := http.NewRequestWithContext(o.t.Context(), method, o.url+path, bytes.NewReader(text))
	if err != nil {
		o.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token == "" {
		r.SetBasicAuth(o.node.Credentials().APIKey, o.node.Credentials().APISecret)
	} else {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	in, err := http.DefaultClient.Do(r)
	if err != nil {
		o.t.Fatal(err)
	}
	defer in.Body.Close()
	if answer, err = io.ReadAll(in.Body); err != nil {
		o.t.Fatal(err)
	}
	return in.StatusCode, answer
}

// eventually asks again and again, within what one token may ask, until what the node does behind its
// answers is done.
func (o *office) eventually(what string, done func() bool) {
	o.t.Helper()
	late := time.NewTimer(60 * time.Second)
	again := time.NewTicker(100 * time.Millisecond)
	defer late.Stop()
	defer again.Stop()
	for !done() {
		select {
		case <-late.C:
			o.t.Fatalf("not within a minute: %s", what)
		case <-again.C:
		}
	}
}

// say posts a text as a user and gives the event's id.
func (o *office) say(conversation, name, text string) any {
	o.t.Helper()
	return o.call("POST", "/v0.3/conversations/"+conversation+"/events", o.token(name), object{"type": "text", "body": object{"text": text}}, http.StatusCreated)["id"]
}

// phone is a socket of the Android SDK.
type phone struct {
	t    *testing.T
	conn *websocket.Conn
}

func (o *office) phone() *phone {
	o.t.Helper()
	conn, _, err := websocket.Dial(o.t.Context(), "ws"+strings.TrimPrefix(o.url, "http")+"/rtc/?EIO=3&transport=websocket", nil)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { _ = conn.CloseNow() })
	return &phone{o.t, conn}
}

// ask sends a frame and reads until the answer of a name.
func (p *phone) ask(frame, answer string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	if err := p.conn.Write(ctx, websocket.MessageText, []byte(frame)); err != nil {
		p.t.Fatal(err)
	}
	for {
		_, text, err := p.conn.Read(ctx)
		if err != nil {
			p.t.Fatalf("%v, waiting for %s", err, answer)
		}
		if strings.HasPrefix(string(text), `42["`+answer+`"`) {
			return
		}
		if strings.Contains(string(text), "error") {
			p.t.Fatalf("%s instead of %s", text, answer)
		}
	}
}

// TestPush is the way of a text to the phones of a user that is away, through a whole node.
func TestPush(t *testing.T) {
	google := newFirebase(t)
	log := &logged{}
	settings := options(t, t.TempDir())
	settings.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	settings.Settings.Push.FCMURL, settings.Settings.Push.FCMTokenURL = google.server.URL, google.server.URL+"/token"
	n := open(t, settings)
	o := newOffice(t, n)
	admin := o.token("")

	// The credential is taken as it is; whether it is good shows at the first push.
	signing, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(signing)
	if err != nil {
		t.Fatal(err)
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	account := object{"type": "service_account", "project_id": "p-1", "client_email": "push@p-1.example", "private_key_id": "k", "private_key": private}
	tokens := "/v1/applications/" + o.app + "/push_tokens/android"
	if got := o.call("PUT", tokens, admin, object{"token": account}, http.StatusOK); got["status"] != "unverified" || got["kind"] != "service_account" {
		t.Fatalf("uploaded: %v", got)
	}

	conversation := o.call("POST", "/beta/conversations", admin, object{"display_name": "Tea"}, http.StatusOK)["id"].(string)
	for _, name := range []string{"ann", "bob", "carol"} {
		id := o.call("POST", "/beta/users", admin, object{"name": name}, http.StatusOK)["id"]
		o.call("POST", "/beta/conversations/"+conversation+"/members", admin, object{"action": "join", "user_id": id, "channel": object{"type": "app"}}, http.StatusCreated)
	}
	bob := o.phone()
	bob.ask(fmt.Sprintf(`42["session:login",{"tid":"1","body":{"token":%q,"sdk":"0.22.0","device_id":"f3a9","device_type":"android"}}]`, o.token("bob")), "session:success")
	bob.ask(`42["push:register",{"tid":"2","body":{"device_token":"phone","device_type":"android","device_id":"f3a9"}}]`, "push:register:success")
	o.call("PUT", "/beta/devices/tablet", o.token("bob"), object{"device_type": "android", "device_token": "tablet"}, http.StatusOK)
	o.call("PUT", "/v1/devices/carols", o.token("carol"), object{"device_type": "android", "device_token": "carol"}, http.StatusOK)

	// Bob is there, carol is away: when she is told it has been looked who is there.
	first := o.say(conversation, "ann", "bob reads this on his screen")
	if got, last := google.next(t, 1); got[fmt.Sprintf("carol:%v", first)] != 1 || last.event["body"].(object)["text"] != "bob reads this on his screen" {
		t.Errorf("told while bob is there: %v", got)
	}
	bob.ask(`42["session:logout",{"tid":"3","body":{}}]`, "session:logged-out")
	second := o.say(conversation, "ann", "bob is away")
	got, _ := google.next(t, 3)
	for _, device := range []string{"carol", "phone", "tablet"} {
		if got[fmt.Sprintf("%s:%v", device, second)] != 1 {
			t.Errorf("told while bob is away: %v", got)
		}
	}
	o.eventually("the credential is valid", func() bool { return o.call("GET", tokens, admin, nil, http.StatusOK)["status"] == "valid" })

	// The tablet's token is dead, and carol's device is removed by her: both are told no more.
	o.eventually("the tablet is forgotten", func() bool {
		return len(o.call("GET", "/v1/devices", o.token("bob"), nil, http.StatusOK)["devices"].([]any)) == 1
	})
	o.call("DELETE", "/v1/devices/carols", o.token("carol"), nil, http.StatusNoContent)
	third := o.say(conversation, "ann", "once more")
	fourth := o.say(conversation, "ann", "and once more")
	if got, _ := google.next(t, 2); got[fmt.Sprintf("phone:%v", third)] != 1 || got[fmt.Sprintf("phone:%v", fourth)] != 1 {
		t.Errorf("told after two devices are gone: %v", got)
	}
	http.DefaultClient.CloseIdleConnections()
	closeNode(t, n)
	select {
	case more := <-google.told:
		t.Errorf("told besides: %v", more)
	default:
	}
	for _, secret := range []string{strings.Split(private, "\n")[1], "once more", "Bearer at"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log tells %q", secret)
		}
	}
}
