package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

// ErrDamaged says that a row or an entry does not read back as it was written. It is never
// taken for the end of a log.
var ErrDamaged = errors.New("damaged raft log")

// A fresh shard's log begins at FirstIndex in FirstTerm, above what an empty replica expects:
// a new replica can therefore only be started by a snapshot, never by replaying from entry one
// with a configuration that it does not know (invariant I5).
const (
	FirstIndex = 11
	FirstTerm  = 5
)

// Versions of the row formats. A change of layout takes a new number.
const (
	appliedVersion = 1
	localVersion   = 1
)

// Position is the place of an entry.
type Position struct {
	Index uint64
	Term  uint64
}

// Vote is what a replica promised: its term and whom it voted for, and the commit index it knew
// when it last wrote them.
type Vote struct {
	Term   uint64
	For    uint64
	Commit uint64
}

func (v Vote) encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 24), v.Term)
	b = binary.BigEndian.AppendUint64(b, v.For)
	return binary.BigEndian.AppendUint64(b, v.Commit)
}

func decodeVote(b []byte) (Vote, error) {
	if len(b) != 24 {
		return Vote{}, fmt.Errorf("vote of %d bytes: %w", len(b), ErrDamaged)
	}
	be := binary.BigEndian
	return Vote{Term: be.Uint64(b), For: be.Uint64(b[8:]), Commit: be.Uint64(b[16:])}, nil
}

func (p Position) encode() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 16), p.Index)
	return binary.BigEndian.AppendUint64(b, p.Term)
}

func (a Announcement) encode() []byte { return append(a.Before.encode(), a.Snapshot.encode()...) }

// decodeBefore reads the row keys.LogTruncated: a position, and the one of a snapshot that was
// announced and has not replaced the log yet, zero when there is none.
func decodeBefore(b []byte) (a Announcement, err error) {
	if len(b) == 32 {
		if a.Snapshot, err = decodePosition(b[16:]); err != nil {
			return Announcement{}, err
		}
		b = b[:16]
	}
	a.Before, err = decodePosition(b)
	return a, err
}

func decodePosition(b []byte) (Position, error) {
	if len(b) != 16 {
		return Position{}, fmt.Errorf("position of %d bytes: %w", len(b), ErrDamaged)
	}
	return Position{Index: binary.BigEndian.Uint64(b), Term: binary.BigEndian.Uint64(b[8:])}, nil
}

// Member says on which node a replica lives.
type Member struct {
	Replica uint64
	Node    string
}

// Applied is the row that every shard's state carries: the last entry whose effects are in the
// state, and the configuration that those effects led to. It is written in the same batch as
// the effects (invariant I3) and travels with them in a snapshot.
type Applied struct {
	Position
	Conf    *raftpb.ConfState
	Members []Member // ascending by replica
}

// Encode gives the value of the row keys.Replica.
func (a Applied) Encode() []byte { return a.Append(make([]byte, 0, 64)) }

// Append appends the row's value to b.
func (a Applied) Append(b []byte) []byte {
	b = append(b, appliedVersion)
	b = binary.BigEndian.AppendUint64(b, a.Index)
	b = binary.BigEndian.AppendUint64(b, a.Term)
	c := a.Conf
	for _, ids := range [][]uint64{c.GetVoters(), c.GetLearners(), c.GetVotersOutgoing(), c.GetLearnersNext()} {
		b = binary.AppendUvarint(b, uint64(len(ids)))
		for _, id := range ids {
			b = binary.AppendUvarint(b, id)
		}
	}
	leave := byte(0)
	if c.GetAutoLeave() {
		leave = 1
	}
	b = append(b, leave)
	b = binary.AppendUvarint(b, uint64(len(a.Members)))
	for _, m := range a.Members {
		b = binary.AppendUvarint(b, m.Replica)
		b = binary.AppendUvarint(b, uint64(len(m.Node)))
		b = append(b, m.Node...)
	}
	return b
}

// DecodeApplied reads a row back.
func DecodeApplied(b []byte) (Applied, error) {
	if len(b) < 17 || b[0] != appliedVersion {
		return Applied{}, fmt.Errorf("applied row: %w", ErrDamaged)
	}
	a := Applied{Position: Position{Index: binary.BigEndian.Uint64(b[1:]), Term: binary.BigEndian.Uint64(b[9:])}}
	r := rowReader{b: b[17:]}
	voters, learners, outgoing, next := r.ids(), r.ids(), r.ids(), r.ids()
	leave := r.byte()
	a.Conf = raftpb.EnsureConfState(&raftpb.ConfState{
		Voters: voters, Learners: learners, VotersOutgoing: outgoing, LearnersNext: next, AutoLeave: new(leave == 1),
	})
	for n := r.count(); n > 0; n-- {
		a.Members = append(a.Members, Member{Replica: r.uvarint(), Node: string(r.bytes())})
	}
	if r.bad || len(r.b) != 0 || leave > 1 {
		return Applied{}, fmt.Errorf("applied row: %w", ErrDamaged)
	}
	return a, nil
}

// Local is the row keys.LocalReplica: which replica of a shard this store holds.
type Local struct {
	Replica uint64
	Removed bool // a tombstone: the replica was removed and never comes back (invariant I4)
}

// Encode gives the row's value.
func (l Local) Encode() []byte {
	removed := byte(0)
	if l.Removed {
		removed = 1
	}
	return binary.BigEndian.AppendUint64([]byte{localVersion, removed}, l.Replica)
}

// DecodeLocal reads a row back.
func DecodeLocal(b []byte) (Local, error) {
	if len(b) != 10 || b[0] != localVersion || b[1] > 1 {
		return Local{}, fmt.Errorf("local replica row: %w", ErrDamaged)
	}
	return Local{Replica: binary.BigEndian.Uint64(b[2:]), Removed: b[1] == 1}, nil
}

// rowReader reads fields until one is bad; what follows a bad field reads as zero.
type rowReader struct {
	b   []byte
	bad bool
}

func (r *rowReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of items, each of which takes a byte or more.
func (r *rowReader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(n)
}

func (r *rowReader) bytes() []byte {
	n := r.count()
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *rowReader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *rowReader) ids() []uint64 {
	var ids []uint64
	for n := r.count(); n > 0; n-- {
		ids = append(ids, r.uvarint())
	}
	return ids
}
