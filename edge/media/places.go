package media

import (
	"sync"
	"time"

	"parley/proto/code"
)

// places are those of the uploads under way. One user gets a part of them: who sends slowly, and much at once, takes
// them from nobody else.
type places struct {
	most, each int // in all, and of one user

	mu    sync.Mutex
	taken int            // guarded by mu
	by    map[string]int // guarded by mu; by user, without those that have none
}

func newPlaces(most, each int) *places { return &places{most: most, each: each, by: map[string]int{}} }

// take gives a user a place, to be left once, or refuses: with code.Unavailable when there is none, with
// code.RateLimited when it has as many as it may.
func (p *places) take(user string) (leave func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.taken >= p.most:
		return nil, code.New(code.Unavailable, "Too many images are being uploaded; try again.")
	case p.by[user] >= p.each:
		e := code.New(code.RateLimited, "%d images are being uploaded with the tokens of this user; wait for one of them.", p.each)
		e.RetryAfter = time.Second
		return nil, e
	}
	p.taken++
	p.by[user]++
	return func() { p.leave(user) }, nil
}

func (p *places) leave(user string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.by[user]--; p.by[user] == 0 {
		delete(p.by, user)
	}
}
