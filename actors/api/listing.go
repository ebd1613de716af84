package api

import (
	"bytes"
	"context"
	"strconv"

	"golang.org/x/sync/errgroup"

	nodev1 "parley/proto/node/v1"
)

// listEverywhere asks every shard for the same page and merges the answers by position. Each
// shard gives a whole page, so the merged page is complete whatever the shards hold.
func (a *API) listEverywhere(ctx context.Context, p *nodev1.Principal, page *nodev1.Page, query func(*nodev1.Page) *nodev1.Query) (*nodev1.Reply, error) {
	ctx, cancel := a.deadline(ctx)
	defer cancel()
	if page == nil {
		page = &nodev1.Page{}
	}
	replies := make([]*nodev1.Reply, a.options.Shards)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(a.options.Parallel)
	for i := range replies {
		g.Go(func() (err error) {
			t := target{nodev1.Kind_KIND_SHARD, p.GetApplicationId(), strconv.Itoa(i + 1)}
			replies[i], err = a.query(gctx, t, query(page))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return merge(replies, page), nil
}

// merge takes the first page.Size items of all replies in the page's order; size 0 takes all.
func merge(replies []*nodev1.Reply, page *nodev1.Page) *nodev1.Reply {
	out := &nodev1.Reply{}
	at := make([]int, len(replies))
	for page.Size == 0 || len(out.Positions) < int(page.Size) {
		best := first(replies, at, page.Descending)
		if best < 0 {
			return out
		}
		r, i := replies[best], at[best]
		at[best]++
		out.Positions = append(out.Positions, r.Positions[i])
		if len(r.Conversations) > 0 {
			out.Conversations = append(out.Conversations, r.Conversations[i])
		} else {
			out.Users = append(out.Users, r.Users[i])
		}
	}
	if more(replies, at) {
		out.Next = out.Positions[len(out.Positions)-1]
	}
	return out
}

// first finds the reply whose next item comes first, -1 when none has any.
func first(replies []*nodev1.Reply, at []int, descending bool) int {
	best := -1
	for i, r := range replies {
		if at[i] >= len(r.GetPositions()) {
			continue
		}
		if best >= 0 && (bytes.Compare(r.Positions[at[i]], replies[best].Positions[at[best]]) < 0) == descending {
			continue
		}
		best = i
	}
	return best
}

func more(replies []*nodev1.Reply, at []int) bool {
	for i, r := range replies {
		if at[i] < len(r.GetPositions()) || len(r.GetNext()) > 0 {
			return true
		}
	}
	return false
}
