package webhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"parley/actors/api"
	"parley/actors/runtime"
	"parley/actors/webhook"
	"parley/internal/guard"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/test/solo"
)

// TestMain looks for leaks. A node that stopped may still have a probe of another under way, which
// ends by itself.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).probeNode"))
}

// patience bounds every wait: far more than is needed, on a machine that does other things too.
const patience = 60 * time.Second

// app and other are two tenants.
const (
	app   = "0de7a7b5-0000-4000-8000-000000000001"
	other = "0de7a7b5-0000-4000-8000-000000000002"
)

func admin(app string) *nodev1.Principal { return &nodev1.Principal{ApplicationId: app, Admin: true} }

// quickly are options of a node that keeps its data in fs, may call this machine, and retries fast, but only what has
// failed: it waits for an answer for as long as a test does.
func quickly(t testing.TB, fs vfs.FS) runtime.Options {
	t.Helper()
	o := solo.Options(t, fs)
	o.Shards, o.Logger = 2, slog.New(slog.DiscardHandler)
	g := guard.DefaultOptions()
	g.Allow = []string{"127.0.0.0/8"}
	var err error
	if o.Webhook.Guard, err = guard.New(g); err != nil {
		t.Fatal(err)
	}
	o.Webhook.Timeout, o.Webhook.PauseMin, o.Webhook.PauseMax = patience, time.Millisecond, 2*time.Millisecond
	o.Outbox.SinkLimits.BackoffMin, o.Outbox.SinkLimits.BackoffMax = time.Millisecond, 4*time.Millisecond
	return o
}

// hear gives an application a webhook.
func hear(t testing.TB, r *runtime.Runtime, app, address string, secrets *eventv1.WebhookSecrets) {
	t.Helper()
	a := &eventv1.Application{Id: app, Name: app, WebhookSecrets: secrets}
	if address != "" {
		a.EventUrl = &eventv1.Webhook{Address: address, HttpMethod: http.MethodPost}
	}
	if _, err := r.API().PutApplication(t.Context(), a, true); err != nil {
		t.Fatal(err)
	}
}

// room makes a conversation with one member, and gives its id and the member's principal.
func room(t testing.TB, r *runtime.Runtime, app, name string, c *eventv1.Callback) (string, *nodev1.Principal) {
	t.Helper()
	u, err := r.API().CreateUser(t.Context(), admin(app), "", &eventv1.User{Name: "ann-" + name})
	if err != nil {
		t.Fatal(err)
	}
	con, _, err := r.API().CreateConversation(t.Context(), admin(app), "", &eventv1.Conversation{Name: name, Callback: c})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.API().AddMember(t.Context(), admin(app), con.Id, "joins", api.UserRef{ID: u.Id},
		&nodev1.AddMember{Action: nodev1.MemberAction_MEMBER_ACTION_JOIN, Channel: []byte(`{"type":"app"}`)})
	if err != nil {
		t.Fatal(err)
	}
	return con.Id, &nodev1.Principal{ApplicationId: app, UserId: u.Id, UserName: u.Name}
}

// say posts a text, which nobody says twice in a conversation.
func say(t testing.TB, r *runtime.Runtime, who *nodev1.Principal, con, text string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"text": text})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.API().Post(t.Context(), who, con, text, &nodev1.PostEvent{Type: "text", Body: body}); err != nil {
		t.Fatal(err)
	}
}

// told is one request to a receiver.
type told struct {
	Conversation string `json:"conversation_id"`
	Application  string `json:"application_id"`
	ID           uint64 `json:"id"`
	Type         string `json:"type"`
	Body         struct {
		Text string `json:"text"`
	} `json:"body"`

	header http.Header
	raw    []byte
	url    *url.URL
	method string
}

// receiver is somebody's web server. It answers what answer says, with 200 when that is nil.
type receiver struct {
	*httptest.Server
	answer func(w http.ResponseWriter, r told)

	mu   sync.Mutex // guards all
	all  []told
	more chan struct{} // closed and made anew with each request
}

func receive(t testing.TB, answer func(http.ResponseWriter, told)) *receiver {
	v := &receiver{answer: answer, more: make(chan struct{})}
	v.Server = httptest.NewServer(v)
	t.Cleanup(v.Server.Close)
	return v
}

