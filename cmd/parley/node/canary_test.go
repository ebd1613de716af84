package node

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"io"
	"log"
	"log/slog"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"parley/cmd/parley/client"
	"parley/proto/code"
)

// mine is a coal mine: a node that logs everything it can, and the canaries that were let into it.
type mine struct {
	t        *testing.T
	node     *Node
	log      *logged
	canaries map[string]string // by what they are
	app      string
	key      *rsa.PrivateKey
}

// logged keeps a log.
type logged struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

const (
	canarySecret = "canary-api-secret-7c1f"
	canaryText   = "canary-text-91ab"
	canaryName   = "canary-display-name-55e0"
	canaryToken  = "eyJhbGciOiJub25lIn0.canary-token-3d20.x"
)

// TestNothingSecretInLogsAndMetrics lets canaries in by every door, with requests that succeed and
// requests that are refused, and looks for them in the log at its most talkative and in /metrics.
func TestNothingSecretInLogsAndMetrics(t *testing.T) {
	m := openMine(t)
	m.byREST()
	m.byNative()
	m.bySocketIO()
	m.byImages()
	m.byBrokenRequests()
	metrics := m.call(http.MethodGet, "/metrics", "", "", "")
	closeNode(t, m.node)
	text := m.log.String()
	for _, want := range []string{"level=DEBUG", "level=INFO"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log has no %s: this test would see nothing", want)
		}
	}
	for what, canary := range m.canaries {
		if at := strings.Index(text, canary); at >= 0 {
			t.Errorf("%s is in the log: …%s…", what, text[max(0, at-200):min(len(text), at+len(canary))])
		}
		if strings.Contains(metrics, canary) {
			t.Errorf("%s is in the metrics", what)
		}
	}
}

