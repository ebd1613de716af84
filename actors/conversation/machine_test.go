package conversation_test

import (
	"fmt"
	"runtime"
	"testing"

	"parley/actors/conversation"
	"parley/actors/grain"
	nodev1 "parley/proto/node/v1"

	"github.com/cockroachdb/datadriven"
)

// TestMemberBodies pins the bodies of member events: clients of every generation read them.
func TestMemberBodies(t *testing.T) {
	datadriven.RunTest(t, "testdata/member_bodies", func(t *testing.T, d *datadriven.TestData) string {
		h := newHall(t)
		reason := updating("me", nodev1.MemberAction_MEMBER_ACTION_LEAVE)
		reason.GetUpdateMember().Reason = []byte(`{"code":"7","text":"bye"}`)
		phone := adding("eve", nodev1.MemberAction_MEMBER_ACTION_JOIN)
		phone.GetAddMember().Channel = []byte(`{"type":"phone","to":{"number":"447700900000"}}`)
		phone.GetAddMember().Media = []byte(`{"audio":true}`)
		body := func(p *nodev1.Principal, cmd *nodev1.Command) string {
			return string(h.must(p, cmd).Event.Event.Body) + "\n"
		}
		switch d.Cmd {
		case "invited-by-a-member":
			return body(asUser("ann"), adding("eve", nodev1.MemberAction_MEMBER_ACTION_INVITE))
		case "invited-by-an-administrator":
			return body(asAdmin(), adding("eve", nodev1.MemberAction_MEMBER_ACTION_INVITE))
		case "joined-by-invitation":
			return body(asUser("bob"), adding("bob", nodev1.MemberAction_MEMBER_ACTION_JOIN))
		case "joined-by-phone":
			return body(asUser("eve"), phone)
		case "left":
			return body(asUser("ann"), reason)
		default:
			return body(asUser("ann"), updating(memberOf("bob"), nodev1.MemberAction_MEMBER_ACTION_LEAVE))
		}
	})
}

// TestIdleSize: what an idle conversation keeps in memory stays small, however many have spoken.
func TestIdleSize(t *testing.T) {
	h := newHall(t)
	for i := range 200 {
		h.must(asAdmin(), adding(fmt.Sprint("m", i), nodev1.MemberAction_MEMBER_ACTION_JOIN))
	}
	const copies = 200
	machines := make([]grain.Machine, copies)
	before := heap()
	for i := range machines {
		machines[i] = conversation.New(entity)
		for speaker := range 200 {
			cmd := posting("text", `{"text":"hi"}`)
			cmd.Principal = asUser(fmt.Sprint("m", speaker))
			if err := machines[i].Load(h.Rows(), 0, nil, cmd); err != nil {
				t.Fatal(err)
			}
		}
		machines[i].Settle()
	}
	each := (heap() - before) / copies
	runtime.KeepAlive(h)
	t.Logf("%d bytes for an idle conversation", each)
	if each > 3<<9 {
		t.Errorf("an idle conversation keeps %d bytes", each)
	}
	runtime.KeepAlive(machines)
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // pools survive one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkPost(b *testing.B) {
	h := newHall(&testing.T{})
	m := conversation.New(entity)
	cmd := posting("text", `{"text":"a message of a usual length, as people write them"}`)
	cmd.Principal = asUser("ann")
	b.ReportAllocs()
	for i := range b.N {
		cmd.ClientId = fmt.Sprint(i)
		if err := m.Load(h.Rows(), 0, nil, cmd); err != nil {
			b.Fatal(err)
		}
		d, err := m.Decide(int64(i), cmd)
		if err != nil {
			b.Fatal(err)
		}
		m.Evolve(d)
		m.Settle()
	}
}
