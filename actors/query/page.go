package query

import (
	"bytes"
	"encoding/binary"

	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// page is a checked nodev1.Page over the rows under a prefix. A position is what follows the
// prefix in a row's key.
type page struct {
	size       int
	bytes      int // of listed items; the first one always fits, so that every page moves on
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
	return page{size: size, bytes: BytesMax, descending: p.GetDescending(), after: p.GetAfter()}, nil
}

// within checks that the position has the length that positions of this list have.
func (p page) within(length int) error {
	if len(p.after) != 0 && len(p.after) != length {
		return code.Invalid("cursor", "is not a position of this list")
	}
	return nil
}

// span is the rows [lo, hi) under a prefix.
type span struct{ prefix, lo, hi []byte }

// under is the span of all rows under a prefix.
func under(prefix []byte) span { return span{prefix, prefix, keys.End(prefix)} }

// number is the key under the prefix that begins with n.
func (s span) number(n uint64) []byte {
	return binary.BigEndian.AppendUint64(bytes.Clone(s.prefix), n)
}

// rest narrows s to what follows the position in the page's direction.
func (p page) rest(s span) span {
	if len(p.after) == 0 {
		return s
	}
	at := append(bytes.Clone(s.prefix), p.after...)
	if p.descending {
		if bytes.Compare(at, s.hi) < 0 {
			s.hi = at
		}
		return s
	}
	if next := append(at, 0); bytes.Compare(next, s.lo) > 0 {
		s.lo = next
	}
	return s
}

// taker reads the item at position; nil when it is not listed. What it gives is added to the reply
// when the page has room for it.
type taker func(position, value []byte) (*item, error)

// item is one thing to list.
type item struct {
	size int // bytes that it takes in the reply
	add  func()
}

// walk gives the rows of s to take, in the page's order, until the page is
// full, by items or by bytes, the rows end or visitsMax were looked at. It fills the reply's positions and next.
func (p page) walk(r store.Reader, s span, take taker, reply *nodev1.Reply) error {
	s = p.rest(s)
	if bytes.Compare(s.lo, s.hi) >= 0 {
		return nil
	}
	visits, used, last := 0, 0, []byte(nil)
	return r.Scan(s.lo, s.hi, p.descending, func(key, value []byte) (bool, error) {
		position := key[len(s.prefix):]
		if len(reply.Positions) == p.size || visits == visitsMax {
			reply.Next = last
			return false, nil
		}
		it, err := take(position, value)
		if err != nil {
			return false, err
		}
		if it != nil && used > 0 && used+it.size > p.bytes {
			reply.Next = last
			return false, nil
		}
		visits++
		last = bytes.Clone(position)
		if it != nil {
			used += it.size
			it.add()
			reply.Positions = append(reply.Positions, last)
		}
		return true, nil
	})
}
