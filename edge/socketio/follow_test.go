package socketio_test

import (
	"context"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"parley/actors/api"
	"parley/edge/socketio"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// TestJoinsAreFollowedWhileConnected: however many conversations a user joins at once, its session
// hears of each from the joining on.
func TestJoinsAreFollowedWhileConnected(t *testing.T) {
	n := newNode(t)
	n.users("ann", "bob")
	b := n.login("bob", "4.0.2")
	const many = 80 // more than may wait one by one
	var list []string
	for range many {
		list = append(list, n.conversation("ann"))
	}
	for _, con := range list {
		n.join(con, "bob")
	}
	joined := map[any]bool{}
	for len(joined) < many {
		joined[b.next("member:joined").payload["cid"]] = true
	}
	for _, con := range list {
		n.post(con, "ann", "hello")
	}
	told := map[any]int{}
	for range many {
		told[b.next("text").payload["cid"]]++
	}
	for _, con := range list {
		if told[con] != 1 {
			t.Errorf("told %d times of %s", told[con], con)
		}
	}
}

// TestOnlySoManyAreFollowed: what is beyond the limit is not told, is counted, and may be asked for.
func TestOnlySoManyAreFollowed(t *testing.T) {
	n := newNode(t, tune{socket: func(o *socketio.Options) { o.Subscriptions = 2 }})
	n.users("ann", "bob")
	list := []string{n.conversation("ann", "bob"), n.conversation("ann", "bob"), n.conversation("ann", "bob")}
	b := n.login("bob", "4.0.2")
	for _, con := range list {
		n.post(con, "ann", "hello")
	}
	first, second := b.next("text"), b.next("text")
	if first.payload["cid"] == second.payload["cid"] {
		t.Errorf("%v, %v", first, second)
	}
	for _, con := range list {
		if got := b.do("conversation:get", value{"cid": con, "body": value{}}); got["sequence_number"] != 3.0 {
			t.Errorf("%s: %v", con, got)
		}
	}
	for _, e := range b.pending {
		if e.name == "text" {
			t.Errorf("a third was followed: %v", e)
		}
	}
	count, err := testutil.GatherAndCount(n.metrics, "parley_socketio_dropped_total")
	if err != nil || count != 1 {
		t.Errorf("counted %d, %v", count, err)
	}
}

// listing changes the memberships that a login is told of.
type listing struct {
	counting
	before func() // nil = nothing
	change func(r *nodev1.Reply)
}

func (l *listing) ListMemberships(ctx context.Context, p *nodev1.Principal, user string, page *nodev1.Page, states []eventv1.MemberState) (*nodev1.Reply, error) {
	if l.before != nil {
		l.before()
	}
	r, err := l.Cluster.ListMemberships(ctx, p, user, page, states)
	if err == nil && l.change != nil {
		l.change(r)
	}
	return r, err
}

// TestTheListMayBeOlder than the conversation: who has left it meanwhile does not hear of it. From a
// node of an older version, which does not tell the member, it is asked for.
func TestTheListMayBeOlder(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(r *nodev1.Reply)
		asked  int64
		told   bool
	}{
		"left meanwhile": {func(r *nodev1.Reply) {
			for _, m := range r.Members {
				m.State = eventv1.MemberState_MEMBER_STATE_LEFT
			}
		}, 0, false},
		"of an older node": {func(r *nodev1.Reply) { clear(r.Members) }, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			l := &listing{change: tc.change}
			n := newNode(t, tune{cluster: func(c api.Cluster) api.Cluster {
				l.Cluster = c
				return l
			}})
			n.users("ann", "bob")
			con := n.conversation("ann", "bob")
			b := n.login("bob", "4.0.2")
			asked := l.asked.Load()
			n.post(con, "ann", "hello")
			told := tc.told
			if told {
				b.next("text")
			}
			n.join(n.conversation("ann"), "bob") // later than the text, if that is told at all
			for e := (event{}); e.name != "member:joined"; told = told || e.name == "text" {
				e = must(b.read())(t)
			}
			if told != tc.told || asked != tc.asked {
				t.Errorf("told %v, asked %d times", told, asked)
			}
		})
	}
}

// TestAnOldListMeetsAReturn: a session begins to follow a conversation from a list that is older than
// its user's leaving and return, and hears of the return before it hears of the leaving.
func TestAnOldListMeetsAReturn(t *testing.T) {
	var con, member string
	var once sync.Once
	l := &listing{}
	n := newNode(t, tune{cluster: func(c api.Cluster) api.Cluster {
		l.Cluster = c
		return l
	}})
	l.change = func(*nodev1.Reply) {
		once.Do(func() {
			leave := &nodev1.UpdateMember{MemberId: member, Action: nodev1.MemberAction_MEMBER_ACTION_LEAVE}
			if _, err := n.cluster.UpdateMember(t.Context(), n.admin, con, "", leave); err != nil {
				t.Error(err)
			}
			n.join(con, "bob")
		})
	}
	n.users("ann", "bob")
	con = n.conversation("ann")
	member = n.join(con, "bob")
	marker := n.conversation("ann")
	b := n.login("bob", "4.0.2")
	n.join(marker, "bob")
	for b.next("member:joined").payload["cid"] != marker { // the news of the return came before that
	}
	n.post(con, "ann", "hello")
	if e := b.next("text"); e.payload["cid"] != con {
		t.Errorf("%+v", e)
	}
}

// TestAJoiningThatTheListTells: a user joins while its memberships are being listed. Whichever comes
// first, the list or the news, the session hears of the joining.
func TestAJoiningThatTheListTells(t *testing.T) {
	var con string
	var once sync.Once
	l := &listing{}
	n := newNode(t, tune{cluster: func(c api.Cluster) api.Cluster {
		l.Cluster = c
		return l
	}})
	l.before = func() { once.Do(func() { n.join(con, "bob") }) }
	n.users("ann", "bob")
	con = n.conversation("ann")
	b := n.login("bob", "4.0.2")
	if e := b.next("member:joined"); e.payload["cid"] != con {
		t.Errorf("%+v", e)
	}
	id := n.post(con, "ann", "hello")
	if e := b.next("text"); e.payload["id"] != float64(id) {
		t.Errorf("%+v", e)
	}
}