// ServeHTTP implements http.Handler.
func (v *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	one := told{header: r.Header, raw: raw, url: r.URL, method: r.Method}
	if err != nil || r.Method == http.MethodPost && json.Unmarshal(raw, &one) != nil {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	v.mu.Lock()
	v.all = append(v.all, one)
	close(v.more)
	v.more = make(chan struct{})
	v.mu.Unlock()
	if v.answer != nil {
		v.answer(w, one)
	}
}

// until waits until what was received is as wanted, and gives it.
func (v *receiver) until(t testing.TB, what string, wanted func([]told) bool) []told {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		v.mu.Lock()
		all, more := slices.Clone(v.all), v.more
		v.mu.Unlock()
		if wanted(all) {
			return all
		}
		select {
		case <-more:
		case <-deadline.C:
			t.Fatalf("waited for %s; received %d requests", what, len(all))
		}
	}
}

// texts are those of a conversation's texts, in the order of their first arrival.
func texts(all []told, con string) []string {
	var list []string
	for _, one := range all {
		if one.Conversation == con && one.Type == "text" && !slices.Contains(list, one.Body.Text) {
			list = append(list, one.Body.Text)
		}
	}
	return list
}

func numbers(n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = strconv.Itoa(i)
	}
	return list
}

// TestEventsReachTheirWebhooks: every stored event reaches event_url, signed, and the types of its
// mask the conversation's callback; in order.
func TestEventsReachTheirWebhooks(t *testing.T) {
	r := solo.Open(t, quickly(t, vfs.NewMem()))
	defer solo.Close(t, r)
	hooks, callback := receive(t, nil), receive(t, nil)
	secrets := webhook.Rotated(nil, time.Now())
	hear(t, r, app, hooks.URL+"/events?tenant=1", secrets)
	con, ann := room(t, r, app, "tea", &eventv1.Callback{Url: callback.URL + "/own", EventMask: "text, custom:*", Method: "GET"})
	for _, text := range numbers(10) {
		say(t, r, ann, con, text)
	}
	all := hooks.until(t, "the join and ten texts", func(all []told) bool { return len(all) >= 11 })
	if all[0].Type != "member:joined" || !slices.Equal(texts(all, con), numbers(10)) {
		t.Fatalf("received %+v", all)
	}
	for i, one := range all {
		if one.ID != uint64(i+1) || one.Application != app || one.url.RequestURI() != "/events?tenant=1" || one.method != http.MethodPost {
			t.Errorf("request %d: %+v", i, one)
		}
		if err := verify(webhook.SecretText(secrets.Current), one.header, one.raw, time.Now()); err != nil {
			t.Errorf("request %d: %v", i, err)
		}
		if id := one.header.Get("Webhook-Id"); id != fmt.Sprintf("%s:%d:event_url", con, i+1) || one.header.Get("Content-Type") != "application/json" {
			t.Errorf("request %d: %v", i, one.header)
		}
	}
	own := callback.until(t, "ten texts", func(all []told) bool { return len(all) >= 10 })
	for i, one := range own {
		q := one.url.Query()
		if one.method != http.MethodGet || q.Get("type") != "text" || q.Get("id") != strconv.Itoa(i+2) || !strings.Contains(q.Get("body"), `"`+strconv.Itoa(i)+`"`) {
			t.Errorf("callback %d: %s %v", i, one.method, q)
		}
		if err := verify(webhook.SecretText(secrets.Current), one.header, []byte(one.url.RawQuery), time.Now()); err != nil {
			t.Errorf("callback %d: %v", i, err)
		}
	}
}

// TestOrderUnderFailures: a receiver that fails, breaks off or asks for time gets every event at
// least once, and no event of a conversation before an earlier one has been taken.
func TestOrderUnderFailures(t *testing.T) {
	r := solo.Open(t, quickly(t, vfs.NewMem()))
	defer solo.Close(t, r)
	var mu sync.Mutex
	taken, n := map[string]uint64{}, 0
	hooks := receive(t, func(w http.ResponseWriter, one told) {
		mu.Lock()
		defer mu.Unlock()
		if one.ID > taken[one.Conversation]+1 {
			t.Errorf("%s: %d came after %d", one.Conversation, one.ID, taken[one.Conversation])
		}
		switch n++; n % 5 {
		case 0:
			taken[one.Conversation] = max(one.ID, taken[one.Conversation])
			panic(http.ErrAbortHandler) // taken, but the answer is lost
		case 1, 2:
			w.WriteHeader(http.StatusInternalServerError)
		case 3:
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			taken[one.Conversation] = max(one.ID, taken[one.Conversation])
		}
	})
	hooks.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	hear(t, r, app, hooks.URL, nil)
	rooms := []string{}
	for i := range 3 {
		con, ann := room(t, r, app, fmt.Sprint("room-", i), nil)
		rooms = append(rooms, con)
		for _, text := range numbers(10) {
			say(t, r, ann, con, text)
		}
	}
	hooks.until(t, "all events of three rooms", func([]told) bool {
		mu.Lock()
		defer mu.Unlock()
		return !slices.ContainsFunc(rooms, func(con string) bool { return taken[con] < 11 })
	})
}

