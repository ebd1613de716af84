package api

import (
	"context"

	"google.golang.org/protobuf/proto"

	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// Interest implements Realtime.
func (s *Service) Interest(ctx context.Context, i *nodev1.Interest) (*nodev1.InterestReply, error) {
	if !isConversation(i.Id) && !isUser(i.Id) {
		return nil, code.New(code.NotFound, "nothing is sent for %q", i.Id)
	}
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	i = proto.CloneOf(i)
	i.Edge, i.EdgeIncarnation = s.options.Node, s.options.Incarnation
	reply, err := s.options.Interest(ctx, i)
	if err != nil {
		if e, ok := code.Of(err); ok {
			return nil, e
		}
		return nil, code.New(code.Unavailable, "interest could not be registered; try again")
	}
	if reply.NotLeader {
		return nil, code.New(code.Unavailable, "nobody leads this shard at the moment; try again")
	}
	return reply, nil
}
