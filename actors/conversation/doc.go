// Package conversation is the pure heart of a conversation: its members, its log of events, its
// receipts. Decide says what follows from a command, Evolve folds it in, and each change is one
// row; there is no clock, no randomness and no I/O but the reads of Load.
//
// # Who may do what
//
// This is the one place that says so; access.go is its code, and package query asks it too.
//
//	                      admin  joined  invited  creator  left  stranger
//	read                  yes    yes     yes      yes      404   404
//	join, as oneself      yes    –       yes      yes      yes   yes
//	join somebody else    yes    403     403      403      404   404
//	invite                yes    yes     403      403      404   404
//	accept, leave, reject yes    own     own      own      –     404
//	remove a member       yes    yes     403      403      404   404
//	post, receipts        yes    yes     403      403      403   404
//	delete an event       yes    own     403      403      403   404
//	update, delete        yes    403     403      yes      404   404
//
// Whoever may not read a conversation is told that it does not exist (404,
// conversation:error:not-found); whoever may read it is told what is missing (403). So is a member
// that left, when it posts: it knows the conversation, and event:error:not-joined tells a client
// more. A conversation of another application does not exist for anybody. Column creator is a
// creator that is not joined; one that is has both columns. An administrator may post from any
// joined member, or from none.
//
// # Numbers
//
// Events are dense from 1; creating, updating and deleting a conversation stores none. A receipt
// is an event, a Receipt row and a cursor while at most ReceiptMembersMax members are joined, and
// only a cursor above. A client id gives the first result of its (conversation, user) for as long
// as the conversation lives.
package conversation

// Limits of what a command may carry.
const (
	// ReceiptMembersMax is up to how many joined members receipts are stored as events.
	ReceiptMembersMax = 100
	// AdvanceCursorsMax bounds the cursors that one command moves.
	AdvanceCursorsMax = 1024
	// BodyBytesMax bounds an event's body.
	BodyBytesMax = 64 << 10
	// CustomBodyBytesMax bounds the body of a custom event.
	CustomBodyBytesMax = 4096
	// TypeCharactersMax bounds an event's type, custom:… included.
	TypeCharactersMax = 100
	// ClientIDBytesMax bounds the client id of a command.
	ClientIDBytesMax = 128
	// NameCharactersMax, DisplayNameCharactersMax and ImageURLCharactersMax bound a profile.
	NameCharactersMax        = 100
	DisplayNameCharactersMax = 50
	ImageURLCharactersMax    = 2048
	// ObjectBytesMax bounds every JSON object of a conversation or member: custom data, numbers,
	// callback parameters, channel, media, reason.
	ObjectBytesMax = 16 << 10
	// PurgeMembersMax is how many members of a deleted conversation one step tells.
	PurgeMembersMax = 128
	// membersCached is how many members an idle view keeps: enough for a small room that talks,
	// little enough that a hundred thousand idle conversations stay cheap.
	membersCached = 8
)