// TestKilledBetweenDeliveryAndDeletion: an event that was delivered when the node died is delivered
// again under the same id, with everything that waited behind it.
func TestKilledBetweenDeliveryAndDeletion(t *testing.T) {
	fs := vfs.NewCrashableMem()
	first := solo.Open(t, quickly(t, fs))
	release := make(chan struct{})
	var once sync.Once
	hooks := receive(t, func(_ http.ResponseWriter, one told) {
		if one.Type == "text" {
			<-release // delivered; the answer comes when the node is dead
		}
	})
	defer once.Do(func() { close(release) })
	hear(t, first, app, hooks.URL, nil)
	con, ann := room(t, first, app, "tea", nil)
	for _, text := range numbers(3) {
		say(t, first, ann, con, text)
	}
	seen := hooks.until(t, "the first text", func(all []told) bool { return len(texts(all, con)) == 1 })
	disk := fs.CrashClone(vfs.CrashCloneCfg{}) // what a kill leaves: all that was synced
	solo.Close(t, first)                       // that text was its last request
	once.Do(func() { close(release) })

	before := len(hooks.until(t, "nothing", func([]told) bool { return true }))
	again := solo.Open(t, quickly(t, disk))
	defer solo.Close(t, again)
	all := hooks.until(t, "all texts from the second life", func(all []told) bool {
		return len(texts(all[before:], con)) == 3
	})
	if got := texts(all[before:], con); !slices.Equal(got, numbers(3)) {
		t.Fatalf("the second life delivered %v", got)
	}
	id := seen[len(seen)-1].header.Get("Webhook-Id")
	if !slices.ContainsFunc(all[before:], func(one told) bool { return one.header.Get("Webhook-Id") == id }) {
		t.Fatalf("%s was not delivered again under its id", id)
	}
}

// TestDeadEndpointDelaysNobodyElse: while one application's webhook holds every request it gets,
// another's hears everything.
func TestDeadEndpointDelaysNobodyElse(t *testing.T) {
	o := quickly(t, vfs.NewMem())
	o.Outbox.SinkLimits.FlightMax, o.Outbox.SinkLimits.GroupFlightMax, o.Outbox.SinkLimits.GroupSlowMax = 4, 2, 0
	r := solo.Open(t, o)
	defer solo.Close(t, r)
	release := make(chan struct{})
	dead := receive(t, func(http.ResponseWriter, told) { <-release })
	defer close(release)
	alive := receive(t, nil)
	hear(t, r, app, dead.URL, nil)
	hear(t, r, other, alive.URL, nil)
	for i := range 8 { // more rooms than deliveries may be under way
		con, ann := room(t, r, app, fmt.Sprint("dead-", i), nil)
		say(t, r, ann, con, "hello?")
	}
	dead.until(t, "the dead one to hold a request", func(all []told) bool { return len(all) > 0 })
	con, ann := room(t, r, other, "alive", nil)
	for _, text := range numbers(20) {
		say(t, r, ann, con, text)
	}
	all := alive.until(t, "twenty texts", func(all []told) bool { return len(texts(all, con)) == 20 })
	if !slices.Equal(texts(all, con), numbers(20)) {
		t.Fatalf("received %v", texts(all, con))
	}
	held := dead.until(t, "nothing", func([]told) bool { return true })
	if most := 2 * 2; len(held) > most { // two shards, two each
		t.Fatalf("the dead endpoint has %d requests at once, more than %d", len(held), most)
	}
}

