// Package query answers reads from applied state: pure functions over a store.Reader, with the same
// access rules as the commands (package conversation says them). The caller has taken a ReadIndex
// before, so any replica may answer.
//
// Lists come in pages. A page's size is 1 to SizeMax; size 0 asks for everything, up to AllMax
// items. Each listed item has a position, an opaque and comparable string of bytes; the next page
// begins after the last one's. Reply.Next is that position while there is more, else empty.
package query

import (
	"fmt"
	"strconv"

	"parley/actors/conversation/row"
	"parley/actors/grain"
	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/code"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// Bounds of one answer.
const (
	// SizeMax is the largest page that may be asked for by its size.
	SizeMax = 100
	// AllMax is how many items size 0 gives at most, with Next set when there are more.
	AllMax = 10_000
	// BytesMax is how many bytes of items a list has, whatever was asked for, unless its first item
	// alone is larger: an answer has to fit into one message between nodes, which is 1 MiB at
	// most. Next is set when there are more.
	BytesMax = 512 << 10
	// visitsMax is how many rows one answer looks at: a filter that matches little ends with
	// fewer items than asked for, and Next set.
	visitsMax = 50_000
	// typesMax is how many types a filter may name.
	typesMax = 64
)

// Serve answers req from r. shards is the cluster's number of data shards. Errors are coded; a
// reader that fails is an internal error.
func Serve(r store.Reader, shards uint32, req *nodev1.GrainRequest) *nodev1.GrainReply {
	s := &server{reader: r, shards: shards, request: req}
	reply, err := s.answer(req.GetQuery())
	if err != nil {
		return &nodev1.GrainReply{Error: grain.ErrorOf(err)}
	}
	return &nodev1.GrainReply{Reply: reply}
}

// server answers one query.
type server struct {
	reader  store.Reader
	shards  uint32
	request *nodev1.GrainRequest
}

// answer is the table of contents of what can be read.
func (s *server) answer(q *nodev1.Query) (*nodev1.Reply, error) {
	switch s.request.Kind {
	case nodev1.Kind_KIND_CONVERSATION:
		return s.conversation(q)
	case nodev1.Kind_KIND_USER:
		return s.user(q)
	case nodev1.Kind_KIND_NAME:
		return s.name(q)
	case nodev1.Kind_KIND_APPLICATION:
		return s.application(q)
	case nodev1.Kind_KIND_SHARD:
		return s.shard(q)
	case nodev1.Kind_KIND_BLOB:
		return s.blob(q)
	case nodev1.Kind_KIND_IMAGE:
		return s.image(q)
	default:
		return nil, unknown()
	}
}

func unknown() error { return code.New(code.InvalidEvent, "this query is not known") }

func (s *server) principal() *nodev1.Principal { return s.request.GetQuery().GetPrincipal() }

// sameApplication says whether who asks belongs to the application that is asked about.
func (s *server) sameApplication() bool {
	return s.principal().GetApplicationId() == s.request.ApplicationId
}

// app is the application's id in binary, ok=false when it is malformed.
func (s *server) app() (keys.UUID, bool) {
	u, err := id.Parse(id.Application, s.request.ApplicationId)
	return u, err == nil
}

func (s *server) home() keys.Shard {
	return keys.ShardOf(s.request.ApplicationId, s.request.Id, s.shards)
}

// read fills m from a row, or gives absent.
func (s *server) read(key []byte, m row.Message, absent error) error {
	ok, err := row.Read(s.reader, key, m)
	if err != nil {
		return fmt.Errorf("query: %w", err)
	}
	if !ok {
		return absent
	}
	return nil
}

// shardOf reads the shard that a KIND_SHARD query names.
func (s *server) shardOf() (keys.Shard, error) {
	n, err := strconv.ParseUint(s.request.Id, 10, 32)
	if err != nil || uint32(n) > s.shards {
		return 0, code.New(code.NotFound, "shard does not exist")
	}
	return keys.Shard(n), nil
}
