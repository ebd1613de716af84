package grain

import (
	"cmp"
	"errors"
	"time"

	"parley/cluster/shard"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// retryAfter is the advice that goes with a refusal for want of room: long enough for a batch to
// commit, short enough not to be felt.
const retryAfter = 50 * time.Millisecond

// spaceAfter is the same for want of space: people have to make some.
const spaceAfter = time.Second

// ErrorOf puts err on the wire between nodes. What carries no code is told as Internal, without
// its text.
func ErrorOf(err error) *nodev1.Error {
	e, ok := code.Of(err)
	if !ok {
		return &nodev1.Error{Code: string(code.Internal), Message: "internal error"}
	}
	w := &nodev1.Error{Code: string(e.Code), Message: e.Message, RetryAfterMs: e.RetryAfter.Milliseconds()}
	if e.Code == code.NotStored {
		w.Code, w.Exact = string(code.Unavailable), w.Code // a node that does not know the code would take it for final
	}
	for _, f := range e.Fields {
		w.Fields = append(w.Fields, &nodev1.Field{Name: f.Name, Reason: f.Reason})
	}
	return w
}

// CodedError is the inverse of ErrorOf; nil gives nil.
func CodedError(w *nodev1.Error) error {
	if w == nil {
		return nil
	}
	e := &code.Error{
		Code: code.Code(cmp.Or(w.Exact, w.Code)), Message: w.Message,
		RetryAfter: time.Duration(w.RetryAfterMs) * time.Millisecond,
	}
	for _, f := range w.Fields {
		e.Fields = append(e.Fields, code.Field{Name: f.Name, Reason: f.Reason})
	}
	return e
}

func notLeader(epoch shard.Epoch) *nodev1.GrainReply {
	return &nodev1.GrainReply{NotLeader: true, Epoch: uint64(epoch)}
}

func refusal(epoch shard.Epoch, err error) *nodev1.GrainReply {
	return &nodev1.GrainReply{Error: ErrorOf(err), Epoch: uint64(epoch)}
}

func busy(why string) error {
	return &code.Error{Code: code.Unavailable, Message: why + "; try again", RetryAfter: retryAfter}
}

// fate says what a failed proposal means for those who wait for it. wrote tells commands whose own
// write was in the batch from those that only depended on it. What these were told is not proven now, and
// they must not hear that nothing is done: one that repeats an earlier command may have found that it is.
// They ask again.
func fate(epoch shard.Epoch, err error, wrote bool) *nodev1.GrainReply {
	switch {
	case !wrote:
		return notLeader(epoch)
	case errors.Is(err, shard.ErrOverloaded):
		return refusal(epoch, busy("too much waits to be stored"))
	case errors.Is(err, shard.ErrNoSpace):
		full := code.New(code.NotStored, "the disks of the cluster are full; try again when there is space")
		full.RetryAfter = spaceAfter
		return refusal(epoch, full)
	case errors.Is(err, shard.ErrTooLarge):
		return refusal(epoch, code.New(code.TooLarge, "the change is too large to be stored at once"))
	case surelyNotDone(err):
		return notLeader(epoch)
	default:
		return refusal(epoch, code.New(code.Unknown, "the change may have been stored; retry with the same client id to learn"))
	}
}

// surelyNotDone is true for every outcome after which the write has not happened and will not.
// Anything unheard of is unknown.
func surelyNotDone(err error) bool {
	return proceeds(err) || errors.Is(err, shard.ErrNotLeader) || errors.Is(err, shard.ErrStale) ||
		errors.Is(err, shard.ErrNoReplica) || errors.Is(err, shard.ErrClosed)
}

// proceeds is true for refusals of one write by a leader that still leads.
func proceeds(err error) bool {
	return errors.Is(err, shard.ErrOverloaded) || errors.Is(err, shard.ErrTooLarge) || errors.Is(err, shard.ErrNoSpace)
}
