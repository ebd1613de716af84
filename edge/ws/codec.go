package ws

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"parley/edge/dialect"
	"parley/edge/limit"
	clientv1 "parley/proto/client/v1"
)

// codec is one subprotocol: how frames are read, and the dialect in which they are written.
type codec interface {
	dialect.Native
	// decode reads one message. An error closes the connection as malformed.
	decode(binary bool, payload []byte) (*clientv1.ClientFrame, error)
}

// errUnknownFrame says that a frame is well formed and not of this protocol; it is answered,
// because a newer client may send it.
var errUnknownFrame = errors.New("unknown frame")

// asks says whether a handshake offers one of the subprotocols.
func asks(r *http.Request, names []string) bool {
	for _, header := range r.Header.Values("Sec-WebSocket-Protocol") {
		for offered := range strings.SplitSeq(header, ",") {
			if slices.Contains(names, strings.TrimSpace(offered)) {
				return true
			}
		}
	}
	return false
}

// protoCodec is parley.v1.proto.
type protoCodec struct {
	dialect.Proto
	depth, members int
}

func (c protoCodec) decode(binary bool, payload []byte) (*clientv1.ClientFrame, error) {
	if !binary {
		return nil, errors.New("parley.v1.proto frames are binary messages")
	}
	f := &clientv1.ClientFrame{}
	// The standard decoder, because it checks that strings are UTF-8.
	if err := proto.Unmarshal(payload, f); err != nil {
		return nil, errors.New("not a ClientFrame of parley.client.v1")
	}
	if post := f.GetPost(); post != nil && len(post.Body) > 0 {
		if err := checkJSON(post.Body, c.depth, c.members); err != nil {
			return nil, fmt.Errorf("post.body %w", err)
		}
	}
	if f.Body == nil {
		return f, errUnknownFrame
	}
	return f, nil
}

// checkJSON says why text may not be stored: it would be sent verbatim inside other frames.
func checkJSON(text []byte, depth, members int) error {
	if !utf8.Valid(text) {
		return errors.New("is not UTF-8")
	}
	if err := limit.JSON(text, depth, members); err != nil {
		return err
	}
	if !json.Valid(text) {
		return errors.New("is not JSON")
	}
	return nil
}

// jsonCodec is parley.v1.json.
type jsonCodec struct {
	dialect.JSON
	depth, members int
}

// flat is every field of every client frame.
type flat struct {
	Type           string          `json:"type"`
	ID             string          `json:"id"`
	Token          string          `json:"token"`
	SessionID      string          `json:"session_id"`
	Device         string          `json:"device"`
	Conversation   string          `json:"conversation"`
	After          *uint64         `json:"after"`
	ClientID       string          `json:"client_id"`
	EventType      string          `json:"event_type"`
	To             string          `json:"to"`
	Body           json.RawMessage `json:"body"`
	Delivered      uint64          `json:"delivered"`
	Seen           uint64          `json:"seen"`
	On             bool            `json:"on"`
	Name           string          `json:"name"`
	DisplayName    string          `json:"display_name"`
	ImageURL       string          `json:"image_url"`
	UserID         string          `json:"user_id"`
	UserName       string          `json:"user_name"`
	MemberID       string          `json:"member_id"`
	Reason         string          `json:"reason"`
	Sequence       uint64          `json:"sequence"`
	Start          uint64          `json:"start"`
	End            uint64          `json:"end"`
	Types          []string        `json:"types"`
	PageSize       uint32          `json:"page_size"`
	Descending     bool            `json:"descending"`
	ExcludeDeleted bool            `json:"exclude_deleted"`
	Cursor         []byte          `json:"cursor"`
}

func (c jsonCodec) decode(binary bool, payload []byte) (*clientv1.ClientFrame, error) {
	if binary {
		return nil, errors.New("parley.v1.json frames are text messages")
	}
	if !utf8.Valid(payload) {
		return nil, errors.New("the frame is not UTF-8")
	}
	if err := limit.JSON(payload, c.depth, c.members); err != nil {
		return nil, fmt.Errorf("the frame %w", err)
	}
	if trimmed := bytes.TrimLeft(payload, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, errors.New("the frame is not a JSON object")
	}
	var f flat
	if err := json.Unmarshal(payload, &f); err != nil {
		return nil, explain(err)
	}
	return f.frame()
}