// TestAnUntriedCallbackDoesNotWaitForTheDead: hundreds of callbacks hold their first requests, on more hosts
// than requests may be under way. One that is as new and answers is not kept waiting until theirs have ended.
func TestAnUntriedCallbackDoesNotWaitForTheDead(t *testing.T) {
	o := quickly(t, vfs.NewMem())
	o.Shards = 1
	o.Webhook.Timeout = 2 * patience
	o.Outbox.SinkLimits.SlowAfter = 10 * time.Millisecond
	r := solo.Open(t, o)
	defer solo.Close(t, r)
	release := make(chan struct{})
	hear(t, r, app, "", nil)
	defer close(release)
	for i := range 12 {
		dead := receive(t, func(http.ResponseWriter, told) { <-release })
		con, ann := room(t, r, app, fmt.Sprint("dead-", i), &eventv1.Callback{Url: dead.URL, EventMask: "text"})
		say(t, r, ann, con, "hello?")
		if i < o.Outbox.SinkLimits.GroupFlightMax/2 {
			dead.until(t, "the request that it holds", func(all []told) bool { return len(all) == 1 })
		}
	}
	alive := receive(t, nil)
	con, ann := room(t, r, app, "alive", &eventv1.Callback{Url: alive.URL, EventMask: "text"})
	say(t, r, ann, con, "hi")
	alive.until(t, "its text", func(all []told) bool { return len(all) == 1 })
}

// TestDeadLettersAndRedelivery: what was refused for good is listed with its reason, and delivered
// when somebody asks for it; what is discarded is not.
func TestDeadLettersAndRedelivery(t *testing.T) {
	r := solo.Open(t, quickly(t, vfs.NewMem()))
	defer solo.Close(t, r)
	var mu sync.Mutex
	broken := true
	hooks := receive(t, func(w http.ResponseWriter, one told) {
		mu.Lock()
		defer mu.Unlock()
		if broken && one.Type == "text" {
			w.WriteHeader(http.StatusGone)
		}
	})
	hear(t, r, app, hooks.URL, nil)
	con, ann := room(t, r, app, "tea", nil)
	for _, text := range numbers(3) {
		say(t, r, ann, con, text)
	}
	letters := untilLetters(t, r, 3)
	for i, l := range letters.DeadLetters {
		if l.Row.SourceId != con || l.Row.Command.GetDeliverEvent().Sequence != uint64(i+2) || !strings.Contains(l.Reason, "410") || l.Attempts != 1 {
			t.Errorf("letter %d: %v", i, l)
		}
	}
	mu.Lock()
	broken = false
	mu.Unlock()
	before := len(hooks.until(t, "nothing", func([]told) bool { return true }))
	if n, err := r.Redeliver(t.Context(), app, &nodev1.Redeliver{Kind: nodev1.Kind_KIND_WEBHOOK, Position: letters.Positions[1]}); n != 1 || err != nil {
		t.Fatalf("%d moved, %v", n, err)
	}
	all := hooks.until(t, "the second text", func(all []told) bool { return len(all) > before })
	if got := all[before].Body.Text; got != "1" {
		t.Fatalf("%q was delivered again", got)
	}
	if n, err := r.Redeliver(t.Context(), app, &nodev1.Redeliver{Kind: nodev1.Kind_KIND_WEBHOOK, Position: letters.Positions[0], Discard: true}); n != 1 || err != nil {
		t.Fatalf("%d discarded, %v", n, err)
	}
	if n, err := r.Redeliver(t.Context(), app, &nodev1.Redeliver{Kind: nodev1.Kind_KIND_WEBHOOK}); n != 1 || err != nil {
		t.Fatalf("%d moved, %v", n, err)
	}
	all = hooks.until(t, "the third text", func(all []told) bool { return len(all) > before+1 })
	if got := all[before+1].Body.Text; got != "2" {
		t.Fatalf("%q was delivered again", got)
	}
	if left := untilLetters(t, r, 0); len(left.DeadLetters) != 0 {
		t.Fatalf("letters %v", left.DeadLetters)
	}
	if left, err := r.DeadLetters(t.Context(), other, nodev1.Kind_KIND_WEBHOOK, &nodev1.Page{}); err != nil || len(left.DeadLetters) != 0 {
		t.Fatalf("another application's: %v, %v", left, err)
	}
}

// untilLetters looks until there are n dead letters; each look takes a round through the shards.
func untilLetters(t testing.TB, r *runtime.Runtime, n int) *nodev1.Reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		letters, err := r.DeadLetters(ctx, app, nodev1.Kind_KIND_WEBHOOK, &nodev1.Page{})
		if err != nil {
			t.Fatal(err)
		}
		if len(letters.DeadLetters) == n {
			return letters
		}
	}
}

