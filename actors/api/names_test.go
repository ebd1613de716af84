package api_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"parley/actors/api"
	"parley/actors/conversation/world"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// play is one run: sagas whose every step the choices order, lose, repeat or stop.
type play struct {
	t       testing.TB
	choices []int
	users   bool // the sagas are about users, else about conversations

	w       *world.World
	a       *api.Service
	calls   carrier
	pending []*asked
	ghosts  []*nodev1.GrainRequest // were carried once, and may arrive once more
	made    map[string]string      // by key: the id that its creation answered
	broken  string                 // what went wrong first
}

func (p *play) fail(format string, args ...any) {
	if p.broken == "" {
		p.broken = fmt.Sprintf(format, args...)
	}
}

// choose takes the next choice, below n; 0 when all were taken.
func (p *play) choose(n int) int {
	if len(p.choices) == 0 || n == 0 {
		return 0
	}
	c := p.choices[0]
	p.choices = p.choices[1:]
	return c % n
}

var letters = []string{"a", "b", "c"}

// saga begins one call of the API. Its outcome is told to done, which the test calls later.
func (p *play) saga(ctx context.Context) func() func() {
	key, name := []string{"k1", "k2", "k3"}[p.choose(3)], letters[p.choose(3)]
	thing := p.made[key]
	switch p.choose(4) {
	case 0:
		if thing == "" {
			break
		}
		return func() func() { _ = p.delete(ctx, thing); return nothing }
	case 1, 2:
		if thing == "" {
			break
		}
		return func() func() { _ = p.rename(ctx, thing, name); return nothing }
	}
	return func() func() {
		made, err := p.create(ctx, key, name)
		return func() {
			if err != nil {
				return
			}
			if before := p.made[key]; before != "" && before != made {
				p.fail("key %s made %s and %s", key, before, made)
			}
			p.made[key] = made
		}
	}
}

func nothing() {}

func (p *play) create(ctx context.Context, key, name string) (string, error) {
	if p.users {
		u, err := p.a.CreateUser(ctx, admin, key, &eventv1.User{Name: name})
		return u.GetId(), err
	}
	c, _, err := p.a.CreateConversation(ctx, admin, key, &eventv1.Conversation{Name: name})
	return c.GetId(), err
}

func (p *play) rename(ctx context.Context, thing, name string) error {
	if p.users {
		_, err := p.a.UpdateUser(ctx, admin, thing, &nodev1.UpdateUser{Name: &name})
		return err
	}
	_, _, err := p.a.UpdateConversation(ctx, admin, thing, &nodev1.UpdateConversation{Name: &name})
	return err
}

func (p *play) delete(ctx context.Context, thing string) error {
	if p.users {
		return p.a.DeleteUser(ctx, admin, thing)
	}
	return p.a.DeleteConversation(ctx, admin, thing)
}

// run plays sagas until the choices are used up and everything has come to rest.
func (p *play) run(ctx context.Context) {
	var g errgroup.Group
	results := make(chan func(), 1024) // more than there are choices: telling never waits
	running := 0
	for p.broken == "" {
		synctest.Wait()
		p.collect()
		for len(results) > 0 {
			(<-results)()
			running--
		}
		begin := len(p.choices) > 0 && running < 4 && p.choose(4) == 0
		switch {
		case begin:
			saga := p.saga(ctx)
			running++
			g.Go(func() error { results <- saga(); return nil })
		case running > 0 && p.choose(8) == 7: // what is under way takes long
			p.pass(ctx, 300*time.Millisecond)
		case len(p.pending)+len(p.ghosts)+p.w.Deliverable() > 0:
			p.step()
		case running > 0: // it waits for somebody else's reservation to come of age
			p.pass(ctx, 5*time.Millisecond)
		case len(p.choices) == 0:
			p.check()
			_ = g.Wait()
			return
		}
		p.check()
	}
	p.drain(results, running)
	_ = g.Wait()
}

// drain ends the sagas of a broken run.
func (p *play) drain(results chan func(), running int) {
	for running > 0 {
		select {
		case c := <-p.calls:
			c.reply <- answer{err: code.New(code.Unknown, "over")}
		case <-results:
			running--
		default:
			for _, c := range p.pending {
				c.reply <- answer{err: code.New(code.Unknown, "over")}
			}
			p.pending = nil
			p.pass(p.t.Context(), time.Millisecond)
		}
	}
}