// explain words a decoding error for the client: what and where, and nothing of ours.
func explain(err error) error {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind):
		return fmt.Errorf("%q must not be a %s (byte %d)", kind.Field, kind.Value, kind.Offset)
	case errors.As(err, &syntax):
		return fmt.Errorf("the frame is not JSON (byte %d)", syntax.Offset)
	}
	return errors.New("the frame could not be read; cursor must be base64")
}

// frame is the ClientFrame that f stands for.
func (f *flat) frame() (*clientv1.ClientFrame, error) {
	out := &clientv1.ClientFrame{Id: f.ID}
	switch f.Type {
	case "post":
		out.Body = &clientv1.ClientFrame_Post{Post: &clientv1.Post{
			Conversation: f.Conversation, ClientId: f.ClientID, EventType: f.EventType, To: f.To, Body: f.Body}}
	case "receipt":
		out.Body = &clientv1.ClientFrame_Receipt{Receipt: &clientv1.Receipt{
			Conversation: f.Conversation, Delivered: f.Delivered, Seen: f.Seen}}
	case "typing":
		out.Body = &clientv1.ClientFrame_Typing{Typing: &clientv1.Typing{Conversation: f.Conversation, On: f.On}}
	case "subscribe":
		out.Body = &clientv1.ClientFrame_Subscribe{Subscribe: &clientv1.Subscribe{Conversation: f.Conversation, After: f.After}}
	case "unsubscribe":
		out.Body = &clientv1.ClientFrame_Unsubscribe{Unsubscribe: &clientv1.Unsubscribe{Conversation: f.Conversation}}
	case "history":
		out.Body = &clientv1.ClientFrame_History{History: &clientv1.History{
			Conversation: f.Conversation, Start: f.Start, End: f.End, Types: f.Types, PageSize: f.PageSize,
			Descending: f.Descending, ExcludeDeleted: f.ExcludeDeleted, Cursor: f.Cursor}}
	case "delete_event":
		out.Body = &clientv1.ClientFrame_DeleteEvent{DeleteEvent: &clientv1.DeleteEvent{
			Conversation: f.Conversation, ClientId: f.ClientID, Sequence: f.Sequence}}
	default:
		return f.rareFrame(out)
	}
	return out, nil
}

// rareFrame is frame for what a session sends once or a few times.
func (f *flat) rareFrame(out *clientv1.ClientFrame) (*clientv1.ClientFrame, error) {
	switch f.Type {
	case "hello":
		out.Body = &clientv1.ClientFrame_Hello{Hello: &clientv1.Hello{Token: f.Token, SessionId: f.SessionID, Device: f.Device}}
	case "create_conversation":
		out.Body = &clientv1.ClientFrame_CreateConversation{CreateConversation: &clientv1.CreateConversation{
			ClientId: f.ClientID, Name: f.Name, DisplayName: f.DisplayName, ImageUrl: f.ImageURL}}
	case "invite":
		out.Body = &clientv1.ClientFrame_Invite{Invite: &clientv1.Invite{
			Conversation: f.Conversation, ClientId: f.ClientID, UserId: f.UserID, UserName: f.UserName}}
	case "join":
		out.Body = &clientv1.ClientFrame_Join{Join: &clientv1.Join{
			Conversation: f.Conversation, ClientId: f.ClientID, MemberId: f.MemberID}}
	case "leave":
		out.Body = &clientv1.ClientFrame_Leave{Leave: &clientv1.Leave{
			Conversation: f.Conversation, ClientId: f.ClientID, MemberId: f.MemberID, Reason: f.Reason}}
	case "update_token":
		out.Body = &clientv1.ClientFrame_UpdateToken{UpdateToken: &clientv1.UpdateToken{Token: f.Token}}
	case "ping":
		out.Body = &clientv1.ClientFrame_Ping{Ping: &clientv1.Ping{}}
	case "bye":
		out.Body = &clientv1.ClientFrame_Bye{Bye: &clientv1.Bye{}}
	default:
		return out, errUnknownFrame
	}
	return out, nil
}
