// Package api is what an edge may ask of the cluster: each method is one grain call, one query,
// or a short sequence of them that is safe to stop and repeat anywhere.
//
// Every error is a *code.Error. code.Unknown means that the write may have happened: retry with
// the same client id. ctx carries the caller's deadline; when it ends first, a write's outcome
// is unknown, a read's error is code.Unavailable.
//
// Lists come in pages of 1 to 100 items; size 0 asks for everything, and gets up to ItemsMax items or
// BytesMax bytes of it. Reply.Next is the position after which to go on, empty at the end. A page
// with Next may have fewer items than were asked for, when the items are large or a filter lets few
// pass.
package api

import (
	"context"

	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// Cluster is the API as the edge sees it. *Service is its one implementation; it is an interface so
// that this file is the contract and can be read alone.
type Cluster interface {
	Conversations
	Members
	Events
	Users
	Imports
	Applications
	Blobs
	Push
	Realtime
}

// Conversations are created, changed, found and listed.
type Conversations interface {
	// CreateConversation makes c; c.Id is ignored, an empty c.Name becomes NAM-<uuid>. key is the
	// caller's idempotency key, or empty: a key makes one conversation, and gives it as it is now
	// when it is used again; once that is deleted the key is code.IdempotencyConflict. A name in
	// use is code.ConversationName.
	CreateConversation(ctx context.Context, p *nodev1.Principal, key string, c *eventv1.Conversation) (*eventv1.Conversation, *eventv1.Head, error)
	// UpdateConversation replaces what u names. It is for the creator and administrators, else
	// code.Permission. A name in use is code.ConversationName; one that another request changes at the same
	// time code.Unavailable. Repeating it changes nothing more.
	UpdateConversation(ctx context.Context, p *nodev1.Principal, id string, u *nodev1.UpdateConversation) (*eventv1.Conversation, *eventv1.Head, error)
	// DeleteConversation ends a conversation for all its members, and frees its name. It is for the creator
	// and administrators. A repetition finds it gone: code.ConversationNotFound.
	DeleteConversation(ctx context.Context, p *nodev1.Principal, id string) error
	// GetConversation also gives the asker's own member, nil for administrators and strangers
	// that may read; withMembers lists all, LEFT ones included, by ordinal.
	GetConversation(ctx context.Context, p *nodev1.Principal, id string, withMembers bool) (*nodev1.Reply, error)
	// ListConversations gives the application's conversations in order of creation, merged over
	// all shards. fromMs and toMs bound the creation time, inclusive; 0 = open.
	ListConversations(ctx context.Context, p *nodev1.Principal, page *nodev1.Page, fromMs, toMs int64) (*nodev1.Reply, error)
	// ResolveConversation turns an id or a unique name into an id. Ids are not checked; a name is that of a
	// conversation which p may read, or code.ConversationNotFound.
	ResolveConversation(ctx context.Context, p *nodev1.Principal, idOrName string) (string, error)
}

// UserRef names a user by id or by name; id wins.
type UserRef struct{ ID, Name string }

// Members join, are invited, leave and are listed.
type Members interface {
	// AddMember invites or joins. add.User and add.NewMemberId are filled here, from ref; an empty
	// ref means the asking user. The reply has Member and Event.
	AddMember(ctx context.Context, p *nodev1.Principal, conversation, clientID string, ref UserRef, add *nodev1.AddMember) (*nodev1.Reply, error)
	// UpdateMember accepts an invitation, or lets a member leave: by itself, or removed by another; "me" is
	// the asker's own. The reply has Member and Event. One that has joined is code.MemberAlreadyJoined, one
	// that has left code.InvalidMemberState. A repetition with the same client id gives the first result.
	UpdateMember(ctx context.Context, p *nodev1.Principal, conversation, clientID string, u *nodev1.UpdateMember) (*nodev1.Reply, error)
	// GetMember finds a member by id, or the asker's own by "me".
	GetMember(ctx context.Context, p *nodev1.Principal, conversation, member string) (*eventv1.Member, error)
	// ListMembers gives members in the order in which they came, those that have left included unless
	// excludeLeft, and the head.
	ListMembers(ctx context.Context, p *nodev1.Principal, conversation string, page *nodev1.Page, excludeLeft bool) (*nodev1.Reply, error)
}

// Events are posted, read and deleted.
type Events interface {
	// Post stores or relays one event and waits for its acknowledgement. Reply.Event is set for
	// stored events, Reply.TimestampMs alone for typing, ephemeral and aggregated receipts;
	// Reply.Duplicate marks the first result of an earlier post with this client id.
	Post(ctx context.Context, p *nodev1.Principal, conversation, clientID string, e *nodev1.PostEvent) (*nodev1.Reply, error)
	// PostAsync is Post without waiting. Posts of one goroutine to one conversation are decided in
	// the order of the calls while the leader stays the same. done is called exactly once, from
	// any goroutine, and must not block.
	PostAsync(ctx context.Context, p *nodev1.Principal, conversation, clientID string, e *nodev1.PostEvent, done func(*nodev1.Reply, error))
	// DeleteEvent empties an event, which keeps its place, and stores that it was deleted: Reply.Event is the
	// event that says so. It is for the author and administrators; what is part of the record (who came and
	// went) is code.EventPermission. Repeating it stores nothing more: Reply.Event is the emptied one then.
	DeleteEvent(ctx context.Context, p *nodev1.Principal, conversation, clientID string, d *nodev1.DeleteEvent) (*nodev1.Reply, error)
	// AdvanceCursor moves how far the asker has received and read, without waiting; max wins. Reply.Cursor
	// is where it stands then, Reply.Event the receipt if one was stored. done is as of PostAsync.
	AdvanceCursor(ctx context.Context, p *nodev1.Principal, conversation string, c *nodev1.AdvanceCursor, done func(*nodev1.Reply, error))
	// AdvanceCursors moves the cursors of many users of one large conversation, at most
	// conversation.AdvanceCursorsMax, without waiting: each under its own user's rights, which the caller
	// has verified. Reply.Cursors names those refused; the others are moved when done is called. When it
	// says apart nothing was done, because receipts are events there or not every node of the cluster
	// knows the call: post them one by one. Repeating it is harmless. done is as of PostAsync.
	AdvanceCursors(ctx context.Context, application, conversation string, cursors []*nodev1.UserCursor, done func(*nodev1.Reply, error))
	// GetEvent gives one event with its author and receipts. One that was deleted is there, empty; one that
	// never was is code.EventNotFound.
	GetEvent(ctx context.Context, p *nodev1.Principal, conversation string, sequence uint64) (*nodev1.EventView, error)
	// ListEvents gives events, positions, next and the head. l.BytesMax ends it after about that many
	// bytes of events, but not before the first.
	ListEvents(ctx context.Context, p *nodev1.Principal, conversation string, l *nodev1.ListEvents) (*nodev1.Reply, error)
}

// Users are created, changed, found and listed.
type Users interface {
	// CreateUser makes u; u.Id is ignored, an empty u.Name becomes NAM-<uuid>. key is as of
	// CreateConversation. A name in use is code.UserName. It is for administrators, like all that changes users.
	CreateUser(ctx context.Context, p *nodev1.Principal, key string, u *eventv1.User) (*eventv1.User, error)
	// UpdateUser replaces what u names; the user's conversations hear of it a little later. A name in use is
	// code.UserName. Repeating it changes nothing more.
	UpdateUser(ctx context.Context, p *nodev1.Principal, id string, u *nodev1.UpdateUser) (*eventv1.User, error)
	// DeleteUser ends a user, frees its name, and lets it leave its conversations a little later. A
	// repetition finds it gone: code.UserNotFound.
	DeleteUser(ctx context.Context, p *nodev1.Principal, id string) error
	// GetUser gives a user: administrators and the user itself all of it, others the public part. What is
	// unknown or deleted is code.UserNotFound.
	GetUser(ctx context.Context, p *nodev1.Principal, ref UserRef) (*eventv1.User, error)
	// ListUsers gives the application's users in order of creation, merged over all shards, to
	// administrators. With a name it gives the one that bears it, or none, to everybody.
	ListUsers(ctx context.Context, p *nodev1.Principal, page *nodev1.Page, name string) (*nodev1.Reply, error)
	// ListMemberships gives a user's conversations with the membership of each; the reply's
	// memberships, conversations, heads, members and positions are parallel. They are in the order of
	// the conversations' creation. A head and the user's own member are of one moment, and truer than
	// the membership, which follows them; a conversation led by a node of an older version gives no
	// member.
	ListMemberships(ctx context.Context, p *nodev1.Principal, user string, page *nodev1.Page, states []eventv1.MemberState) (*nodev1.Reply, error)
}

// Imports bring in what another service has had, with its ids, times and order. They are an
// administrator's. Every call may be repeated: what is there already is left alone if it is the same,
// and is code.IdempotencyConflict otherwise. A conversation is seen by nobody before FinishImport;
// nothing of its history is told to anybody. Replies have the conversation and its head.
type Imports interface {
	// ImportUser makes u under u.Id. A name in use is code.UserName.
	ImportUser(ctx context.Context, p *nodev1.Principal, u *eventv1.User) (*eventv1.User, error)
	// ImportConversation makes c under c.Id, empty.
	ImportConversation(ctx context.Context, p *nodev1.Principal, c *eventv1.Conversation) (*nodev1.Reply, error)
	// ImportMembers appends members; their users have been imported, but for those of members that left.
	ImportMembers(ctx context.Context, p *nodev1.Principal, conversation string, members []*eventv1.Member) (*nodev1.Reply, error)
	// ImportEvents appends events with the sequences that they had; the first follows the head.
	ImportEvents(ctx context.Context, p *nodev1.Principal, conversation string, events []*nodev1.ImportedEvent) (*nodev1.Reply, error)
	// FinishImport lets the conversation be seen, if it has as many events and members as f says.
	FinishImport(ctx context.Context, p *nodev1.Principal, conversation string, f *nodev1.FinishImport) (*nodev1.Reply, error)
}

// Applications are the tenants. These calls are made after the caller's API key was verified.
type Applications interface {
	// PutApplication creates an application, or replaces what it was given but for its push credentials. A
	// creation of what is there gives it as it is; an empty id of a new one is made here. What is deleted, or
	// to be replaced and not there, is code.ApplicationNotFound. a.UpdatedMs says which application is replaced,
	// 0 whatever is there: one that has changed since is code.IdempotencyConflict, and Application gives it then.
	PutApplication(ctx context.Context, a *eventv1.Application, create bool) (*eventv1.Application, error)
	// DeleteApplication ends an application: its tokens are refused from now on. A repetition finds it gone:
	// code.ApplicationNotFound.
	DeleteApplication(ctx context.Context, id string) error
	// ListApplications gives the applications in the order of their ids.
	ListApplications(ctx context.Context, page *nodev1.Page) (*nodev1.Reply, error)
	// Application is answered from this node's copy: cheap, and as fresh as the meta shard's
	// applied state here.
	Application(ctx context.Context, id string) (*eventv1.Application, error)
	// Credential finds an API key, as fresh as Application; code.InvalidCredentials when there is none.
	Credential(ctx context.Context, key string) (*eventv1.Credential, error)
	// PutCredential stores an API key; onlyIfNone keeps an existing first one and gives it back.
	PutCredential(ctx context.Context, c *eventv1.Credential, onlyIfNone bool) (*eventv1.Credential, error)
}

// Blobs are bytes that are kept by their content, and the images that are made of them. sha256 is a
// blob's id: the sum of its bytes in lower-case hex.
type Blobs interface {
	// HoldBlob claims a blob for an image that is about to be made, and makes the blob when there
	// is none. When the answer is not sealed, the bytes must follow: by PutChunk, or, of an external
	// one, as an object; then SealBlob. A hold whose image does not come into being lapses.
	HoldBlob(ctx context.Context, p *nodev1.Principal, sha256 string, h *nodev1.HoldBlob) (*eventv1.Blob, error)
	// PutChunk stores one part of a blob that is held. One that does not fit its place is
	// code.ValidationFail; one that is there already is not stored again.
	PutChunk(ctx context.Context, p *nodev1.Principal, sha256 string, c *nodev1.PutChunk) error
	// SealBlob ends the storing, once all parts are there: only then is a blob shown. Repeating it changes
	// nothing.
	SealBlob(ctx context.Context, p *nodev1.Principal, sha256 string) error
	// GetChunk gives one part of a blob. Whether p may have it is the caller's to know.
	GetChunk(ctx context.Context, p *nodev1.Principal, sha256 string, index uint32) ([]byte, error)
	// CreateImage makes i, whose id the caller chose and whose blobs it holds; p becomes the owner.
	// A repetition gives the first result.
	CreateImage(ctx context.Context, p *nodev1.Principal, i *eventv1.Image) (*eventv1.Image, error)
	// GetImage is for everybody in the application. What is unknown or deleted is code.NotFound.
	GetImage(ctx context.Context, p *nodev1.Principal, id string) (*eventv1.Image, error)
	// DeleteImage is for the owner and administrators; repeating it changes nothing.
	DeleteImage(ctx context.Context, p *nodev1.Principal, id string) error
}

// Realtime is how an edge says what it wants to hear.
type Realtime interface {
	// Interest registers or withdraws this edge's wish for a conversation's or user's fan-out. The
	// reply's head is the conversation's: every event above it will be delivered.
	Interest(ctx context.Context, i *nodev1.Interest) (*nodev1.InterestReply, error)
}