func openMine(t *testing.T) *mine {
	m := &mine{t: t, log: &logged{}, canaries: map[string]string{
		"the API secret": canarySecret, "a message": canaryText, "a display name": canaryName, "a bad token": "canary-token-3d20",
	}}
	before := log.Writer()
	log.SetOutput(m.log) // what libraries write past the node's logger
	t.Cleanup(func() { log.SetOutput(before) })
	o := options(t, t.TempDir())
	o.Settings.APIKey, o.Settings.APISecret = "canaries", canarySecret
	o.Logger = slog.New(slog.NewTextHandler(m.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	m.node = open(t, o)

	var made struct {
		ID   string
		Keys struct {
			Private string `json:"private_key"`
		}
	}
	create := func() string {
		return m.call(http.MethodPost, "/v2/applications", m.basic(canarySecret), "application/json", `{"name":"mine"}`)
	}
	text := create()
	for until := time.Now().Add(time.Minute); strings.Contains(text, string(code.Unavailable)) && time.Now().Before(until); {
		text = create() // a busy machine is slow to make a key
	}
	m.into(&made, text)
	m.app = made.ID
	for i, line := range strings.Split(strings.TrimSpace(made.Keys.Private), "\n") {
		if !strings.HasPrefix(line, "-----") {
			m.canaries[fmt.Sprintf("line %d of the private key", i)] = line
		}
	}
	key, err := client.ParseKey(made.Keys.Private)
	if err != nil {
		t.Fatal(err)
	}
	m.key = key
	return m
}

// token signs a token, whose parts are canaries from then on. The user "" is an administrator.
func (m *mine) token(user string, life time.Duration) string {
	m.t.Helper()
	claims := client.UserClaims(m.app, user, time.Now(), life)
	if user == "" {
		claims = client.AdminClaims(m.app, time.Now(), life)
	}
	token, err := client.Sign(m.key, time.Now(), claims)
	if err != nil {
		m.t.Fatal(err)
	}
	for i, part := range strings.Split(token, ".")[1:] {
		m.canaries[fmt.Sprintf("part %d of a token of %q for %s", i+2, user, life)] = part
	}
	return token
}

func (m *mine) basic(secret string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth("canaries", secret)
	header := r.Header.Get("Authorization")
	m.canaries["credentials as they are sent, "+secret] = strings.TrimPrefix(header, "Basic ")
	return header
}

// call makes a request and gives the answer's body, whatever its status.
func (m *mine) call(method, path, authorization, kind, body string) string {
	m.t.Helper()
	r, err := http.NewRequestWithContext(m.t.Context(), method, m.node.Addresses().HTTPURL()+path, strings.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		m.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		m.t.Fatal(err)
	}
	return string(text)
}

func (m *mine) into(v any, text string) {
	m.t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		m.t.Fatalf("%v: %s", err, text)
	}
}

func (m *mine) json(method, path, authorization, body string) (id string) {
	m.t.Helper()
	var made struct{ ID string }
	m.into(&made, m.call(method, path, authorization, "application/json", body))
	return made.ID
}

func (m *mine) byREST() {
	admin := "Bearer " + m.token("", time.Hour)
	if m.json("POST", "/v1/users", admin, `{"name":"ann","display_name":"`+canaryName+`"}`) == "" {
		m.t.Fatal("no user was made")
	}
	for _, generation := range []string{"v1", "v0.3", "v0.2", "beta", "beta2"} {
		m.json("POST", "/"+generation+"/users", admin, `{"name":"u-`+generation+`","display_name":"`+canaryName+`","no_such":"`+canaryText+`"}`)
		m.json("POST", "/"+generation+"/users", "Bearer "+canaryToken, `{}`)
		m.json("POST", "/"+generation+"/conversations/CON-x/events", admin, `{"type":"text","from":"MEM-x","body":{"text":"`+canaryText+`"}}`)
		m.call("POST", "/"+generation+"/users", admin, "application/json", `{"name":"`+canaryText)
		m.call("GET", "/"+generation+"/users?page_size=10", "Bearer "+m.token("ann", -time.Hour), "", "")
		m.call("GET", "/"+generation+"/conversations?cursor="+canaryText, admin, "", "")
	}
	m.call("GET", "/v2/applications", m.basic("canary-guess-88"), "", "")
	m.canaries["a guessed secret"] = "canary-guess-88"
	m.call("POST", "/v1/applications?api_key=canaries&api_secret="+canarySecret, "", "application/json", `{"name":"old","type":"rtc"}`)
	m.call("POST", "/v1/users", "Basic "+canaryToken, "application/json", `{}`)
}

// room makes a conversation with ann in it.
func (m *mine) room() string {
	m.t.Helper()
	admin := "Bearer " + m.token("", time.Hour)
	con := m.json("POST", "/v1/conversations", admin, `{"display_name":"`+canaryName+`"}`)
	if m.json("POST", "/v1/conversations/"+con+"/members", admin, `{"state":"joined","user":{"name":"ann"},"channel":{"type":"app"}}`) == "" {
		m.t.Fatal("ann did not join")
	}
	return con
}

// talk dials a WebSocket, says each line and waits for what it should bring; empty = for the end.
func (m *mine) talk(path, subprotocol string, lines ...[2]string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Second)
	defer cancel()
	address := "ws" + strings.TrimPrefix(m.node.Addresses().HTTPURL(), "http") + path
	conn, _, err := websocket.Dial(ctx, address, &websocket.DialOptions{Subprotocols: []string{subprotocol}})
	if err != nil {
		return // a refusal is an answer too
	}
	defer func() { _ = conn.CloseNow() }()
	for _, line := range lines {
		if err := conn.Write(ctx, websocket.MessageText, []byte(line[0])); err != nil {
			m.t.Fatal(err)
		}
		for text, err := []byte(nil), error(nil); line[1] == "" || !bytes.Contains(text, []byte(line[1])); {
			if _, text, err = conn.Read(ctx); err != nil {
				if ctx.Err() != nil || line[1] != "" {
					m.t.Fatalf("waiting for %q on %s: %v", line[1], path[:8], err)
				}
				return
			}
		}
	}
}

