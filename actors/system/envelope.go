package system

import (
	"errors"
	"fmt"
	"strings"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/remote"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	nodev1 "parley/proto/node/v1"
)

// Names of processes that other nodes may send to.
const (
	placementPrefix = "shard-"
	receiverPrefix  = "receiver-"
	replyPrefix     = "replies"
	queriesName     = "queries"
)

var errNotEnvelope = errors.New("message is not of the closed set between nodes")

// envelopes are all message types between nodes. A peer that does not know a type dies of it,
// so the set grows only together with a version that all nodes have reached.
var envelopes = map[string]bool{
	nameOf(&nodev1.GrainRequest{}):      true,
	nameOf(&nodev1.GrainReply{}):        true,
	nameOf(&nodev1.FanoutBatch{}):       true,
	nameOf(&nodev1.Interest{}):          true,
	nameOf(&nodev1.InterestReply{}):     true,
	nameOf(&actor.DeadLetterResponse{}): true, // the remote's own: nobody of that name
}

func nameOf(m proto.Message) string { return string(proto.MessageName(m)) }

// checkEnvelope says whether msg may leave for another node.
func checkEnvelope(msg proto.Message) error {
	switch msg.(type) {
	case *nodev1.GrainRequest, *nodev1.GrainReply, *nodev1.FanoutBatch, *nodev1.Interest, *nodev1.InterestReply:
		if tooLarge(msg) {
			return fmt.Errorf("message of %T is larger than %d bytes", msg, MessageSizeMax)
		}
		return nil
	default:
		return fmt.Errorf("%T: %w", msg, errNotEnvelope)
	}
}

func tooLarge(msg proto.Message) bool {
	if sized, ok := msg.(interface{ SizeVT() int }); ok {
		return sized.SizeVT() > MessageSizeMax
	}
	return proto.Size(msg) > MessageSizeMax
}

// gateStream stands before the remote's reader, which trusts what it reads: an unknown type, an
// index out of range or a system message would end this process or any actor in it.
func (s *System) gateStream(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return next(srv, &gate{ServerStream: stream, s: s})
}

type gate struct {
	grpc.ServerStream
	s *System
}

// RecvMsg leaves of a batch only what the closed set allows.
func (g *gate) RecvMsg(m any) error {
	if err := g.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	msg, ok := m.(*remote.RemoteMessage)
	if !ok {
		return errNotEnvelope
	}
	if batch := msg.GetMessageBatch(); batch != nil {
		kept := batch.Envelopes[:0]
		for _, e := range batch.Envelopes {
			if !allowed(batch, e) {
				g.s.metrics.drop(dropForbidden)
				continue
			}
			kept = append(kept, e)
		}
		batch.Envelopes = kept
	}
	return nil
}

func allowed(b *remote.MessageBatch, e *remote.MessageEnvelope) bool {
	within := func(i int32, n int) bool { return i >= 0 && int(i) < n }
	if e == nil || e.SerializerId != 0 || !within(e.TypeId, len(b.TypeNames)) || !within(e.Target, len(b.Targets)) ||
		!within(e.Sender, len(b.Senders)+1) {
		return false
	}
	target := b.Targets[e.Target]
	if target == nil || (e.Sender > 0 && b.Senders[e.Sender-1] == nil) {
		return false
	}
	return envelopes[b.TypeNames[e.TypeId]] && (target.Id == queriesName || strings.HasPrefix(target.Id, placementPrefix) ||
		strings.HasPrefix(target.Id, receiverPrefix) || strings.HasPrefix(target.Id, replyPrefix))
}
