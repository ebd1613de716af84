package receipt_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"parley/actors/api"
	"parley/actors/conversation"
	"parley/edge/receipt"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
	"parley/test/solo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client sends a receipt and hears what became of it.
type client struct {
	t    *testing.T
	api  *api.Service
	user *nodev1.Principal
	room string
	held chan func() // a receipt that travels alone waits here; nil = it goes at once
	told chan error
}

// Alone implements receipt.Bearer.
func (c *client) Alone(done func(*nodev1.Reply, error)) {
	send := func() {
		c.api.AdvanceCursor(c.t.Context(), c.user, c.room, &nodev1.AdvanceCursor{Delivered: 1}, done)
	}
	if c.held == nil {
		send()
		return
	}
	c.held <- send
}

// Done implements receipt.Bearer.
func (c *client) Done(_ *nodev1.Reply, err error) { c.told <- err }

// counter notes how many receipts left together.
type counter struct {
	*api.Service
	groups []int // written while the receipts before are on their way
}

// AdvanceCursors implements receipt.Cluster.
func (c *counter) AdvanceCursors(ctx context.Context, app, room string, cursors []*nodev1.UserCursor, done func(*nodev1.Reply, error)) {
	c.groups = append(c.groups, len(cursors))
	c.Service.AdvanceCursors(ctx, app, room, cursors, done)
}

// TestQueue: what comes while a receipt of a large conversation is on its way leaves together, is stored,
// and each is told its own outcome.
func TestQueue(t *testing.T) {
	node := solo.Open(t, solo.Options(t, vfs.NewMem()))
	defer solo.Close(t, node)
	a := node.API()
	tenant := solo.NewTenant(t, a, "")
	room := tenant.Conversation(&eventv1.Conversation{})
	var users []*nodev1.Principal
	for i := range conversation.ReceiptMembersMax + 2 {
		u := tenant.User(&eventv1.User{Name: fmt.Sprintf("u%d", i)})
		users = append(users, &nodev1.Principal{ApplicationId: tenant.ID, UserId: u.Id, UserName: u.Name})
		if i > 0 { // the first is a stranger
			tenant.Join(room, api.UserRef{ID: u.Id})
		}
	}
	count := &counter{Service: a}
	o := receipt.DefaultOptions()
	o.InFlight = 1
	q, err := receipt.New(t.Context(), count, o)
	if err != nil {
		t.Fatal(err)
	}
	var clients []*client
	post := func(user int, delivered, seen uint64) {
		c := &client{t: t, api: a, user: users[user], room: room, told: make(chan error, 1)}
		if len(clients) == 0 {
			c.held = make(chan func(), 1)
		}
		clients = append(clients, c)
		q.Post(receipt.Receipt{Principal: c.user, Conversation: room, Delivered: delivered, Seen: seen, Bearer: c})
	}
	post(1, 1, 0)
	post(2, 1, 0)
	post(3, 2, 1)
	post(4, 1000, 0)
	post(0, 1, 0)
	post(5, 0, 2)
	(<-clients[0].held)()
	var outcomes []code.Code
	for _, c := range clients {
		e, _ := code.Of(<-c.told)
		outcomes = append(outcomes, "")
		if e != nil {
			outcomes[len(outcomes)-1] = e.Code
		}
	}
	if want := []code.Code{"", "", "", code.EventNotFound, code.ConversationNotFound, ""}; !slices.Equal(outcomes, want) {
		t.Errorf("told %q", outcomes)
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	if !slices.Equal(count.groups, []int{5}) {
		t.Errorf("%v left together", count.groups)
	}
	for user, want := range map[int][2]uint64{1: {1, 0}, 2: {1, 0}, 3: {2, 1}, 4: {0, 0}, 5: {2, 2}} {
		told := make(chan *nodev1.Reply, 1)
		a.AdvanceCursor(t.Context(), users[user], room, &nodev1.AdvanceCursor{}, func(r *nodev1.Reply, err error) { // moves nothing
			if err != nil {
				t.Error(err)
			}
			told <- r
		})
		if r := <-told; r.GetCursor().GetDelivered() != want[0] || r.GetCursor().GetSeen() != want[1] {
			t.Errorf("user %d is at %v, not %v", user, r.GetCursor(), want)
		}
	}
}
