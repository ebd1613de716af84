package rest

import (
	"encoding/json"

	"github.com/danielgtaylor/huma/v2"
)

// object is a free JSON object, passed on as it is.
type object json.RawMessage

// MarshalJSON implements json.Marshaler. Nothing is an empty object.
func (o object) MarshalJSON() ([]byte, error) {
	if len(o) == 0 {
		return []byte("{}"), nil
	}
	return o, nil
}

// Schema implements huma.SchemaProvider.
func (object) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// numbers are a conversation's phone numbers: an object by kind, or a list.
type numbers json.RawMessage

// MarshalJSON implements json.Marshaler. Nothing is an empty object.
func (n numbers) MarshalJSON() ([]byte, error) { return object(n).MarshalJSON() }

// Schema implements huma.SchemaProvider.
func (numbers) Schema(huma.Registry) *huma.Schema {
	free := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
	return &huma.Schema{OneOf: []*huma.Schema{free, {Type: huma.TypeArray, Items: free}}}
}

type link struct {
	Href string `json:"href" format:"uri"`
}

type selfLink struct {
	Self link `json:"self"`
}

type pageLinks struct {
	First link  `json:"first"`
	Self  link  `json:"self"`
	Next  *link `json:"next,omitempty" doc:"Absent on the last page."`
	Prev  *link `json:"prev,omitempty" doc:"Absent on the first page."`
}

// page is one page of a list.
type page[E any] struct {
	PageSize int       `json:"page_size"`
	Embedded E         `json:"_embedded"`
	Links    pageLinks `json:"_links"`
}

// stamps are the times of a thing: ISO 8601, UTC, milliseconds.
type stamps struct {
	Created   string `json:"created,omitempty"`
	Updated   string `json:"updated,omitempty"`
	Destroyed string `json:"destroyed,omitempty"`
}

type conversationProperties struct {
	TTL           *float64 `json:"ttl,omitempty" nullable:"false" doc:"Seconds."`
	Type          string   `json:"type,omitempty"`
	CustomSortKey string   `json:"custom_sort_key,omitempty"`
	CustomData    object   `json:"custom_data,omitempty"`
}

type mediaState struct {
	Earmuff      bool `json:"earmuff"`
	Mute         bool `json:"mute"`
	PlayStream   bool `json:"play_stream"`
	Recording    bool `json:"recording"`
	Transcribing bool `json:"transcribing"`
	TTS          bool `json:"tts"`
}

// conversationCore is what the generations with pages tell of a conversation alike.
type conversationCore struct {
	ID             string                 `json:"id" example:"CON-d66d47de-5bcb-4300-94f0-0c9d4b948e9a"`
	Name           string                 `json:"name"`
	DisplayName    string                 `json:"display_name,omitempty"`
	ImageURL       string                 `json:"image_url,omitempty"`
	State          string                 `json:"state" enum:"ACTIVE,INACTIVE,DELETED"`
	SequenceNumber *uint64                `json:"sequence_number,omitempty" nullable:"false" doc:"The id of the last event; absent in lists of the application's conversations."`
	Timestamp      stamps                 `json:"timestamp"`
	Properties     conversationProperties `json:"properties"`
	Numbers        numbers                `json:"numbers"`
	Links          selfLink               `json:"_links"`
}

// conversation as v1 tells it.
type conversation struct {
	conversationCore
	MediaState mediaState    `json:"media_state"`
	Embedded   *membershipOf `json:"_embedded,omitempty" doc:"In a user's list: the user's membership."`
}

type membershipOf struct {
	ID    string `json:"id" example:"MEM-63f61863-4a51-4f6b-86e1-46ede5b10391"`
	State string `json:"state" enum:"INVITED,JOINED,LEFT"`
}

type conversationsOf struct {
	Conversations []conversation `json:"conversations"`
}

// user as v1 tells it. Properties and channels are told to administrators and to the user itself.
type user struct {
	ID          string   `json:"id" example:"USR-82e028d9-5201-4f1e-8188-604b2d3471ec"`
	Name        string   `json:"name"`
	DisplayName string   `json:"display_name,omitempty"`
	ImageURL    string   `json:"image_url,omitempty"`
	Properties  object   `json:"properties,omitempty"`
	Channels    object   `json:"channels,omitempty"`
	Links       selfLink `json:"_links"`
}

