package conversation

import (
	"strconv"
	"strings"

	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// What an outbox row for a sink names as its target: with the application it tells which lane of
// the outbox the row belongs to.
const (
	// targetEventURL is the application's webhook.
	targetEventURL = "event_url"
	// TargetCallback is the conversation's own webhook.
	TargetCallback = "callback"
	// targetPush are the devices of members. Each event has a lane of its own, push/<sequence>: one that
	// a provider does not take at the moment holds up no other.
	targetPush = "push"
)

// deliver leaves a stored event in the outbox for every sink that wants it. The rows name the event
// and do not carry it: the sink reads it where it is stored, and where the webhook is then.
func (d *draft) deliver(e *eventv1.Event) {
	wants := func(s nodev1.Sink) bool { return d.cmd.Sinks&uint32(s) != 0 }
	if wants(nodev1.Sink_SINK_WEBHOOK) {
		d.sink(nodev1.Kind_KIND_WEBHOOK, targetEventURL, e.Sequence)
	}
	if c := d.view.meta.GetCallback(); c.GetUrl() != "" && masked(c.GetEventMask(), e.Type) {
		d.sink(nodev1.Kind_KIND_WEBHOOK, TargetCallback, e.Sequence)
	}
	if wants(nodev1.Sink_SINK_PUSH) && pushed(e.Type) {
		d.sink(nodev1.Kind_KIND_PUSH, targetPush+"/"+strconv.FormatUint(e.Sequence, 10), e.Sequence)
	}
}

func (d *draft) sink(kind nodev1.Kind, target string, sequence uint64) {
	d.outbox = append(d.outbox, &nodev1.OutboxRow{
		TargetKind: kind, ApplicationId: d.entity.Application, TargetId: target, SourceId: d.entity.ID, CreatedMs: d.now,
		Command: &nodev1.Command{Body: &nodev1.Command_DeliverEvent{DeliverEvent: &nodev1.DeliverEvent{Sequence: sequence}}},
	})
}

// pushed says whether an event may be shown on the devices of members that are away. A message of the
// newer clients is when it is a text or an image, which the sink looks at.
func pushed(eventType string) bool {
	switch eventType {
	case typeText, typeImage, typeMessage, typeInvited:
		return true
	}
	return false
}

// masked says whether an event mask lets a type pass: it lists types, separated by commas; one that
// ends in * stands for all that begin like it. An empty mask lets all pass.
func masked(mask, eventType string) bool {
	if strings.TrimSpace(mask) == "" {
		return true
	}
	for wanted := range strings.SplitSeq(mask, ",") {
		wanted = strings.TrimSpace(wanted)
		if prefix, glob := strings.CutSuffix(wanted, "*"); wanted == eventType || glob && strings.HasPrefix(eventType, prefix) {
			return true
		}
	}
	return false
}