func (m *mine) byNative() {
	con := m.room()
	hello := func(token string) string { return `{"type":"hello","id":"1","token":"` + token + `"}` }
	const path, protocol = "/v1/realtime", "parley.v1.json"
	m.talk(path, protocol,
		[2]string{hello(m.token("ann", time.Hour)), `"welcome"`},
		[2]string{`{"type":"post","id":"2","conversation":"` + con + `","client_id":"c","event_type":"text","body":{"text":"` + canaryText + `"}}`, `"id":"2"`},
		[2]string{`{"type":"` + canaryText + `","id":"3"}`, `"error"`})
	m.talk(path, protocol, [2]string{hello(m.token("ann", -time.Hour)), ""})
	m.talk(path, protocol, [2]string{hello(canaryToken), ""})
	m.talk(path, protocol, [2]string{`{"type":"hello","token":"` + canaryToken, ""})
}

func (m *mine) bySocketIO() {
	con := m.room()
	login := func(token string) string {
		return `42["session:login",{"tid":"1","body":{"token":"` + token + `","SDK_version":"4.0.2","OS_family":"js"}}]`
	}
	text := `42["text",{"tid":"2","cid":"` + con + `","body":{"text":"` + canaryText + `"}}]`
	const v3 = "/rtc/?EIO=3&transport=websocket"
	m.talk(v3, "", [2]string{login(m.token("ann", time.Hour)), "session:success"}, [2]string{text, "text:success"})
	m.talk(v3, "", [2]string{login(canaryToken), "error"})
	m.talk(v3, "", [2]string{login(m.token("ann", -time.Hour)), "error"})
	v4 := func(token string) string {
		return "/v2/rtc/?EIO=4&transport=websocket&SDK_version=9.5.1&OS_family=js&token=" + url.QueryEscape(token)
	}
	m.talk(v4(m.token("ann", time.Hour)), "", [2]string{"40", "session:success"}, [2]string{text, "text:success"})
	m.talk(v4(m.token("ann", -time.Hour)), "", [2]string{"40", "error"})
	m.talk(v4(canaryToken), "", [2]string{"40", "error"})
}

func (m *mine) byImages() {
	upload := func(authorization string, file []byte) string {
		body := &bytes.Buffer{}
		form := multipart.NewWriter(body)
		part, err := form.CreateFormFile("file", canaryText+".png")
		if err == nil {
			_, err = part.Write(file)
		}
		if err == nil {
			err = form.Close()
		}
		if err != nil {
			m.t.Fatal(err)
		}
		return m.call("POST", "/v1/image", authorization, form.FormDataContentType(), body.String())
	}
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 40, 30))); err != nil {
		m.t.Fatal(err)
	}
	admin := "Bearer " + m.token("", time.Hour)
	var shown struct{ Original struct{ URL string } }
	m.into(&shown, upload(admin, picture.Bytes()))
	at, err := url.Parse(shown.Original.URL)
	if err != nil || at.Path == "" {
		m.t.Fatalf("%v: %+v", err, shown)
	}
	m.call("GET", at.Path, admin, "", "")
	m.call("GET", at.Path+"?token="+canaryToken, "Bearer "+canaryToken, "", "")
	upload("Bearer "+canaryToken, picture.Bytes())
	upload(admin, []byte(canaryText))
	upload(admin, picture.Bytes()[:picture.Len()/2])
}

// byBrokenRequests sends what no HTTP library would.
func (m *mine) byBrokenRequests() {
	for _, request := range []string{
		"GET /v1/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + canaryToken + "\r\nbroken " + canaryText + "\r\n\r\n",
		"GET /v1/users?" + canaryText + " HTTP/9.9\r\nHost: x\r\n\r\n",
		canaryToken + "\r\n\r\n",
		"POST /v1/users HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + canaryToken + "\r\nContent-Length: 999\r\n\r\n" + canaryText,
	} {
		conn, err := net.Dial("tcp", m.node.Addresses().HTTP)
		if err != nil {
			m.t.Fatal(err)
		}
		_, err = io.WriteString(conn, request)
		if half, ok := conn.(*net.TCPConn); err == nil && ok {
			err = half.CloseWrite()
		}
		if err == nil {
			_, err = io.Copy(io.Discard, conn)
		}
		if err != nil {
			m.t.Logf("%.20q: %v", request, err) // a reset is an answer too
		}
		_ = conn.Close()
	}
}
