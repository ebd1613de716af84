package rest

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	nodev1 "parley/proto/node/v1"
)

const (
	pageSizeDefault = 10
	pageSizeMax     = 100
)

// cursor is a place in a list. On the wire it is opaque: a byte of version and direction, then
// the position, in base64url.
type cursor struct {
	position []byte
	backward bool // the page ends before the position; otherwise it begins after it
}

const (
	cursorForward  = 0x10
	cursorBackward = 0x11
)

func (c cursor) String() string {
	kind := byte(cursorForward)
	if c.backward {
		kind = cursorBackward
	}
	return base64.RawURLEncoding.EncodeToString(append([]byte{kind}, c.position...))
}

func parseCursor(s string) (c cursor, ok bool) {
	const most = 256
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") || len(s) > most || len(b) < 2 || (b[0] != cursorForward && b[0] != cursorBackward) {
		return c, false
	}
	return cursor{position: b[1:], backward: b[0] == cursorBackward}, true
}

// paging is what a list request asks for.
type paging struct {
	size       int
	descending bool
	cursor     cursor
	given      bool // there is a cursor
}

func (c *call) paging() paging {
	p := paging{size: pageSizeDefault}
	if n := c.query.whole("page_size", 1, pageSizeMax); n != nil {
		p.size = int(*n)
	}
	p.descending = c.query.choice("order", "asc", "desc") == "desc"
	if text := value(c.query.anyText("cursor", 0)); text != "" {
		if p.cursor, p.given = parseCursor(text); !p.given {
			c.query.fault("cursor", "must be a cursor of this list")
		}
	}
	return p
}

// request turns the paging into the cluster's terms. A page before a position is asked for in the
// opposite order, and turned round by settle.
func (p paging) request() *nodev1.Page {
	return &nodev1.Page{
		Size: uint32(p.size), Descending: p.descending != p.cursor.backward, After: p.cursor.position,
	}
}

// settle turns a backward page round, and gives the links to the pages round it.
func (p paging) settle(c *call, r *nodev1.Reply) pageLinks {
	if p.cursor.backward {
		reverse(r)
	}
	links := pageLinks{First: link{c.pageHref(p, "")}, Self: link{c.pageHref(p, "")}}
	if p.given {
		links.Self = link{c.pageHref(p, p.cursor.String())}
	}
	more, before := len(r.Next) > 0, p.given
	next, last := r.Next, len(r.Positions)-1
	if p.cursor.backward {
		more, before = true, len(r.Next) > 0
	}
	if last < 0 {
		return links
	}
	if p.cursor.backward || len(next) == 0 {
		next = r.Positions[last]
	}
	if more {
		links.Next = &link{c.pageHref(p, cursor{position: next}.String())}
	}
	if before {
		links.Prev = &link{c.pageHref(p, cursor{position: r.Positions[0], backward: true}.String())}
	}
	return links
}

// reverse turns every list of a reply round; they are parallel.
func reverse(r *nodev1.Reply) {
	slices.Reverse(r.Members)
	slices.Reverse(r.Events)
	slices.Reverse(r.Memberships)
	slices.Reverse(r.Conversations)
	slices.Reverse(r.Heads)
	slices.Reverse(r.Users)
	slices.Reverse(r.Positions)
}

// pageHref writes the link of a page. The cursor is never the first parameter: old clients take
// the whole link for a query, and would not find it there.
func (c *call) pageHref(p paging, cursor string) string {
	order := "asc"
	if p.descending {
		order = "desc"
	}
	href := c.base() + c.request.URL.EscapedPath() + "?order=" + order + "&page_size=" + strconv.Itoa(p.size)
	if cursor != "" {
		href += "&cursor=" + cursor
	}
	others := url.Values{}
	for name, values := range c.request.URL.Query() {
		if name != "order" && name != "page_size" && name != "cursor" && c.query.asked[name] {
			others.Set(name, values[0])
		}
	}
	if len(others) > 0 {
		href += "&" + others.Encode()
	}
	return href
}

// base is the origin that the client used, as far as it can be known: what the client says of
// itself only comes back to itself.
func (c *call) base() string {
	scheme := "http"
	if c.request.TLS != nil {
		scheme = "https"
	}
	forwarded, _, _ := strings.Cut(c.request.Header.Get("X-Forwarded-Proto"), ",")
	switch strings.ToLower(strings.TrimSpace(forwarded)) {
	case "https":
		scheme = "https"
	case "http":
		scheme = "http"
	}
	return scheme + "://" + hostOf(c.request)
}

func hostOf(r *http.Request) string {
	if strings.ContainsFunc(r.Host, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`"'<>\^{}|/?#@`, c) }) {
		return "localhost"
	}
	return r.Host
}

// link is the absolute link of a thing, in the generation that was asked.
func (c *call) link(segments ...string) string {
	var b strings.Builder
	b.WriteString(c.base())
	b.WriteString(c.generation.prefixes[0])
	for _, s := range segments {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(s))
	}
	return b.String()
}

// sessionsPage takes one page out of a short list that is held whole; a session's id is its
// position.
func sessionsPage(ids []string, p paging) *nodev1.Reply {
	sorted := slices.Clone(ids)
	slices.Sort(sorted)
	request, r := p.request(), &nodev1.Reply{}
	if request.Descending {
		slices.Reverse(sorted)
	}
	for _, id := range sorted {
		beyond := strings.Compare(id, string(request.After))
		if request.Descending {
			beyond = -beyond
		}
		if len(request.After) > 0 && beyond <= 0 {
			continue
		}
		if len(r.Positions) == p.size {
			r.Next = r.Positions[p.size-1]
			break
		}
		r.Positions = append(r.Positions, []byte(id))
	}
	return r
}
