package conversation

import (
	"bytes"
	"math"

	"google.golang.org/protobuf/proto"

	"parley/actors/conversation/document"
	"parley/actors/name"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

const (
	stateActive  = eventv1.ConversationState_CONVERSATION_STATE_ACTIVE
	stateDeleted = eventv1.ConversationState_CONVERSATION_STATE_DELETED
	stateNever   = eventv1.ConversationState_CONVERSATION_STATE_NEVER
)

// create makes the conversation, or gives the one that the same request made before.
func (d *draft) create(wanted *eventv1.Conversation) (*nodev1.Reply, error) {
	if d.view.meta != nil {
		return d.created(wanted)
	}
	if err := CheckProfile(wanted); err != nil {
		return nil, err
	}
	meta := proto.CloneOf(wanted)
	meta.ApplicationId, meta.Id, meta.State = d.entity.Application, d.entity.ID, stateActive
	meta.CreatedMs, meta.UpdatedMs, meta.DeletedMs, meta.NameFence = d.now, d.now, 0, 0
	meta.CreatorUser = d.creator()
	d.change(metadataChanged{meta}, listed{meta.CreatedMs})
	d.confirm(meta)
	return &nodev1.Reply{Conversation: meta, Head: d.head.message()}, nil
}

// created answers a creation that meets something under its id. Ids are derived from application,
// creator and key, so that only a repetition can meet a living conversation. One that was given up
// is shown as it is: whoever asks goes on under the next id.
func (d *draft) created(wanted *eventv1.Conversation) (*nodev1.Reply, error) {
	meta := d.view.meta
	switch {
	case meta.State == stateNever:
		return &nodev1.Reply{Conversation: meta}, nil
	case meta.State == stateDeleted:
		return nil, code.New(code.IdempotencyConflict,
			"the conversation that this key made has been deleted; use a new key for a new one")
	case meta.IdempotencyKey != wanted.GetIdempotencyKey() || meta.CreatorUser != d.creator():
		return nil, code.New(code.IdempotencyConflict, "another request has made this conversation")
	}
	return &nodev1.Reply{Conversation: meta, Head: d.head.message(), Duplicate: true}, nil
}

func (d *draft) creator() string {
	if d.admin() {
		return ""
	}
	return d.cmd.GetPrincipal().GetUserId()
}

// probe answers whether the conversation exists. One that was never heard of never will: the
// name that waits for it is free from now on. So is a name that waits for its renaming: the fence
// rises to the reservation's token, and the renaming is refused should it still come.
func (d *draft) probe(p *nodev1.Probe) (*nodev1.Reply, error) {
	if d.view.meta == nil {
		never := &eventv1.Conversation{
			ApplicationId: d.entity.Application, Id: d.entity.ID, State: stateNever, DeletedMs: d.now, NameFence: p.Token,
		}
		d.change(metadataChanged{never})
		return &nodev1.Reply{Conversation: never}, nil
	}
	meta := d.view.meta
	if meta.State != stateDeleted && p.Name != "" && p.Name != meta.Name && p.Token > meta.NameFence {
		meta = proto.CloneOf(meta)
		meta.NameFence = p.Token
		d.change(metadataChanged{meta})
	}
	return &nodev1.Reply{Conversation: meta, Head: d.head.message(), Exists: BearsName(meta)}, nil
}

// BearsName says whether c bears its name: it is in use, or being imported.
func BearsName(c *eventv1.Conversation) bool {
	return c.GetState() == stateActive || c.GetState() == stateImporting
}

// update replaces what the command brings. A new name has been reserved before.
func (d *draft) update(u *nodev1.UpdateConversation) (*nodev1.Reply, error) {
	if err := d.mustOwn("change"); err != nil {
		return nil, err
	}
	old := d.view.meta
	meta := proto.CloneOf(old)
	merge(meta, u)
	renamed := meta.Name != old.Name
	if err := checkProfile(meta, renamed); err != nil {
		return nil, err
	}
	if renamed && u.NameToken <= old.NameFence {
		return nil, code.New(code.Unavailable, "the conversation's name was changed or given up by another request; try again")
	}
	if proto.Equal(meta, old) {
		return &nodev1.Reply{Conversation: old, Head: d.head.message()}, nil
	}
	meta.UpdatedMs = max(d.now, old.UpdatedMs)
	d.change(metadataChanged{meta})
	if renamed {
		meta.NameFence = u.NameToken
		d.confirm(meta)
		d.release(old.Name, meta.NameFence)
	}
	return &nodev1.Reply{Conversation: meta, Head: d.head.message()}, nil
}

func merge(meta *eventv1.Conversation, u *nodev1.UpdateConversation) {
	if u.Name != nil {
		meta.Name = *u.Name
	}
	if u.DisplayName != nil {
		meta.DisplayName = *u.DisplayName
	}
	if u.ImageUrl != nil {
		meta.ImageUrl = *u.ImageUrl
	}
	if u.Properties != nil {
		meta.Properties = u.Properties
	}
	if len(u.Numbers) > 0 {
		meta.Numbers = u.Numbers
	}
	if u.Callback != nil {
		meta.Callback = u.Callback
	}
}

// remove leaves a tombstone at once; the members are told and the rows dropped step by step.
func (d *draft) remove() (*nodev1.Reply, error) {
	if err := d.mustOwn("delete"); err != nil {
		return nil, err
	}
	old := d.view.meta
	tombstone := &eventv1.Conversation{
		ApplicationId: old.ApplicationId, Id: old.Id, State: stateDeleted,
		CreatedMs: old.CreatedMs, DeletedMs: max(d.now, d.head.timestampMs),
		CreatorUser: old.CreatorUser, IdempotencyKey: old.IdempotencyKey,
	}
	d.change(metadataChanged{tombstone}, unlisted{old.CreatedMs})
	d.release(old.Name, math.MaxUint64)
	d.sendPurge(0)
	d.tell(&nodev1.Fanout{Body: &nodev1.Fanout_Deleted{Deleted: true}})
	return &nodev1.Reply{Conversation: tombstone, Head: d.head.message()}, nil
}

func (d *draft) confirm(meta *eventv1.Conversation) {
	d.send(nodev1.Kind_KIND_NAME, nameEntity(meta.Name),
		&nodev1.Command{Body: &nodev1.Command_ConfirmName{ConfirmName: &nodev1.ConfirmName{OwnerId: meta.Id, Token: meta.NameFence}}})
}

// release gives up the reservations of a name up to a token.
func (d *draft) release(name string, token uint64) {
	d.send(nodev1.Kind_KIND_NAME, nameEntity(name),
		&nodev1.Command{Body: &nodev1.Command_ReleaseName{ReleaseName: &nodev1.ReleaseName{OwnerId: d.entity.ID, Token: token}}})
}

func (d *draft) sendPurge(after uint64) {
	d.send(nodev1.Kind_KIND_CONVERSATION, d.entity.ID,
		&nodev1.Command{Body: &nodev1.Command_PurgeConversation{PurgeConversation: &nodev1.PurgeConversation{After: after}}})
}

// purge is one step of a deletion: it tells the next members' users, and drops all rows after the
// last. Repeating a step tells the same users again, which changes nothing for them.
func (d *draft) purge(after uint64) (*nodev1.Reply, error) {
	if d.view.meta.GetState() != stateDeleted {
		return &nodev1.Reply{}, nil
	}
	for _, m := range d.view.purge {
		d.send(nodev1.Kind_KIND_USER, m.User.GetUserId(), d.index(m, nil))
	}
	if last := after + PurgeMembersMax; last < d.head.members {
		d.sendPurge(last)
		return &nodev1.Reply{}, nil
	}
	d.change(rowsPurged{})
	return &nodev1.Reply{}, nil
}

func nameEntity(of string) string { return name.EntityID(name.OfConversation, of) }

// CheckProfile checks what a caller may set of a conversation; its errors are code.ValidationFail.
// Who is about to reserve a name for a conversation asks it first.
func CheckProfile(c *eventv1.Conversation) error { return checkProfile(c, true) }

// checkProfile is CheckProfile. A name that is not new may have what a new one may not: older versions took it.
func checkProfile(c *eventv1.Conversation, named bool) error {
	if c.GetName() == "" {
		return code.Invalid("name", "is not allowed to be empty")
	}
	if err := document.CheckName(c.Name, NameCharactersMax); named && err != nil {
		return code.Invalid("name", err.Error())
	}
	for _, f := range []struct {
		field, value string
		max          int
	}{
		{"display_name", c.DisplayName, DisplayNameCharactersMax},
		{"image_url", c.ImageUrl, ImageURLCharactersMax},
		{"properties.type", c.GetProperties().GetType(), NameCharactersMax},
		{"properties.custom_sort_key", c.GetProperties().GetCustomSortKey(), NameCharactersMax},
		{"callback.url", c.GetCallback().GetUrl(), ImageURLCharactersMax},
		{"callback.event_mask", c.GetCallback().GetEventMask(), ObjectBytesMax},
		{"callback.method", c.GetCallback().GetMethod(), NameCharactersMax},
		{"idempotency_key", c.IdempotencyKey, ClientIDBytesMax},
	} {
		if err := document.CheckText(f.value, f.max); err != nil {
			return code.Invalid(f.field, err.Error())
		}
	}
	for _, f := range []struct {
		field string
		value []byte
	}{
		{"properties.custom_data", c.GetProperties().GetCustomData()},
		{"callback.params", c.GetCallback().GetParams()},
	} {
		if err := checkObject(f.field, f.value); err != nil {
			return err
		}
	}
	if err := checkNumbers(c.Numbers); err != nil {
		return err
	}
	if ttl := c.GetProperties().GetTtl(); !(ttl >= 0) {
		return code.Invalid("properties.ttl", "must be greater than or equal to 0")
	}
	return nil
}

// checkNumbers checks the optional numbers: an object in the first generation, an array since.
func checkNumbers(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	wrapped := append(append([]byte(`{"numbers":`), b...), '}')
	raw := document.Fields(wrapped)["numbers"]
	whole := bytes.Equal(raw, bytes.TrimSpace(b)) // one value, not the end of this object and more
	if document.Check(wrapped, ObjectBytesMax) != nil || !whole || !document.IsObject(raw) && !document.IsArray(raw) {
		return code.Invalid("numbers", "must be an object or an array")
	}
	return nil
}

// checkObject checks an optional JSON object.
func checkObject(field string, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := document.Check(b, ObjectBytesMax); err != nil {
		return code.Invalid(field, err.Error())
	}
	return nil
}
