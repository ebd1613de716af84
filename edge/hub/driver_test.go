package hub

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"parley/actors/fanout"
	"parley/cluster/shard"
	"parley/edge/socket"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// cluster is a log with an address book: what a hub asks of the cluster, answered from memory.
// Its questions can be held back and refused.
type cluster struct {
	mu        sync.Mutex
	log       map[string][]*nodev1.EventView // by conversation
	interests []*nodev1.Interest             // in the order of arrival
	shards    map[string]uint32              // told for a conversation or user
	gone      map[string]bool                // deleted
	key       string                         // every application's
	blind     error                          // why no application can be looked at
	looked    func()                         // called once, when one was looked at and its answer is on its way
	reads     int
	refuse    error
	gate      chan struct{} // nil = open; closed = opened again
	deaf      chan struct{} // the same for registrations alone
	inside    int           // questions at the gate
	most      int
}

func newCluster() *cluster {
	return &cluster{log: map[string][]*nodev1.EventView{}, shards: map[string]uint32{}, gone: map[string]bool{}}
}

func (c *cluster) enter(ctx context.Context) error {
	c.mu.Lock()
	c.inside++
	c.most = max(c.most, c.inside)
	gate := c.gate
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.inside--
		c.mu.Unlock()
	}()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refuse
}

// Interest implements Cluster.
func (c *cluster) Interest(ctx context.Context, i *nodev1.Interest) (*nodev1.InterestReply, error) {
	if err := c.enter(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	deaf := c.deaf
	c.mu.Unlock()
	if deaf != nil {
		<-deaf
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.interests = append(c.interests, i)
	return &nodev1.InterestReply{Epoch: 1, Head: uint64(len(c.log[i.Id])), Shard: c.shards[i.Id], Gone: c.gone[i.Id]}, nil
}

// Application implements Cluster.
func (c *cluster) Application(_ context.Context, id string) (*eventv1.Application, error) {
	meanwhile := func() {}
	defer func() { meanwhile() }()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.looked != nil {
		meanwhile, c.looked = c.looked, nil
	}
	switch {
	case c.blind != nil:
		return nil, c.blind
	case c.gone[id]:
		return nil, code.New(code.ApplicationNotFound, "no application")
	}
	return &eventv1.Application{Id: id, PublicKey: c.key}, nil
}

// ListEvents implements Cluster.
func (c *cluster) ListEvents(ctx context.Context, p *nodev1.Principal, id string, l *nodev1.ListEvents) (*nodev1.Reply, error) {
	if err := c.enter(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reads++
	if !p.Admin || p.ApplicationId != "app" {
		return nil, code.New(code.Permission, "no")
	}
	log := c.log[id]
	head := uint64(len(log))
	if l.Start > head {
		return &nodev1.Reply{Head: &eventv1.Head{Sequence: head}}, nil
	}
	page := log[l.Start-1 : min(head, l.Start-1+uint64(l.Page.Size))]
	return &nodev1.Reply{Events: page, Head: &eventv1.Head{Sequence: head}}, nil
}

func (c *cluster) post(id string) *nodev1.Fanout {
	c.mu.Lock()
	defer c.mu.Unlock()
	sequence := uint64(len(c.log[id]) + 1)
	v := &nodev1.EventView{Event: &eventv1.Event{Sequence: sequence, Type: "text"}}
	c.log[id] = append(c.log[id], v)
	return &nodev1.Fanout{ApplicationId: "app", Id: id, Head: sequence, Body: &nodev1.Fanout_Event{Event: v}}
}

func (c *cluster) registrations() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.interests)
}

// atOnce is how many questions are being answered, and were at most.
func (c *cluster) atOnce() (now, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inside, c.most
}

// ear is a connection that writes down what it hears; it may be asked from any goroutine.
type ear struct {
	mu    sync.Mutex
	words []byte
	ended bool
}

func (e *ear) Send(b []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.words = append(e.words, b...)
}
func (e *ear) SendNow(b []byte) { e.Send(b) }
func (e *ear) Ended(*Subscription) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = true
}

func (e *ear) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return string(e.words)
}

// edge runs a whole hub with its goroutines in virtual time.
func edge(t *testing.T, change func(*Options), story func(t *testing.T, h *Hub, c *cluster)) {
	synctest.Test(t, func(t *testing.T) {
		o := DefaultOptions()
		if change != nil {
			change(&o)
		}
		pump := socket.NewPump(1)
		h, err := New(pump, o)
		if err != nil {
			t.Fatal(err)
		}
		c := newCluster()
		h.Start(t.Context(), c, nil)
		defer pump.Close()
		defer h.Close()        // also when the story fails: the clock would go on for ever
		elapse(2 * watchEvery) // a ticker that has just begun may pass over its first tick
		story(t, h, c)
	})
}