// TestWhatNobodyWantsAnyMore: a webhook that is taken away, and a conversation that is deleted, end
// the deliveries that wait, and leave no letters.
func TestWhatNobodyWantsAnyMore(t *testing.T) {
	r := solo.Open(t, quickly(t, vfs.NewMem()))
	defer solo.Close(t, r)
	hooks := receive(t, func(w http.ResponseWriter, _ told) { w.WriteHeader(http.StatusInternalServerError) })
	hear(t, r, app, hooks.URL, nil)
	con, ann := room(t, r, app, "tea", nil)
	say(t, r, ann, con, "never taken")
	hooks.until(t, "an attempt", func(all []told) bool { return len(all) > 0 })
	if err := r.API().DeleteConversation(t.Context(), admin(app), con); err != nil {
		t.Fatal(err)
	}
	kept, ben := room(t, r, app, "coffee", nil)
	say(t, r, ben, kept, "not wanted")
	if _, err := r.API().PutApplication(t.Context(), &eventv1.Application{Id: app, Name: app}, false); err != nil {
		t.Fatal(err)
	}
	moved := receive(t, nil)
	if _, err := r.API().PutApplication(t.Context(), &eventv1.Application{Id: app, Name: app,
		EventUrl: &eventv1.Webhook{Address: moved.URL}}, false); err != nil {
		t.Fatal(err)
	}
	say(t, r, ben, kept, "wanted again")
	all := moved.until(t, "the last text", func(all []told) bool { return slices.Contains(texts(all, kept), "wanted again") })
	if slices.ContainsFunc(all, func(one told) bool { return one.Conversation == con }) {
		t.Fatalf("a deleted conversation was told of: %+v", all)
	}
	if left := untilLetters(t, r, 0); len(left.DeadLetters) != 0 {
		t.Fatalf("letters %v", left.DeadLetters)
	}
}

// TestPrivateTargetsAreNotCalled: without the operator's leave a webhook on this machine is refused,
// by address and by redirect.
func TestPrivateTargetsAreNotCalled(t *testing.T) {
	o := quickly(t, vfs.NewMem())
	o.Webhook.Guard = nil
	o.Outbox.SinkLimits.AgeMax = time.Millisecond
	r := solo.Open(t, o)
	defer solo.Close(t, r)
	hooks := receive(t, nil)
	hear(t, r, app, hooks.URL, nil)
	room(t, r, app, "tea", nil)
	letters := untilLetters(t, r, 1)
	if l := letters.DeadLetters[0]; !strings.Contains(l.Reason, guard.ErrRefused.Error()) {
		t.Fatalf("letter %v", l)
	}
	if all := hooks.until(t, "nothing", func([]told) bool { return true }); len(all) != 0 {
		t.Fatalf("it was called: %+v", all)
	}
}

// TestRedirectsAndProxiesAreNotFollowed: an answer cannot send the node elsewhere, nor can the
// environment.
func TestRedirectsAndProxiesAreNotFollowed(t *testing.T) {
	elsewhere := receive(t, nil)
	t.Setenv("HTTP_PROXY", elsewhere.URL)
	r := solo.Open(t, quickly(t, vfs.NewMem()))
	defer solo.Close(t, r)
	hooks := receive(t, func(w http.ResponseWriter, _ told) {
		w.Header().Set("Location", elsewhere.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	hear(t, r, app, hooks.URL, nil)
	room(t, r, app, "tea", nil)
	hooks.until(t, "three attempts", func(all []told) bool { return len(all) >= 3 })
	if all := elsewhere.until(t, "nothing", func([]told) bool { return true }); len(all) != 0 {
		t.Fatalf("it was followed: %+v", all)
	}
}

// TestUnknownCertificatesAreRefused: a webhook that cannot prove its name hears nothing.
func TestUnknownCertificatesAreRefused(t *testing.T) {
	o := quickly(t, vfs.NewMem())
	o.Outbox.SinkLimits.AgeMax = time.Millisecond
	r := solo.Open(t, o)
	defer solo.Close(t, r)
	called := make(chan struct{}, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called <- struct{}{} }))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	defer server.Close()
	hear(t, r, app, server.URL, nil)
	room(t, r, app, "tea", nil)
	letters := untilLetters(t, r, 1)
	if l := letters.DeadLetters[0]; !strings.Contains(l.Reason, "certificate") || len(called) != 0 {
		t.Fatalf("letter %v, called %d times", l, len(called))
	}
}
