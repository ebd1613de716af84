package webhook

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// TestLineLeavesAHostAlone walks a line through its chart.
func TestLineLeavesAHostAlone(t *testing.T) {
	o := DefaultOptions()
	o.FailuresMax, o.PauseMin, o.PauseMax = 3, 4*time.Second, 16*time.Second
	l := &line{}
	now := time.Unix(1_000_000, 0)
	admitted := func() bool { ok, _ := l.admit(now, &o); return ok }
	for range 3 {
		if !admitted() {
			t.Fatal("a host that has hardly failed is left alone")
		}
		l.ended(now, verdict{err: errors.New("status 500"), host: failing}, &o)
	}
	for _, pause := range []time.Duration{4, 8, 16, 16} {
		pause *= time.Second
		ok, after := l.admit(now, &o)
		if ok || after < pause || after > pause*3/2 {
			t.Fatalf("the pause is %s, want %s", after, pause)
		}
		l.ended(now, verdict{err: errors.New("late"), host: failing}, &o) // was under way when it opened
		now = now.Add(pause)
		if !admitted() || admitted() {
			t.Fatal("after the pause there is one probe, and one only")
		}
		l.ended(now, verdict{err: errors.New("status 500"), host: failing}, &o)
	}
	now = now.Add(o.PauseMax)
	if !admitted() {
		t.Fatal("no probe")
	}
	l.ended(now, verdict{}, &o) // its conversation was gone: the host was not asked
	if !admitted() {
		t.Fatal("a probe that asked nobody was the only one")
	}
	l.ended(now, verdict{host: working}, &o)
	if !admitted() || !admitted() || !l.idle() {
		t.Fatal("a host that works again is still left alone")
	}
}

// TestLineHeedsRetryAfter: one answer is enough to leave a host alone that asks for it.
func TestLineHeedsRetryAfter(t *testing.T) {
	o := DefaultOptions()
	l := &line{}
	now := time.Unix(1_000_000, 0)
	l.ended(now, verdict{err: errors.New("status 429"), host: failing, after: 2 * time.Minute}, &o)
	if ok, after := l.admit(now.Add(time.Minute), &o); ok || after < time.Minute {
		t.Fatalf("it is asked again after %s", after)
	}
	if ok, _ := l.admit(now.Add(2*time.Minute), &o); !ok {
		t.Fatal("it is not asked again")
	}
}

// TestOurOwnEndIsNotTheHosts: deliveries that end because this node leads no more say nothing of
// their host.
func TestOurOwnEndIsNotTheHosts(t *testing.T) {
	s := &Sink{options: DefaultOptions(), lines: map[string]*line{}}
	for _, c := range []struct {
		leads bool
		want  int
	}{{false, 0}, {true, 1}} {
		ctx, cancel := context.WithCancel(t.Context())
		if !c.leads {
			cancel()
		}
		l, told := &line{flying: 1}, 0
		s.run(l, job{ctx: ctx, done: func(error) { told++ }, run: func(context.Context) verdict {
			return verdict{err: errors.New("broke off"), host: failing}
		}})
		if l.failures != c.want || told != 1 || l.flying != 0 {
			t.Errorf("leading %v: %d failures, told %d times", c.leads, l.failures, told)
		}
		cancel()
	}
}

// TestJudge: what each answer means for the row and for its host.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		status  int
		host    health
		outcome outcome
		reason  string
	}{
		{200, working, outcomeDelivered, ""}, {204, working, outcomeDelivered, ""}, {299, working, outcomeDelivered, ""},
		{302, working, outcomeStatus, "302"}, {400, working, outcomeStatus, "400"}, {410, working, outcomeStatus, "410"},
		{429, failing, outcomeStatus, "429"}, {500, failing, outcomeStatus, "500"}, {503, failing, outcomeStatus, "503"},
	} {
		v, o := judge(&http.Response{StatusCode: c.status, Header: http.Header{"Retry-After": {"7"}}, Body: http.NoBody}, nil)
		if v.host != c.host || o != c.outcome || (v.err == nil) != (c.reason == "") || v.err != nil && !strings.Contains(v.err.Error(), c.reason) {
			t.Errorf("%d: %+v, %s", c.status, v, o)
		}
		if wants := c.status == 429 || c.status == 503; wants != (v.after == 7*time.Second) {
			t.Errorf("%d: asked to wait %s", c.status, v.after)
		}
	}
}

// TestSignature is the example of the specification.
func TestSignature(t *testing.T) {
	const text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, "whsec_"))
	if err != nil || SecretText(secret) != text {
		t.Fatalf("the secret reads %q, %v", SecretText(secret), err)
	}
	at := time.Unix(1614265330, 0)
	s := &eventv1.WebhookSecrets{Current: secret}
	first := signatures(s, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, []byte(`{"test": 2432232314}`))
	if first != "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("signed with %q", first)
	}
	rotated := Rotated(s, at)
	both := signatures(rotated, "msg_p5jXN8AQM9LWM0D4loKWxJek", at.Add(PreviousFor-time.Second), []byte(`{}`))
	if n := len(strings.Fields(both)); n != 2 {
		t.Errorf("after a rotation there are %d signatures: %s", n, both)
	}
	one := signatures(rotated, "msg_p5jXN8AQM9LWM0D4loKWxJek", at.Add(PreviousFor), []byte(`{}`))
	if n := len(strings.Fields(one)); n != 1 {
		t.Errorf("a day after a rotation there are %d signatures: %s", n, one)
	}
	if unsigned := signatures(nil, "id", at, nil); unsigned != "" {
		t.Errorf("without a secret: %q", unsigned)
	}
}

func TestPayload(t *testing.T) {
	v := &nodev1.EventView{
		Event:  &eventv1.Event{Sequence: 3, Type: "text", FromMember: "MEM-1", Body: []byte(`{"text":"hi & <bye>"}`), TimestampMs: 1_700_000_000_123},
		Author: &eventv1.Author{UserId: "USR-1", Name: "ann", DisplayName: "Ann", CustomData: []byte(`{"a":1}`)},
	}
	want := `{"application_id":"app","conversation_id":"CON-1","id":3,"type":"text","from":"MEM-1","body":{"text":"hi & <bye>"},` +
		`"timestamp":"2023-11-14T22:13:20.123Z","_embedded":{"from_user":{"id":"USR-1","name":"ann","display_name":"Ann","custom_data":{"a":1}},"from_member":{"id":"MEM-1"}}}`
	if got, err := payloadOf("app", "CON-1", v).json(); err != nil || string(got) != want {
		t.Errorf("%s\nwant\n%s, %v", got, want, err)
	}
	v.Event.DeletedMs, v.Event.Body = 1_700_000_001_000, nil
	if got := string(payloadOf("app", "CON-1", v).Body); got != `{"timestamp":{"deleted":"2023-11-14T22:13:21.000Z"}}` {
		t.Errorf("a deleted one: %s", got)
	}
	v.Event = &eventv1.Event{Sequence: 4, Type: "custom", TimestampMs: 1}
	if got, err := payloadOf("app", "CON-1", v).json(); err != nil || strings.Contains(string(got), "from") || !strings.Contains(string(got), `"body":{}`) {
		t.Errorf("an administrator's: %s, %v", got, err)
	}
}

// TestOptionsAreChecked: what is missing or impossible is told when the sink is made.
func TestOptionsAreChecked(t *testing.T) {
	if _, err := New(DefaultOptions()); err == nil {
		t.Error("a sink was made of nothing")
	}
}
