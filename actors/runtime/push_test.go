package runtime_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/actors/driver"
	"parley/actors/push"
	"parley/actors/push/delivery"
	"parley/actors/runtime"
	eventv1 "parley/proto/event/v1"
)

// provider is a push provider in the cloud, and the edges' knowledge of who is connected.
type provider struct {
	mu   sync.Mutex
	told map[string]map[string]int // by device token and collapse id, which stands for the event
	news chan struct{}             // capacity 1: something was told
	live map[string]string         // users, with the node that they are connected to
}

// Send implements push.Sender.
func (p *provider) Send(_ context.Context, _ *eventv1.PushCredential, d *eventv1.Device, n *delivery.Notification) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.told[d.Token] == nil {
		p.told[d.Token] = map[string]int{}
	}
	p.told[d.Token][n.CollapseID]++
	select {
	case p.news <- struct{}{}:
	default:
	}
	return nil
}

// Close implements push.Sender.
func (p *provider) Close() {}

func (p *provider) connect(user, node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.live[user] = node
}

func (p *provider) liveAt(node string) func(string, []string) []string {
	return func(_ string, users []string) []string {
		p.mu.Lock()
		defer p.mu.Unlock()
		return slices.DeleteFunc(slices.Clone(users), func(u string) bool { return p.live[u] != node })
	}
}

// events is of how many a device was told.
func (p *provider) events(token string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.told[token])
}

// await waits until a device was told of as many events.
func (p *provider) await(t *testing.T, token string, events int) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		got := p.events(token)
		if got >= events {
			return
		}
		select {
		case <-p.news:
		case <-late.C:
			t.Fatalf("%s was told of %d events, want %d", token, got, events)
		}
	}
}

// TestPushAcrossNodes: whoever leads a conversation knows who is connected anywhere, and tells the
// others; when a leader goes, the next one tells.
func TestPushAcrossNodes(t *testing.T) {
	cloud := &provider{told: map[string]map[string]int{}, news: make(chan struct{}, 1), live: map[string]string{}}
	var all []*member
	for _, name := range []string{"a", "b", "c"} {
		m := startPush(t, name, cloud, all)
		all = append(all, m)
	}
	for _, m := range all {
		m.ready(t)
	}
	all[0].until(t, "leaders on all three nodes", func(p *driver.Picture) bool { return healed(3)(p) && len(leads(p)) == 3 })
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // a post waits for the next leader
	defer cancel()
	home, err := all[0].API().PutApplication(ctx, &eventv1.Application{Id: app, Name: "tests"}, true)
	if err != nil {
		t.Fatal(err)
	}
	_, err = all[0].API().PutPushCredential(ctx, admin, &eventv1.PushCredential{
		Platform: eventv1.Platform_PLATFORM_ANDROID, Kind: eventv1.PushKind_PUSH_KIND_SERVICE_ACCOUNT, Secret: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		m.until(t, "the credential on "+m.name, func(*driver.Picture) bool {
			_, err := m.API().PushCredential(ctx, admin, eventv1.Platform_PLATFORM_ANDROID)
			return err == nil
		})
	}
	ann, bob, carol := newUser(t, all[0].API(), "ann"), newUser(t, all[0].API(), "bob"), newUser(t, all[0].API(), "carol")
	for _, u := range []*eventv1.User{bob, carol} {
		d := &eventv1.Device{Id: "phone", Platform: eventv1.Platform_PLATFORM_ANDROID, Token: u.Name}
		if _, err := all[1].API().PutDevice(ctx, as(u), u.Id, d); err != nil {
			t.Fatal(err)
		}
	}
	cloud.connect(bob.Id, "c")
	const rooms = 8
	var cons []string
	for i := range rooms {
		con := newConversation(t, all[0].API(), "", fmt.Sprint("room", i)).Id
		for _, u := range []*eventv1.User{ann, bob, carol} {
			join(t, all[0].API(), con, u.Id)
		}
		cons = append(cons, con)
	}
	said := 0 // by everybody in each room
	say := func(m *member) {
		said++
		for _, con := range cons {
			if _, err := m.API().Post(ctx, as(ann), con, fmt.Sprint("c", said), text("hi")); err != nil {
				t.Fatal(err)
			}
		}
		cloud.await(t, "carol", said*rooms)
	}
	// Who is at a node that does not answer in time is told as well, so a machine that stands still may have bob told
	// of all that is said in one round; not of all in each.
	told, before := 0, -rooms
	const roundsMax = 20
	for round := 0; told-before == rooms; round++ {
		if round == roundsMax {
			t.Fatalf("bob was told of all %d events while he was connected", told)
		}
		say(all[1])
		told, before = cloud.events("bob"), told
	}
	cloud.connect(bob.Id, "")
	closed(t, all[2].Runtime)
	say(all[0])
	cloud.await(t, "bob", told+rooms)
	for _, m := range all[:2] {
		closed(t, m.Runtime)
	}
	if home.Id != app {
		t.Errorf("the application is %s", home.Id)
	}
}

// startPush is start for a node that reaches the provider.
func startPush(t *testing.T, name string, cloud *provider, others []*member) *member {
	t.Helper()
	if racing {
		t.Skip("several nodes in one process set gRPC's global logger while connections read it")
	}
	m := &member{name: name, fs: vfs.NewMem(), edge: newEar()}
	o := options(t, m.fs)
	o.NodeName, o.Edge, o.Live = name, m.edge, cloud.liveAt(name)
	o.Push.Senders = map[eventv1.Platform]push.Sender{eventv1.Platform_PLATFORM_ANDROID: cloud}
	if len(others) > 0 {
		o.Join = []string{others[0].Addresses().Gossip}
	}
	r, err := runtime.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	m.Runtime = r
	return m
}
