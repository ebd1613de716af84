package rest

// The shapes of the first generation: plain arrays, uuid for a conversation's id, and state maps.

type betaCreated struct {
	ID   string `json:"id"`
	Href string `json:"href" format:"uri"`
}

type betaNothing struct{}

type betaConversationItem struct {
	UUID  string   `json:"uuid"`
	Name  string   `json:"name"`
	Href  string   `json:"href" format:"uri"`
	Links selfLink `json:"_links"`
}

type betaConversationsOf struct {
	Conversations []betaConversationItem `json:"conversations"`
}

type betaConversations struct {
	Count       int                 `json:"count"`
	PageSize    int                 `json:"page_size"`
	RecordIndex int                 `json:"record_index"`
	Links       selfLink            `json:"_links"`
	Embedded    betaConversationsOf `json:"_embedded"`
}

type betaInitiator struct {
	IsSystem bool   `json:"isSystem,omitempty"`
	UserID   string `json:"user_id,omitempty"`
	MemberID string `json:"member_id,omitempty"`
}

type betaInitiators struct {
	Invited *betaInitiator `json:"invited,omitempty"`
	Joined  *betaInitiator `json:"joined,omitempty"`
}

// betaConversationMember is a member within a conversation; name is the user's.
type betaConversationMember struct {
	MemberID  string         `json:"member_id"`
	UserID    string         `json:"user_id"`
	Name      string         `json:"name"`
	State     string         `json:"state" enum:"INVITED,JOINED,LEFT"`
	Timestamp memberStamps   `json:"timestamp"`
	InvitedBy string         `json:"invited_by,omitempty"`
	Initiator betaInitiators `json:"initiator"`
	Channel   object         `json:"channel"`
	Media     object         `json:"media"`
}

type betaLegs struct {
	Legs betaLegLinks `json:"legs"`
}

type betaLegLinks struct {
	Links []object `json:"_links"`
}

type betaConversation struct {
	UUID           string                   `json:"uuid"`
	Name           string                   `json:"name"`
	DisplayName    string                   `json:"display_name"`
	ImageURL       string                   `json:"image_url"`
	Timestamp      stamps                   `json:"timestamp"`
	SequenceNumber uint64                   `json:"sequence_number"`
	Numbers        object                   `json:"numbers"`
	Properties     conversationProperties   `json:"properties"`
	Members        []betaConversationMember `json:"members"`
	APIKey         string                   `json:"api_key" doc:"The application's id."`
	Links          selfLink                 `json:"_links"`
	Embedded       betaLegs                 `json:"_embedded"`
}

// betaMemberItem is a row of the member list; its name is the member's id.
type betaMemberItem struct {
	UserID   string `json:"user_id"`
	Name     string `json:"name" doc:"The member's id, as this generation had it."`
	UserName string `json:"user_name"`
	State    string `json:"state" enum:"INVITED,JOINED,LEFT"`
}

type betaMember struct {
	ID        string         `json:"id"`
	UserID    string         `json:"user_id"`
	Name      string         `json:"name"`
	State     string         `json:"state" enum:"INVITED,JOINED,LEFT"`
	Timestamp memberStamps   `json:"timestamp"`
	Channel   object         `json:"channel"`
	Href      string         `json:"href" format:"uri"`
	Initiator betaInitiators `json:"initiator"`
}

type betaPosted struct {
	ID        uint64 `json:"id,omitempty" doc:"Absent for what is relayed and not stored."`
	Timestamp string `json:"timestamp"`
	Href      string `json:"href,omitempty"`
}

type betaState struct {
	DeliveredTo map[string]string `json:"delivered_to,omitempty"`
	SeenBy      map[string]string `json:"seen_by,omitempty"`
}

type betaEvent struct {
	ID             uint64    `json:"id"`
	Type           string    `json:"type"`
	ApplicationID  string    `json:"application_id,omitempty"`
	ConversationID string    `json:"conversation_id,omitempty"`
	From           string    `json:"from"`
	To             string    `json:"to"`
	Body           object    `json:"body"`
	State          betaState `json:"state"`
	Timestamp      string    `json:"timestamp"`
	Href           string    `json:"href" format:"uri"`
}

type betaUserItem struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Href string `json:"href" format:"uri"`
}

type betaUser struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Href        string `json:"href" format:"uri"`
	DisplayName string `json:"display_name"`
	ImageURL    string `json:"image_url"`
	Channels    object `json:"channels"`
	Properties  object `json:"properties"`
}

type betaUserConversation struct {
	ID             string `json:"id"`
	Name           string `json:"name"`
	DisplayName    string `json:"display_name"`
	ImageURL       string `json:"image_url"`
	Timestamp      stamps `json:"timestamp"`
	State          string `json:"state" enum:"INVITED,JOINED,LEFT"`
	MemberID       string `json:"member_id"`
	SequenceNumber uint64 `json:"sequence_number"`
	Href           string `json:"href" format:"uri"`
}

type betaMemberBody struct {
	Action           string `json:"action" enum:"invite,join,leave"`
	UserID           string `json:"user_id,omitempty"`
	UserName         string `json:"user_name,omitempty"`
	Channel          object `json:"channel,omitempty"`
	Media            object `json:"media,omitempty"`
	KnockingID       string `json:"knocking_id,omitempty"`
	MemberID         string `json:"member_id,omitempty" doc:"The invitation that is accepted."`
	MemberIDInviting string `json:"member_id_inviting,omitempty"`
}

type betaMemberPatch struct {
	Action  string `json:"action" enum:"join,leave"`
	Channel object `json:"channel,omitempty"`
}
