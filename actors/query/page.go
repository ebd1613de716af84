package query

import (
	"bytes"

	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// page is a checked nodev1.Page over the rows under a prefix. A position is what follows the
// prefix in a row's key.
type page struct {
	size       int
	descending bool
	after      []byte
}

func pageOf(p *nodev1.Page) (page, error) {
	size := int(p.GetSize())
	if size > SizeMax {
		return page{}, code.Invalid("page_size", "must be less than or equal to 100")
	}
	if size == 0 {
		size = AllMax
	}
	return page{size: size, descending: p.GetDescending(), after: p.GetAfter()}, nil
}

// within checks that the position has the length that positions of this list have.
func (p page) within(length int) error {
	if len(p.after) != 0 && len(p.after) != length {
		return code.Invalid("cursor", "is not a position of this list")
	}
	return nil
}

// span narrows [lo, hi) to what follows the position in the page's direction.
func (p page) span(prefix, lo, hi []byte) ([]byte, []byte) {
	if len(p.after) == 0 {
		return lo, hi
	}
	at := append(bytes.Clone(prefix), p.after...)
	if p.descending && bytes.Compare(at, hi) < 0 {
		return lo, at
	}
	if !p.descending {
		if next := append(at, 0); bytes.Compare(next, lo) > 0 {
			return next, hi
		}
	}
	return lo, hi
}

// taker says whether the item at position is listed; full ends the page before it.
type taker func(position, value []byte) (taken, full bool, err error)

// walk gives the rows of [lo, hi) under prefix to take, in the page's order, until the page is
// full, the rows end or VisitsMax were looked at. It fills the reply's positions and next.
func (p page) walk(r store.Reader, prefix, lo, hi []byte, take taker, reply *nodev1.Reply) error {
	lo, hi = p.span(prefix, lo, hi)
	if bytes.Compare(lo, hi) >= 0 {
		return nil
	}
	visits, last := 0, []byte(nil)
	return r.Scan(lo, hi, p.descending, func(key, value []byte) (bool, error) {
		position := key[len(prefix):]
		if len(reply.Positions) == p.size || visits == VisitsMax {
			reply.Next = last
			return false, nil
		}
		taken, full, err := take(position, value)
		if err != nil {
			return false, err
		}
		if full {
			reply.Next = last
			return false, nil
		}
		visits++
		last = bytes.Clone(position)
		if taken {
			reply.Positions = append(reply.Positions, last)
		}
		return true, nil
	})
}

// under is the span of all rows under a prefix.
func under(prefix []byte) (lo, hi []byte) { return prefix, keys.End(prefix) }
