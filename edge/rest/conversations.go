package rest

import (
	"cmp"
	"context"

	actor "parley/actors/conversation"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// Limits of names and links, in characters.
const (
	nameMax        = actor.NameCharactersMax
	displayNameMax = actor.DisplayNameCharactersMax
	imageURLMax    = actor.ImageURLCharactersMax
	shortTextMax   = 200 // type, custom_sort_key, event_mask entries and the like
)

// conversationBody is what a conversation may be given.
type conversationBody struct {
	Name        string                  `json:"name,omitempty" maxLength:"100" doc:"Unique in the application; generated if absent."`
	DisplayName string                  `json:"display_name,omitempty" maxLength:"50"`
	ImageURL    string                  `json:"image_url,omitempty" maxLength:"2048" format:"uri"`
	Properties  *conversationProperties `json:"properties,omitempty"`
	Numbers     numbers                 `json:"numbers,omitempty"`
	Callback    *callbackBody           `json:"callback,omitempty" doc:"A webhook of this conversation; never told again."`
}

type callbackBody struct {
	URL       string `json:"url,omitempty" format:"uri"`
	EventMask string `json:"event_mask,omitempty" doc:"Event types with commas between; all if absent."`
	Method    string `json:"method,omitempty" enum:"POST,GET"`
	Params    object `json:"params,omitempty"`
}

// readConversation reads a conversation body. Absent members are nil, so that an update leaves
// them alone. v1 takes no unknown members.
func readConversation(c *call) (*nodev1.UpdateConversation, error) {
	in := c.body
	u := &nodev1.UpdateConversation{
		Name: in.text("name", nameMax), DisplayName: in.anyText("display_name", displayNameMax), ImageUrl: in.uri("image_url", imageURLMax),
	}
	if c.generation.strict && u.DisplayName != nil && *u.DisplayName == "" {
		in.fault("display_name", "is not allowed to be empty")
	}
	u.Properties = readProperties(c, in.object("properties"))
	u.Numbers = readNumbers(in)
	u.Callback = c.readCallback(in.object("callback"))
	for _, name := range toldOnly {
		in.get(name)
	}
	if c.generation.strict {
		in.closed()
	}
	return u, c.faults.err()
}

// toldOnly are the members of a conversation that can not be given. They are ignored: the server
// SDKs send back what they have read when they change something in it.
var toldOnly = []string{"id", "state", "sequence_number", "timestamp", "media_state", "_embedded", "_links"}

func readProperties(c *call, in *input) *eventv1.Properties {
	if in == nil {
		return nil
	}
	p := &eventv1.Properties{
		Type: value(in.anyText("type", shortTextMax)), CustomSortKey: value(in.anyText("custom_sort_key", shortTextMax)),
		CustomData: in.raw("custom_data"),
	}
	if ttl := in.number("ttl"); ttl != nil {
		p.Ttl, p.HasTtl = *ttl, true
		if *ttl < 0 {
			in.fault("ttl", "must be greater than or equal to 0")
		} else if *ttl != float64(int64(*ttl)) {
			in.fault("ttl", "must be an integer")
		}
	}
	if c.generation.strict {
		in.closed()
	}
	return p
}

// readNumbers takes what generations have had here: an object by kind, or a list.
func readNumbers(in *input) []byte {
	raw := in.get("numbers")
	if raw != nil && raw[0] != '{' && raw[0] != '[' {
		in.fault("numbers", "must be an object or an array")
	}
	return raw
}

func (c *call) readCallback(in *input) *eventv1.Callback {
	if in == nil {
		return nil
	}
	address := value(in.uri("url", imageURLMax))
	c.checkTarget(in, "url", address)
	return &eventv1.Callback{
		Url: address, EventMask: value(in.anyText("event_mask", 0)),
		Method: in.choice("method", "POST", "GET"), Params: in.raw("params"),
	}
}

// makeConversation creates what the body says, in any generation.
func (h *Handler) makeConversation(ctx context.Context, c *call) (*eventv1.Conversation, *eventv1.Head, error) {
	u, err := readConversation(c)
	if err != nil {
		return nil, nil, err
	}
	return h.Cluster.CreateConversation(ctx, c.who, c.key, &eventv1.Conversation{
		Name: u.GetName(), DisplayName: u.GetDisplayName(), ImageUrl: u.GetImageUrl(),
		Properties: u.Properties, Numbers: u.Numbers, Callback: u.Callback,
	})
}

// changeConversation updates what the body says, in any generation.
func (h *Handler) changeConversation(ctx context.Context, c *call) (*eventv1.Conversation, *eventv1.Head, error) {
	u, err := readConversation(c)
	if err != nil {
		return nil, nil, err
	}
	conv, err := h.conversationID(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	if c.request.Method == patch && u.Properties != nil {
		r, err := h.Cluster.GetConversation(ctx, c.who, conv, false)
		if err != nil {
			return nil, nil, err
		}
		complete(u.Properties, r.Conversation.GetProperties())
	}
	return h.Cluster.UpdateConversation(ctx, c.who, conv, u)
}

// complete fills what p leaves out from the present properties: a PATCH changes what it names, a
// PUT replaces the properties as a whole.
func complete(p, present *eventv1.Properties) {
	p.Type, p.CustomSortKey = cmp.Or(p.Type, present.GetType()), cmp.Or(p.CustomSortKey, present.GetCustomSortKey())
	if len(p.CustomData) == 0 {
		p.CustomData = present.GetCustomData()
	}
	if !p.HasTtl {
		p.Ttl, p.HasTtl = present.GetTtl(), present.GetHasTtl()
	}
}

// conversationID is the conversation of the path. The first generations also take its name.
func (h *Handler) conversationID(ctx context.Context, c *call) (string, error) {
	given := c.parameters["conversation"]
	if _, err := id.Parse(id.Conversation, given); err == nil {
		return given, nil
	}
	if c.generation.byName {
		return h.Cluster.ResolveConversation(ctx, c.who, given)
	}
	return "", actor.NotFound()
}

func (h *Handler) createConversation(ctx context.Context, c *call) (any, error) {
	k, head, err := h.makeConversation(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.conversation(k, head), nil
}

func (h *Handler) getConversation(ctx context.Context, c *call) (any, error) {
	conv, err := h.conversationID(ctx, c)
	if err != nil {
		return nil, err
	}
	r, err := h.Cluster.GetConversation(ctx, c.who, conv, false)
	if err != nil {
		return nil, err
	}
	return c.conversation(r.Conversation, orZero(r.Head)), nil
}

// orZero is the head of a conversation without events.
func orZero(head *eventv1.Head) *eventv1.Head {
	if head == nil {
		return &eventv1.Head{}
	}
	return head
}

func (h *Handler) updateConversation(ctx context.Context, c *call) (any, error) {
	k, head, err := h.changeConversation(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.conversation(k, orZero(head)), nil
}

func (h *Handler) deleteConversation(ctx context.Context, c *call) (any, error) {
	conv, err := h.conversationID(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, h.Cluster.DeleteConversation(ctx, c.who, conv)
}

func (h *Handler) listConversations(ctx context.Context, c *call) (any, error) {
	l, err := h.pageConversations(ctx, c)
	if err != nil {
		return nil, err
	}
	items := each(l.Conversations, func(k *eventv1.Conversation) conversation { return c.conversation(k, nil) })
	return page[conversationsOf]{l.size, conversationsOf{items}, l.links}, nil
}