type usersOf struct {
	Users []user `json:"users"`
}

type memberUser struct {
	ID          string   `json:"id"`
	Name        string   `json:"name"`
	DisplayName string   `json:"display_name,omitempty"`
	ImageURL    string   `json:"image_url,omitempty"`
	Links       selfLink `json:"_links"`
}

type memberStamps struct {
	Invited string `json:"invited,omitempty"`
	Joined  string `json:"joined,omitempty"`
	Left    string `json:"left,omitempty"`
}

type initiator struct {
	IsSystem bool   `json:"is_system"`
	UserID   string `json:"user_id,omitempty"`
	MemberID string `json:"member_id,omitempty"`
}

type initiators struct {
	Invited *initiator `json:"invited,omitempty"`
	Joined  *initiator `json:"joined,omitempty"`
}

// memberCore is what the generations with pages tell of a member alike.
type memberCore struct {
	ID               string         `json:"id" example:"MEM-63f61863-4a51-4f6b-86e1-46ede5b10391"`
	ConversationID   string         `json:"conversation_id"`
	Embedded         memberEmbedded `json:"_embedded"`
	State            string         `json:"state" enum:"INVITED,JOINED,LEFT"`
	Timestamp        memberStamps   `json:"timestamp"`
	Channel          object         `json:"channel"`
	Media            object         `json:"media"`
	KnockingID       string         `json:"knocking_id,omitempty"`
	InvitedBy        string         `json:"invited_by,omitempty"`
	MemberIDInviting string         `json:"member_id_inviting,omitempty"`
	Reason           *object        `json:"reason,omitempty" doc:"Why the member left, if it was said."`
	Links            selfLink       `json:"_links"`
}

// member as v1 tells it.
type member struct {
	memberCore
	Initiator initiators `json:"initiator"`
}

type memberEmbedded struct {
	User memberUser `json:"user"`
}

type membersOf struct {
	Members []member `json:"members"`
}

type eventUser struct {
	ID          string  `json:"id"`
	Name        string  `json:"name"`
	DisplayName string  `json:"display_name,omitempty"`
	ImageURL    string  `json:"image_url,omitempty"`
	CustomData  *object `json:"custom_data,omitempty"`
}

type eventMember struct {
	ID string `json:"id"`
}

type eventEmbedded struct {
	FromUser   *eventUser   `json:"from_user,omitempty"`
	FromMember *eventMember `json:"from_member,omitempty"`
}

// receipts are who has an event, and when: member id to time.
type receipts struct {
	DeliveredTo map[string]string `json:"delivered_to"`
	SeenBy      map[string]string `json:"seen_by"`
}

// event as the generations with pages tell it.
type event struct {
	ID             uint64        `json:"id" doc:"The event's place in its conversation, from 1 without a hole."`
	ConversationID string        `json:"conversation_id,omitempty" doc:"Not in v1."`
	Type           string        `json:"type" example:"text"`
	From           string        `json:"from,omitempty" doc:"The member that sent it."`
	To             string        `json:"to,omitempty"`
	Body           object        `json:"body"`
	State          *receipts     `json:"state,omitempty"`
	Timestamp      string        `json:"timestamp"`
	Embedded       eventEmbedded `json:"_embedded"`
	Links          selfLink      `json:"_links"`
}

// relayed answers a post that is not stored: it has no id.
type relayed struct {
	Timestamp string `json:"timestamp"`
}

type eventsOf struct {
	Events []event `json:"events"`
}

type session struct {
	ID         string            `json:"id" example:"SES-63f61863-4a51-4f6b-86e1-46ede5b10391"`
	Embedded   sessionEmbedded   `json:"_embedded"`
	Properties sessionProperties `json:"properties"`
	Links      selfLink          `json:"_links"`
}

type sessionEmbedded struct {
	User   memberUser `json:"user"`
	APIKey string     `json:"api_key" doc:"The application's id."`
}

type sessionProperties struct {
	TTL int `json:"ttl" doc:"Seconds that a lost connection may take to resume."`
}

type sessionsOf struct {
	Sessions []session `json:"sessions"`
}