func (p *play) pass(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (p *play) collect() {
	for {
		select {
		case c := <-p.calls:
			p.pending = append(p.pending, c)
		default:
			return
		}
	}
}

// step carries one request, one repeated request, or one row of the outbox.
func (p *play) step() {
	p.w.Now = time.Now().UnixMilli()
	n := p.choose(len(p.pending) + len(p.ghosts) + p.w.Deliverable())
	switch {
	case n < len(p.pending):
		c := p.pending[n]
		p.pending = append(p.pending[:n:n], p.pending[n+1:]...)
		p.carry(c)
	case n < len(p.pending)+len(p.ghosts):
		n -= len(p.pending)
		ghost := p.ghosts[n]
		p.ghosts = append(p.ghosts[:n:n], p.ghosts[n+1:]...)
		_ = do(p.w, ghost)
	default:
		if err := p.w.DeliverOne(n-len(p.pending)-len(p.ghosts), p.choose(8) == 7); err != nil {
			p.fail("outbox: %v", err)
		}
	}
}

// carry brings a request to its grain and the answer back. Either may be lost, and a request that
// is safe to repeat may arrive once more, later.
func (p *play) carry(c *asked) {
	fate := p.choose(16)
	if fate == 15 { // never arrives; or not before somebody has stopped waiting
		c.reply <- answer{err: code.New(code.Unknown, "lost")}
		p.ghosts = append(p.ghosts, c.req)
		return
	}
	got := do(p.w, c.req)
	switch fate {
	case 14:
		c.reply <- answer{err: code.New(code.Unknown, "lost")}
	case 13:
		if c.req.GetCommand().GetUpdateUser() == nil && c.req.GetCommand().GetUpdateConversation() == nil {
			p.ghosts = append(p.ghosts, c.req)
		}
		c.reply <- got
	default:
		c.reply <- got
	}
}

// check holds after every step: no two living things bear one name.
func (p *play) check() {
	bearers := map[string]string{}
	for thing, name := range p.alive() {
		if other := bearers[name]; other != "" {
			p.fail("%s and %s bear %q", other, thing, name)
		}
		bearers[name] = thing
	}
}

// alive reads the living things from their rows, with their names.
func (p *play) alive() map[string]string {
	found := map[string]string{}
	for _, key := range []string{"k1", "k2", "k3"} {
		for n := range 6 {
			creator := ""
			if n > 0 {
				creator = fmt.Sprint("\x00", n)
			}
			if p.users {
				thing := id.Derive(id.User, app, creator, key)
				r, err := p.w.Ask(nodev1.Kind_KIND_USER, app, thing, &nodev1.Query{Principal: admin, Body: &nodev1.Query_GetUser{GetUser: &nodev1.GetUser{}}})
				if err == nil {
					found[thing] = r.User.Name
				}
				continue
			}
			thing := id.Derive(id.Conversation, app, creator, key)
			r, err := p.w.Ask(nodev1.Kind_KIND_CONVERSATION, app, thing, &nodev1.Query{Principal: admin, Body: &nodev1.Query_GetConversation{GetConversation: &nodev1.GetConversation{}}})
			if err == nil {
				found[thing] = r.Conversation.Name
			}
		}
	}
	return found
}

// settled holds at the end: who bears a name is found by it, and every other name is free.
func (p *play) settled(ctx context.Context) {
	bearers := map[string]string{}
	for thing, name := range p.alive() {
		bearers[name] = thing
	}
	var g errgroup.Group
	over := make(chan struct{})
	g.Go(func() error {
		defer close(over)
		for _, name := range letters {
			made, err := p.create(ctx, "", name)
			taken := code.Has(err, code.UserName) || code.Has(err, code.ConversationName)
			if bearer := bearers[name]; taken != (bearer != "") || !taken && err != nil {
				p.fail("%q is borne by %q, and a new one gets %s, %v", name, bearer, made, err)
			}
		}
		return nil
	})
	for {
		synctest.Wait()
		p.collect()
		select {
		case <-over:
			_ = g.Wait()
			return
		default:
		}
		if len(p.pending) > 0 {
			p.step()
		} else {
			p.pass(ctx, 5*time.Millisecond)
		}
	}
}

// TestNamesAreUnique: whatever the order in which the steps of creations, renamings, deletions and
// the outbox happen, whichever of them are lost, late or repeated: no two living things ever bear one
// name, a key makes one thing, and in the end every name that nobody bears is free.
func TestNamesAreUnique(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		choices := rapid.SliceOfN(rapid.IntRange(0, 1<<16), 200, 600).Draw(rt, "choices")
		users := rapid.Bool().Draw(rt, "users")
		if broken := played(t, choices, users); broken != "" {
			rt.Fatal(broken)
		}
	})
}

func played(t *testing.T, choices []int, users bool) (broken string) {
	synctest.Test(t, func(t *testing.T) {
		p := &play{t: t, choices: choices, users: users, w: world.New(shards), calls: make(carrier, 64), made: map[string]string{}}
		p.a = newAPI(t, p.calls, world.Rows{}) // no application was deleted
		p.run(t.Context())
		if p.broken == "" {
			p.settled(t.Context())
		}
		broken = p.broken
	})
	return broken
}
