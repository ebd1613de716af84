package conversation_test

import (
	"testing"

	"parley/actors/conversation"
	"parley/actors/grain"
	nodev1 "parley/proto/node/v1"
)

// TestAMemberNewerThanTheHead: a conversation is woken in an epoch in which a former activation of it still has a
// joining on its way. It has read that nobody is joined when that lands, and then reads of a joined member who
// leaves. It decides nothing on both, and knows all when it is asked again.
func TestAMemberNewerThanTheHead(t *testing.T) {
	h := newHall(t)
	h.must(asUser("ann"), updating("me", nodev1.MemberAction_MEMBER_ACTION_LEAVE))
	metrics, err := grain.NewMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	o := grain.DefaultOptions()
	o.Shards, o.Metrics = shards, metrics
	shell, err := grain.NewShell(entity, 1, conversation.New, h.Rows(), o)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(p *nodev1.Principal, cmd *nodev1.Command) (reply *nodev1.GrainReply, proposed bool) {
		cmd.Principal = p
		for _, out := range shell.Step(h.Now, grain.Arrived{Command: cmd, Respond: func(r *nodev1.GrainReply) { reply = r }}) {
			switch out := out.(type) {
			case grain.Answer:
				out.Respond(out.Reply)
			case grain.Propose:
				proposed = true
			}
		}
		return reply, proposed
	}
	if reply, _ := ask(asAdmin(), posting("text:typing:on", `{"activity":1}`)); reply != nil {
		t.Fatalf("told %v without a proof", reply)
	}
	h.must(asAdmin(), adding("eve", nodev1.MemberAction_MEMBER_ACTION_JOIN))
	leave := updating("me", nodev1.MemberAction_MEMBER_ACTION_LEAVE)
	if reply, proposed := ask(asUser("eve"), leave); !reply.GetNotLeader() || proposed {
		t.Fatalf("told %v, proposed %v", reply, proposed)
	}
	if reply, proposed := ask(asUser("eve"), leave); reply != nil || !proposed {
		t.Errorf("asked again: told %v, proposed %v", reply, proposed)
	}
}
