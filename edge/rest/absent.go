package rest

import (
	"context"

	"parley/proto/code"
)

// What the API has and Parley does not is answered at once and by name, so that a client which
// tries it does not wait for it.

func (h *Handler) noVoice(context.Context, *call) (any, error) {
	return nil, code.New(code.NotAvailable, "Voice is not available on this server.")
}

// legsOf is the list of calls: there are none.
type legsOf struct {
	Legs []object `json:"legs"`
}

// betaLegPage is the list in the first generation's form.
type betaLegPage struct {
	Count       int      `json:"count"`
	PageSize    int      `json:"page_size"`
	RecordIndex int      `json:"record_index"`
	Links       selfLink `json:"_links"`
	Embedded    legsOf   `json:"_embedded"`
}

// noLegs is an empty page in the form of the generation.
func (h *Handler) noLegs(_ context.Context, c *call) (any, error) {
	none := legsOf{[]object{}}
	if c.generation == beta {
		w := c.window()
		if err := c.faults.err(); err != nil {
			return nil, err
		}
		return betaLegPage{0, w.size, w.skip, selfLink{link{c.self()}}, none}, nil
	}
	p := c.paging()
	if err := c.faults.err(); err != nil {
		return nil, err
	}
	first := link{c.pageHref(p, "")}
	links := pageLinks{First: first, Self: first}
	if c.generation == v02 {
		return page02[legsOf]{p.size, "", data02[legsOf]{none}, links}, nil
	}
	return page[legsOf]{p.size, none, links}, nil
}
