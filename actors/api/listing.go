package api

import (
	"bytes"
	"context"
	"strconv"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"parley/actors/query"
	nodev1 "parley/proto/node/v1"
)

// Bounds of one call that asks for everything, with page size 0. Next is set when there is more.
const (
	// ItemsMax is about how many items it gives.
	ItemsMax = query.AllMax
	// BytesMax is after how many bytes it ends.
	BytesMax = 16 << 20
	// roundsMax is how many answers a call puts together: a filter that matches little ends with
	// fewer items than asked for.
	roundsMax = 64
)

// gather asks for one answer after the other, since each has to fit between two nodes, until the
// page is full or a bound is met. ask may change the page that it gets.
func gather(page *nodev1.Page, bytesMax int, ask func(*nodev1.Page) (*nodev1.Reply, error)) (*nodev1.Reply, error) {
	wanted := ItemsMax
	if page.GetSize() > 0 {
		wanted = int(page.Size)
	}
	next := &nodev1.Page{Size: page.GetSize(), Descending: page.GetDescending(), After: page.GetAfter()}
	out, used := &nodev1.Reply{}, 0
	for range roundsMax {
		reply, err := ask(proto.CloneOf(next))
		if err != nil {
			return nil, err
		}
		used += reply.SizeVT()
		extend(out, reply)
		if len(out.Next) == 0 || len(out.Positions) >= wanted || used >= bytesMax {
			break
		}
		next.After = out.Next
		if next.Size > 0 {
			next.Size = uint32(wanted - len(out.Positions))
		}
	}
	return out, nil
}

// extend adds the following part of a list. The head is the later one: it covers both parts.
func extend(out, more *nodev1.Reply) {
	out.Conversations = append(out.Conversations, more.Conversations...)
	out.Users = append(out.Users, more.Users...)
	out.Members = append(out.Members, more.Members...)
	out.Memberships = append(out.Memberships, more.Memberships...)
	out.Heads = append(out.Heads, more.Heads...)
	out.Events = append(out.Events, more.Events...)
	out.Applications = append(out.Applications, more.Applications...)
	out.DeadLetters = append(out.DeadLetters, more.DeadLetters...)
	out.Positions = append(out.Positions, more.Positions...)
	out.Next = more.Next
	if more.Head != nil {
		out.Head = more.Head
	}
}

// listEverywhere asks every shard for the same page and merges the answers by position.
func (s *Service) listEverywhere(ctx context.Context, page *nodev1.Page, q func(*nodev1.Page) *nodev1.Query) (*nodev1.Reply, error) {
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	return gather(page, BytesMax, func(page *nodev1.Page) (*nodev1.Reply, error) {
		replies, err := s.everyShard(ctx, q(page))
		if err != nil {
			return nil, err
		}
		return merge(replies, page), nil
	})
}

// everyShard asks all shards the same.
func (s *Service) everyShard(ctx context.Context, q *nodev1.Query) ([]*nodev1.Reply, error) {
	replies := make([]*nodev1.Reply, s.options.Shards)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.options.Parallel)
	for i := range replies {
		g.Go(func() (err error) {
			t := target{nodev1.Kind_KIND_SHARD, q.GetPrincipal().GetApplicationId(), strconv.Itoa(i + 1)}
			replies[i], err = s.query(ctx, t, q)
			return err
		})
	}
	return replies, g.Wait()
}

// merge takes the first page.Size items of all replies in the page's order; size 0 takes all. It
// ends where the first reply that was cut short ends: what follows there is not known yet, and may
// come before what the others have further on.
func merge(replies []*nodev1.Reply, page *nodev1.Page) *nodev1.Reply {
	out := &nodev1.Reply{}
	end := nearest(replies, page.Descending)
	at := make([]int, len(replies))
	for {
		best := first(replies, at, page.Descending)
		if best < 0 || end != nil && before(end, replies[best].Positions[at[best]], page.Descending) {
			out.Next = end
			return out
		}
		if page.Size > 0 && len(out.Positions) == int(page.Size) {
			out.Next = out.Positions[len(out.Positions)-1]
			return out
		}
		take(out, replies[best], at[best])
		at[best]++
	}
}

// take lists one item of a reply.
func take(out, from *nodev1.Reply, i int) {
	out.Positions = append(out.Positions, from.Positions[i])
	switch {
	case len(from.Conversations) > 0:
		out.Conversations = append(out.Conversations, from.Conversations[i])
	case len(from.DeadLetters) > 0:
		out.DeadLetters = append(out.DeadLetters, from.DeadLetters[i])
	default:
		out.Users = append(out.Users, from.Users[i])
	}
}

// nearest is the first position, in the page's order, at which a reply was cut short; nil when
// all are whole.
func nearest(replies []*nodev1.Reply, descending bool) []byte {
	var end []byte
	for _, r := range replies {
		if next := r.GetNext(); len(next) > 0 && (end == nil || before(next, end, descending)) {
			end = next
		}
	}
	return end
}

// before compares positions in the page's order.
func before(a, b []byte, descending bool) bool {
	if descending {
		a, b = b, a
	}
	return bytes.Compare(a, b) < 0
}

// first finds the reply whose next item comes first, -1 when none has any.
func first(replies []*nodev1.Reply, at []int, descending bool) int {
	best := -1
	for i, r := range replies {
		if at[i] >= len(r.GetPositions()) {
			continue
		}
		if best < 0 || before(r.Positions[at[i]], replies[best].Positions[at[best]], descending) {
			best = i
		}
	}
	return best
}
