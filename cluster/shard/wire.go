package shard

import (
	"encoding/binary"
	"errors"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"parley/persistence/keys"
)

// A batch between two nodes is a row of items, each for one shard:
//
//	item = kind(1) shard(uvarint) body
//	kindRaft:    type(1) flags(1) to from term logTerm index commit vote rejectHint (uvarints)
//	             context(bytes) entries(uvarint) {term index (uvarints) type(1) data(bytes)}...
//	otherwise:   to from term commit (uvarints)
//
// kindQuiesce tells a follower that the leader is idle and will send nothing until it wakes.
// kindLeaving is the question of a replica that has applied up to commit whether it was removed, to
// whatever replica of the shard the node has (to is 0), and kindRemoved a member's word to a replica
// that the shard has no more as of what the member has applied, which is commit.
const (
	kindRaft    = 1
	kindQuiesce = 2
	kindLeaving = 3
	kindRemoved = 4

	flagReject = 1
)

// errBatch says that a batch is not in this format.
var errBatch = errors.New("malformed batch")

// note is the body of an item that is no Raft message.
type note struct {
	to, from     ReplicaID
	term, commit uint64
}

func appendNote(b []byte, kind byte, s keys.Shard, n note) []byte {
	b = append(b, kind)
	b = binary.AppendUvarint(b, uint64(s))
	b = binary.AppendUvarint(b, uint64(n.to))
	b = binary.AppendUvarint(b, uint64(n.from))
	b = binary.AppendUvarint(b, n.term)
	return binary.AppendUvarint(b, n.commit)
}

func appendMessage(b []byte, s keys.Shard, m *raftpb.Message) []byte {
	flags := byte(0)
	if m.GetReject() {
		flags |= flagReject
	}
	b = append(b, kindRaft)
	b = binary.AppendUvarint(b, uint64(s))
	b = append(b, byte(m.GetType()), flags)
	for _, v := range [...]uint64{
		m.GetTo(), m.GetFrom(), m.GetTerm(), m.GetLogTerm(),
		m.GetIndex(), m.GetCommit(), m.GetVote(), m.GetRejectHint(),
	} {
		b = binary.AppendUvarint(b, v)
	}
	b = appendBytes(b, m.GetContext())
	b = binary.AppendUvarint(b, uint64(len(m.Entries)))
	for _, e := range m.Entries {
		b = binary.AppendUvarint(b, e.GetTerm())
		b = binary.AppendUvarint(b, e.GetIndex())
		b = append(b, byte(e.GetType()))
		b = appendBytes(b, e.Data)
	}
	return b
}

// item is one decoded part of a batch: a message when the kind is kindRaft, else a note.
type item struct {
	kind    byte
	shard   keys.Shard
	message *raftpb.Message
	note    note
}

// readBatch calls visit for each item. Messages point into b, which must not change afterwards; their
// entries do not, because a log keeps entries for long, and one of them would keep all of b.
func readBatch(b []byte, visit func(item)) error {
	r := entryReader{b: b}
	for len(r.b) > 0 {
		it := item{kind: r.byte(), shard: keys.Shard(r.uvarint())}
		switch it.kind {
		case kindRaft:
			it.message = r.message()
		case kindQuiesce, kindLeaving, kindRemoved:
			it.note = note{to: ReplicaID(r.uvarint()), from: ReplicaID(r.uvarint()), term: r.uvarint(), commit: r.uvarint()}
		default:
			r.fail()
		}
		if r.bad {
			return errBatch
		}
		visit(it)
	}
	return nil
}

// messageSlab is a decoded message in one allocation: raftpb's scalars are pointers.
type messageSlab struct {
	message                                                  raftpb.Message
	kind                                                     raftpb.MessageType
	to, from, term, logTerm, index, commit, vote, rejectHint uint64
	reject                                                   bool
}

// entrySlab is the same for an entry; a message's entries share one slice of them.
type entrySlab struct {
	entry       raftpb.Entry
	kind        raftpb.EntryType
	term, index uint64
}

func (s *entrySlab) set(kind raftpb.EntryType, term, index uint64, payload []byte) *raftpb.Entry {
	s.kind, s.term, s.index = kind, term, index
	s.entry.Type, s.entry.Term, s.entry.Index = &s.kind, &s.term, &s.index
	if len(payload) > 0 {
		s.entry.Data = payload
	}
	return &s.entry
}

func (r *entryReader) message() *raftpb.Message {
	s := &messageSlab{kind: raftpb.MessageType(r.byte()), reject: r.byte()&flagReject != 0}
	for _, v := range [...]*uint64{&s.to, &s.from, &s.term, &s.logTerm, &s.index, &s.commit, &s.vote, &s.rejectHint} {
		*v = r.uvarint()
	}
	m := &s.message
	m.Type, m.To, m.From, m.Term = &s.kind, &s.to, &s.from, &s.term
	m.LogTerm, m.Index, m.Commit, m.Vote = &s.logTerm, &s.index, &s.commit, &s.vote
	m.RejectHint, m.Reject = &s.rejectHint, &s.reject
	if context := r.bytes(); len(context) > 0 {
		m.Context = context
	}
	if n := r.count(); n > 0 {
		m.Entries = r.entries(n)
	}
	return m
}

// entries reads n entries, with payloads of their own.
func (r *entryReader) entries(n int) []*raftpb.Entry {
	slabs, entries, bytes := make([]entrySlab, n), make([]*raftpb.Entry, n), 0
	for i := range slabs {
		term, index := r.uvarint(), r.uvarint()
		entries[i] = slabs[i].set(raftpb.EntryType(r.byte()), term, index, r.bytes())
		bytes += len(entries[i].Data)
	}
	own := slices.Grow([]byte(nil), bytes) // all the room that it takes: who keeps entries counts it
	for i, e := range entries {
		from, room := len(own), cap(own)
		if own = append(own, e.Data...); i < n-1 {
			room = len(own)
		}
		if len(e.Data) > 0 {
			e.Data = own[from:len(own):room]
		}
	}
	return entries
}