// elapse lets virtual time go by.
func elapse(d time.Duration) {
	<-time.NewTimer(d).C
	synctest.Wait()
}

// listen subscribes to a conversation from now on.
func listen(h *Hub, c *cluster, id string) (*ear, *Subscription) {
	e := &ear{}
	c.mu.Lock()
	head := uint64(len(c.log[id]))
	c.mu.Unlock()
	return e, h.Subscribe(Request{Application: "app", Conversation: id, User: "USR-a", Head: head, Dialect: plain{}, To: e})
}

func fed(items ...*nodev1.Fanout) *nodev1.FanoutBatch {
	return &nodev1.FanoutBatch{Items: items}
}

// TestAHoleInTheFeedIsHealed loses a batch: the number of the next one shows it, every interest in
// what its sender leads is registered again, and what was lost is read.
func TestAHoleInTheFeedIsHealed(t *testing.T) {
	edge(t, nil, func(t *testing.T, h *Hub, c *cluster) {
		inbound, err := fanout.NewInbound("n1", h, time.Now, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.shards["CON-tea"], c.shards["CON-cake"] = 5, 5
		inbound.LeadChanged(shard.Lead{Shard: 5, Node: "n2", Epoch: 1, Ready: true})
		elapse(2 * clockTick)
		tea, _ := listen(h, c, "CON-tea")
		cake, _ := listen(h, c, "CON-cake")
		synctest.Wait()
		from := func(number uint64, item *nodev1.Fanout) *nodev1.FanoutBatch {
			return &nodev1.FanoutBatch{Node: "n2", Feed: number, Items: []*nodev1.Fanout{item}}
		}
		inbound.Deliver(from(1, c.post("CON-tea")))
		c.post("CON-cake") // batch 2 is lost, and nothing more will be said in this room
		inbound.Deliver(from(3, c.post("CON-tea")))
		elapse(2 * time.Second)
		if tea.text() != "1 2 " || cake.text() != "1 " {
			t.Errorf("tea %q, cake %q", tea.text(), cake.text())
		}
		if got := c.registrations(); got != 4 {
			t.Errorf("%d registrations, want two and two again", got)
		}
	})
}

// TestALostLastBatchIsFoundByTheRefresh: without a later batch nothing shows the hole, but
// interest is confirmed from time to time.
func TestALostLastBatchIsFoundByTheRefresh(t *testing.T) {
	edge(t, nil, func(t *testing.T, h *Hub, c *cluster) {
		tea, _ := listen(h, c, "CON-tea")
		synctest.Wait()
		c.post("CON-tea")
		elapse(h.options.Refresh - 2*time.Second)
		if tea.text() != "" {
			t.Fatalf("heard %q already", tea.text())
		}
		elapse(4 * time.Second)
		if tea.text() != "1 " {
			t.Errorf("heard %q", tea.text())
		}
	})
}

// TestQuestionsAreBoundedAndPatient: at most AsksMax questions are on their way; each has its
// time, and what was refused or timed out is asked again, less and less often.
func TestQuestionsAreBoundedAndPatient(t *testing.T) {
	edge(t, func(o *Options) { o.AsksMax = 3 }, func(t *testing.T, h *Hub, c *cluster) {
		c.gate = make(chan struct{})
		ears := map[string]*ear{}
		for i := range 10 {
			id := fmt.Sprintf("CON-%d", i)
			ears[id], _ = listen(h, c, id)
		}
		synctest.Wait()
		if inside, _ := c.atOnce(); inside != 3 {
			t.Errorf("%d questions at once, want 3", inside)
		}
		elapse(h.options.AskWithin*5 + time.Second/2) // all have timed out, and were asked again
		if _, most := c.atOnce(); most > 3 || c.registrations() != 0 {
			t.Errorf("%d questions at once, %d answered", most, c.registrations())
		}
		close(c.gate)
		elapse(retryMax * 2)
		for id, e := range ears {
			h.Deliver(fed(c.post(id)))
			synctest.Wait()
			if e.text() != "1 " {
				t.Errorf("%s heard %q", id, e.text())
			}
		}
	})
}

// TestRefusedInterestIsTriedAgain: nobody leads for a while.
func TestRefusedInterestIsTriedAgain(t *testing.T) {
	edge(t, nil, func(t *testing.T, h *Hub, c *cluster) {
		c.mu.Lock()
		c.refuse = errors.New("nobody leads")
		c.mu.Unlock()
		tea, _ := listen(h, c, "CON-tea")
		elapse(10 * time.Second)
		c.mu.Lock()
		c.refuse = nil
		c.mu.Unlock()
		c.post("CON-tea")
		elapse(retryMax + 2*clockTick)
		// Registered after the event: its head tells of it.
		if tea.text() != "1 " {
			t.Errorf("heard %q", tea.text())
		}
	})
}

// TestInterestIsWithdrawnAfterTheGrace: the last one leaves, comes back in time, leaves for good.
// The withdrawal has a higher version than every registration, and a room made anew a higher one.
func TestInterestIsWithdrawnAfterTheGrace(t *testing.T) {
	edge(t, nil, func(t *testing.T, h *Hub, c *cluster) {
		_, first := listen(h, c, "CON-tea")
		synctest.Wait()
		h.Abandon(first)
		elapse(h.options.Grace / 2)
		_, second := listen(h, c, "CON-tea")
		elapse(h.options.Grace)
		if n := len(h.everyRoom()); n != 1 {
			t.Fatalf("%d rooms with a subscriber", n)
		}
		h.Abandon(second)
		elapse(h.options.Grace + time.Second)
		if n := len(h.everyRoom()); n != 0 {
			t.Fatalf("%d rooms after the grace", n)
		}
		listen(h, c, "CON-tea")
		synctest.Wait()
		var last uint64
		var story string
		for _, i := range c.interests {
			if i.Version <= last {
				t.Errorf("version %d after %d", i.Version, last)
			}
			last = i.Version
			story += map[bool]string{false: "+", true: "-"}[i.Withdraw]
		}
		if story != "+-+" && story != "++-+" { // perhaps confirmed in between
			t.Errorf("told %q", story)
		}
	})
}

// TestSessionsAreForgottenInTime: the sweep of a running hub.
func TestSessionsAreForgottenInTime(t *testing.T) {
	edge(t, nil, func(t *testing.T, h *Hub, c *cluster) {
		conn := &holder{}
		s, _, err := h.OpenSession(t.Context(), Session{Application: "app", User: "USR-a"}, conn)
		if err != nil {
			t.Fatal(err)
		}
		h.CloseSession(s.ID, conn, false)
		elapse(h.options.SessionResume - time.Second)
		if ids, _ := h.Sessions(t.Context(), "app", "USR-a"); len(ids) != 1 {
			t.Errorf("forgotten early: %v", ids)
		}
		elapse(3 * time.Second)
		if ids, _ := h.Sessions(t.Context(), "app", "USR-a"); len(ids) != 0 {
			t.Errorf("remembered: %v", ids)
		}
	})
}

// TestTooFarBehindIsReset: more than CatchUpMax events are not sent one by one; nor is anything
// to a client that claims to have what does not exist.
func TestTooFarBehindIsReset(t *testing.T) {
	edge(t, func(o *Options) { o.CatchUpMax = 5 }, func(t *testing.T, h *Hub, c *cluster) {
		for range 6 {
			c.post("CON-tea")
		}
		for after, want := range map[uint64]string{0: "reset(6) 7 ", 1: "2 3 4 5 6 7 ", 6: "7 ", 9: "reset(6) 7 "} {
			c.mu.Lock()
			c.log["CON-tea"] = c.log["CON-tea"][:6]
			c.mu.Unlock()
			e := &ear{}
			s := h.Subscribe(Request{Application: "app", Conversation: "CON-tea", User: "USR-a", After: &after, Head: 6, Dialect: resetting{}, To: e})
			synctest.Wait()
			room := s.room
			h.Deliver(fed(c.post("CON-tea")))
			synctest.Wait()
			if e.text() != want {
				t.Errorf("after %d: %q, want %q", after, e.text(), want)
			}
			h.Abandon(s)
			room.mu.Lock()
			h.drop(room) // the next one meets a new room
			room.gone = true
			room.mu.Unlock()
		}
	})
}

// resetting is plain that says resets.
type resetting struct{ plain }

func (resetting) Reset(dst []byte, _ string, head uint64) []byte {
	return fmt.Appendf(dst, "reset(%d) ", head)
}
