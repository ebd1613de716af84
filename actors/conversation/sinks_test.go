package conversation_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"parley/actors/conversation"
	"parley/actors/grain"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// left decides a command of ann's and tells the rows that it leaves for sinks: target and sequence.
func (h hall) left(cmd *nodev1.Command, sinks nodev1.Sink) []string {
	h.t.Helper()
	cmd.Principal, cmd.Sinks = asUser("ann"), uint32(sinks)
	m := conversation.New(entity)
	key, err := grain.HeadKey(entity)
	if err != nil {
		h.t.Fatal(err)
	}
	head, _, err := h.Rows().Get(key)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := m.Load(h.Rows(), 1, head[8:], cmd); err != nil {
		h.t.Fatal(err)
	}
	d, err := m.Decide(1, cmd)
	if err != nil {
		h.t.Fatal(err)
	}
	rows := []string{}
	for _, r := range d.Outbox {
		if e := r.Command.GetDeliverEvent(); e != nil {
			rows = append(rows, fmt.Sprint(strings.ToLower(strings.TrimPrefix(r.TargetKind.String(), "KIND_")), " ", r.TargetId, " ", e.Sequence))
		}
	}
	return rows
}

// TestRowsForSinks: each stored event leaves a row for every sink that wants it, and what is only
// relayed, answered or refused leaves none. Without sinks nothing is written.
func TestRowsForSinks(t *testing.T) {
	const hook, push = nodev1.Sink_SINK_WEBHOOK, nodev1.Sink_SINK_PUSH
	for name, tc := range map[string]struct {
		mask  string // of the callback; "-" = no callback
		sinks nodev1.Sink
		cmd   *nodev1.Command
		want  []string
	}{
		"nobody":              {"-", 0, posting("text", `{"text":"a"}`), nil},
		"event_url":           {"-", hook, posting("text", `{"text":"a"}`), []string{"webhook event_url 6"}},
		"all":                 {"", hook | push, posting("text", `{"text":"a"}`), []string{"webhook event_url 6", "webhook callback 6", "push push/6 6"}},
		"masked":              {"text,custom:*", 0, posting("custom:order", `{}`), []string{"webhook callback 6"}},
		"masked out":          {"text,custom:*", 0, posting("message", `{"message_type":"text","text":"a"}`), nil},
		"custom is not shown": {"-", hook | push, posting("custom:order", `{}`), []string{"webhook event_url 6"}},
		"image is shown":      {"-", push, posting("image", `{"representations":{}}`), []string{"push push/6 6"}},
		"invitation is shown": {"-", push, adding("eve", nodev1.MemberAction_MEMBER_ACTION_INVITE), []string{"push push/6 6"}},
		"leaving is told":     {"member:*", hook, updating("me", nodev1.MemberAction_MEMBER_ACTION_LEAVE), []string{"webhook event_url 6", "webhook callback 6"}},
		"receipt is told":     {"text:seen", hook, posting("text:seen", `{"event_id":5}`), []string{"webhook event_url 6", "webhook callback 6"}},
		"deletion is told":    {"-", hook, &nodev1.Command{Body: &nodev1.Command_DeleteEvent{DeleteEvent: &nodev1.DeleteEvent{Sequence: 5}}}, []string{"webhook event_url 6"}},
		"typing is relayed":   {"", hook | push, posting("text:typing:on", `{}`), nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHall(t)
			if tc.mask != "-" {
				h.must(asAdmin(), &nodev1.Command{Body: &nodev1.Command_UpdateConversation{UpdateConversation: &nodev1.UpdateConversation{
					Callback: &eventv1.Callback{Url: "https://example.com", EventMask: tc.mask}}}})
			}
			if got := h.left(tc.cmd, tc.sinks); !slices.Equal(got, tc.want) {
				t.Errorf("left %v, want %v", got, tc.want)
			}
		})
	}
}
