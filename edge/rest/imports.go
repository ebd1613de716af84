package rest

import (
	"context"
	"encoding/json"
	"fmt"
	"sort"
	"strings"

	actor "parley/actors/conversation"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// An import brings in what another service has had, with its ids, times and order (docs/migrate.md).
// Every call may be repeated; none of them is a user's.

func (h *Handler) importRows() []operation {
	const one = "/import/conversations/{conversation}"
	return []operation{
		{v1, put, "/import/users/{user}", "importUser", "Make a user under the id that it had elsewhere.", bearer, true,
			nil, importedUser{}, ok, user{}, h.importUser},
		{v1, put, one, "importConversation", "Make a conversation under the id that it had elsewhere. Nobody sees it before its import is finished.", bearer, true,
			nil, importedConversation{}, ok, importState{}, h.importConversation},
		{v1, post, one + "/members", "importMembers", "Append members as they were, up to 100, in the order in which they came.", bearer, true,
			nil, importedMembers{}, ok, importState{}, h.importMembers},
		{v1, post, one + "/events", "importEvents", "Append events as they happened, up to 100; the first follows the last one that is there.", bearer, true,
			nil, importedEvents{}, ok, importState{}, h.importEvents},
		{v1, post, one + "/finish", "finishImport", "Let an imported conversation be seen, if it has as many events and members as the body says.", bearer, true,
			nil, importFinished{}, ok, importState{}, h.finishImport},
	}
}

type importedUser struct {
	userBody
	Timestamp stamps `json:"timestamp"`
}

type importedConversation struct {
	conversationBody
	Timestamp stamps `json:"timestamp"`
}

type importedMembers struct {
	Members []importedMember `json:"members" maxItems:"100"`
}

type importedMember struct {
	ID               string         `json:"id" example:"MEM-63f61863-4a51-4f6b-86e1-46ede5b10391"`
	State            string         `json:"state" enum:"INVITED,JOINED,LEFT"`
	User             memberNamed    `json:"user" doc:"By id; the name counts for a member that left and whose user is gone."`
	Channel          object         `json:"channel,omitempty"`
	Media            object         `json:"media,omitempty"`
	KnockingID       string         `json:"knocking_id,omitempty"`
	InvitedBy        string         `json:"invited_by,omitempty"`
	MemberIDInviting string         `json:"member_id_inviting,omitempty"`
	Reason           object         `json:"reason,omitempty"`
	Timestamp        importedStates `json:"timestamp"`
}

type importedStates struct {
	Invited string `json:"invited,omitempty"`
	Joined  string `json:"joined,omitempty"`
	Left    string `json:"left,omitempty"`
}

type importedEvents struct {
	Events []importedEvent `json:"events" maxItems:"100"`
}

type importedEvent struct {
	ID        uint64         `json:"id"`
	Type      string         `json:"type"`
	From      string         `json:"from,omitempty"`
	To        string         `json:"to,omitempty"`
	Body      object         `json:"body,omitempty"`
	Timestamp string         `json:"timestamp"`
	Deleted   string         `json:"deleted,omitempty" doc:"When it was deleted."`
	State     importedStatus `json:"state"`
}

type importedStatus struct {
	DeliveredTo map[string]string `json:"delivered_to,omitempty" doc:"When each member received it."`
	SeenBy      map[string]string `json:"seen_by,omitempty" doc:"When each member read it."`
}

type importFinished struct {
	SequenceNumber uint64 `json:"sequence_number"`
	Members        uint64 `json:"members"`
}

// importState is how far an import is.
type importState struct {
	ID             string `json:"id"`
	State          string `json:"state" enum:"IMPORTING,ACTIVE"`
	SequenceNumber uint64 `json:"sequence_number"`
	Members        uint64 `json:"members"`
}

func (h *Handler) importUser(ctx context.Context, c *call) (any, error) {
	in := c.body.object("timestamp")
	u, err := readUser(c)
	if err != nil {
		return nil, err
	}
	made, updated := in.moment("created"), in.moment("updated")
	c.body.required("name", u.Name != nil)
	if err := c.faults.err(); err != nil {
		return nil, err
	}
	found, err := h.Cluster.ImportUser(ctx, c.who, &eventv1.User{
		Id: c.parameters["user"], Name: u.GetName(), DisplayName: u.GetDisplayName(), ImageUrl: u.GetImageUrl(),
		Properties: u.Properties, Channels: u.Channels, CreatedMs: made, UpdatedMs: updated,
	})
	if err != nil {
		return nil, err
	}
	return c.user(found), nil
}

func (h *Handler) importConversation(ctx context.Context, c *call) (any, error) {
	in := c.body.object("timestamp")
	u, err := readConversation(c)
	if err != nil {
		return nil, err
	}
	made, updated := in.moment("created"), in.moment("updated")
	c.body.required("name", u.Name != nil)
	if err := c.faults.err(); err != nil {
		return nil, err
	}
	return imported(h.Cluster.ImportConversation(ctx, c.who, &eventv1.Conversation{
		Id: c.parameters["conversation"], Name: u.GetName(), DisplayName: u.GetDisplayName(), ImageUrl: u.GetImageUrl(),
		Properties: u.Properties, Numbers: u.Numbers, Callback: u.Callback, CreatedMs: made, UpdatedMs: updated,
	}))
}

func imported(r *nodev1.Reply, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	state := "ACTIVE"
	if r.GetConversation().GetState() == eventv1.ConversationState_CONVERSATION_STATE_IMPORTING {
		state = "IMPORTING"
	}
	return importState{r.GetConversation().GetId(), state, r.GetHead().GetSequence(), r.GetHead().GetMembers()}, nil
}

// readImported reads a body that is one list of at most most things.
func readImported[T any](c *call, name string, most int, read func(*input) T) ([]T, error) {
	var all []T
	for _, in := range c.body.objects(name, most) {
		all = append(all, read(in))
	}
	c.body.closed()
	return all, c.faults.err()
}

func (h *Handler) importMembers(ctx context.Context, c *call) (any, error) {
	members, err := readImported(c, "members", actor.ImportMembersMax, readImportedMember)
	if err != nil {
		return nil, err
	}
	return imported(h.Cluster.ImportMembers(ctx, c.who, c.parameters["conversation"], members))
}

func readImportedMember(in *input) *eventv1.Member {
	m := &eventv1.Member{
		Id: value(in.text("id", idMax)), Channel: in.raw("channel"), Media: in.raw("media"), Reason: in.raw("reason"),
		KnockingId: value(in.anyText("knocking_id", idMax)), InvitedBy: value(in.anyText("invited_by", nameMax)),
		MemberIdInviting: value(in.anyText("member_id_inviting", idMax)),
	}
	wanted := in.choice("state", "INVITED", "JOINED", "LEFT")
	for state, name := range memberStates {
		if name == wanted && wanted != "" {
			m.State = state
		}
	}
	user, times := in.object("user"), in.object("timestamp")
	m.User = &eventv1.Author{
		UserId: value(user.text("id", idMax)), Name: value(user.anyText("name", nameMax)),
		DisplayName: value(user.anyText("display_name", displayNameMax)),
	}
	m.InvitedMs, m.JoinedMs, m.LeftMs = times.moment("invited"), times.moment("joined"), times.moment("left")
	in.required("id", m.Id != "")
	in.required("state", m.State != 0)
	in.required("user", user != nil)
	return m
}

func (h *Handler) importEvents(ctx context.Context, c *call) (any, error) {
	events, err := readImported(c, "events", actor.ImportEventsMax, readImportedEvent)
	if err != nil {
		return nil, err
	}
	return imported(h.Cluster.ImportEvents(ctx, c.who, c.parameters["conversation"], events))
}

func readImportedEvent(in *input) *nodev1.ImportedEvent {
	e := &eventv1.Event{
		Type: value(in.text("type", typeMax)), FromMember: value(in.anyText("from", idMax)), To: value(in.anyText("to", idMax)),
		Body: in.raw("body"), TimestampMs: in.moment("timestamp"), DeletedMs: in.moment("deleted"),
	}
	if n := in.whole("id", 1, lastSequence); n != nil {
		e.Sequence = uint64(*n)
	}
	in.required("id", e.Sequence != 0)
	in.required("type", e.Type != "")
	in.required("timestamp", e.TimestampMs != 0)
	if e.DeletedMs != 0 {
		e.Body = nil
	}
	return &nodev1.ImportedEvent{Event: e, Receipts: readReceipts(in.object("state"))}
}

// readReceipts joins what an event's state says of each member, in the order of their ids.
func readReceipts(in *input) []*eventv1.Receipt {
	if in == nil {
		return nil
	}
	all := map[string]*eventv1.Receipt{}
	of := func(member string) *eventv1.Receipt {
		if all[member] == nil {
			all[member] = &eventv1.Receipt{MemberId: member}
		}
		return all[member]
	}
	if to := in.object("delivered_to"); to != nil {
		for member := range to.members {
			of(member).DeliveredMs = to.moment(member)
		}
	}
	if by := in.object("seen_by"); by != nil {
		for member := range by.members {
			of(member).SeenMs = by.moment(member)
		}
	}
	receipts := make([]*eventv1.Receipt, 0, len(all))
	for _, r := range all {
		receipts = append(receipts, r)
	}
	sort.Slice(receipts, func(i, j int) bool { return strings.Compare(receipts[i].MemberId, receipts[j].MemberId) < 0 })
	return receipts
}

func (h *Handler) finishImport(ctx context.Context, c *call) (any, error) {
	sequence, members := c.body.whole("sequence_number", 0, lastSequence), c.body.whole("members", 0, lastSequence)
	c.body.required("sequence_number", sequence != nil)
	c.body.required("members", members != nil)
	c.body.closed()
	if err := c.faults.err(); err != nil {
		return nil, err
	}
	return imported(h.Cluster.FinishImport(ctx, c.who, c.parameters["conversation"],
		&nodev1.FinishImport{Sequence: uint64(*sequence), Members: uint64(*members)}))
}

// objects gives a needed list of at most most objects.
func (in *input) objects(name string, most int) []*input {
	var raw []json.RawMessage
	given := in.get(name)
	if given == nil {
		in.fault(name, "is required")
		return nil
	}
	if json.Unmarshal(given, &raw) != nil {
		in.fault(name, "must be an array")
		return nil
	}
	if len(raw) > most {
		in.fault(name, "must contain less than or equal to %d items", most)
		return nil
	}
	all := make([]*input, 0, len(raw))
	for i, one := range raw {
		inner := &input{at: fmt.Sprintf("%s%s[%d].", in.at, name, i), asked: make(map[string]bool), lenient: in.lenient, faults: in.faults}
		if json.Unmarshal(one, &inner.members) != nil || inner.members == nil {
			in.fault(fmt.Sprintf("%s[%d]", name, i), "must be of type object")
			continue
		}
		all = append(all, inner)
	}
	return all
}
