package socketio

import (
	"context"
	"encoding/json"
	"time"

	"golang.org/x/sync/errgroup"

	"parley/edge/dialect/nexmo"
	"parley/edge/hub"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

const (
	stateInvited = eventv1.MemberState_MEMBER_STATE_INVITED
	stateJoined  = eventv1.MemberState_MEMBER_STATE_JOINED
)

// pageSize is how many memberships or events are read at once.
const pageSize = 100

// parallel bounds the questions of one session to the cluster.
const parallel = 8

// retryAfter is the pause after which a failed listing of memberships is tried again.
const retryAfter = 2 * time.Second

// changesMax bounds the membership changes that wait; more are found by listing all.
const changesMax = 64

// follow begins to follow the user and its conversations, and waits until that is done, within
// bounds: what is late comes later, and the client finds what it missed by the gap.
func (s *session) follow(ctx context.Context) {
	h := s.conn.handler
	feed := h.Hub.Follow(s.principal.GetApplicationId(), s.principal.GetUserId(), s.dialect, s)
	s.mu.Lock()
	s.feed = feed
	gone := s.phase.is(over)
	s.mu.Unlock()
	if gone {
		h.Hub.Abandon(feed)
		return
	}
	timer := time.NewTimer(h.options.SyncWithin)
	defer timer.Stop()
	select {
	case <-s.synced:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Membership implements hub.Follower.
func (s *session) Membership(m *nodev1.MembershipChange) {
	if m.GetMembership().GetState() != stateJoined || m.GetMembership().GetConversationDeleted() {
		return // leaving and deletion end the subscription by themselves
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := m.GetMembership().GetSequence() - 1 // the joining itself is told too
	j := joining{conversation: m.GetMembership().GetConversationId(), after: &before}
	switch f := s.follows[j.conversation]; {
	case f != nil:
		f.later(j)
		return
	case len(s.changes) < changesMax:
		s.changes = append(s.changes, j)
	default:
		s.missed = true
	}
	s.work()
}

// Missed implements hub.Follower.
func (s *session) Missed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.missed = true
	s.work()
}

// work has what waits worked on. Guarded by mu.
func (s *session) work() {
	if !s.working && !s.phase.is(over) {
		s.working = s.conn.handler.spawn(s.workOff)
	}
}

// workOff is a goroutine that lives while there is something to do.
func (s *session) workOff() {
	for {
		s.mu.Lock()
		missed, changes := s.missed, s.changes
		s.missed, s.changes = false, nil
		if !missed && len(changes) == 0 || s.phase.is(over) {
			s.working = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		ctx, cancel := s.conn.handler.command()
		err := s.catchUp(ctx, missed, changes)
		cancel()
		if err != nil {
			s.retry(err)
		}
	}
}

func (s *session) catchUp(ctx context.Context, missed bool, changes []joining) error {
	for _, j := range changes {
		if err := s.join(ctx, j); err != nil {
			return err
		}
	}
	if !missed {
		return nil
	}
	if err := s.followAll(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.began {
		s.began = true
		close(s.synced)
	}
	return nil
}

// retry lists everything again after a while.
func (s *session) retry(err error) {
	s.conn.handler.options.Logger.Warn("a session does not follow all its conversations yet", "session", s.id, "error", err)
	at := time.Now().Add(retryAfter)
	s.mu.Lock()
	s.retryAt = at
	s.mu.Unlock()
	s.conn.wire.Wake(at)
}

// followAll follows every joined conversation that is not followed yet.
func (s *session) followAll(ctx context.Context) error {
	h := s.conn.handler
	page := &nodev1.Page{Size: pageSize}
	for {
		r, err := h.Cluster.ListMemberships(ctx, s.principal, s.principal.GetUserId(), page,
			[]eventv1.MemberState{stateJoined, stateInvited})
		if err != nil {
			return err
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(parallel)
		for i, m := range r.GetMemberships() {
			if m.GetState() == stateInvited {
				g.Go(func() error { return s.remind(gctx, m) })
				continue
			}
			known := &nodev1.Reply{Head: r.GetHeads()[i], Member: r.GetMembers()[i]}
			if known.Member == nil {
				known = nil
			}
			j := joining{conversation: m.GetConversationId(), known: known}
			if !s.moved && m.GetJoinedMs() >= s.since.UnixMilli() {
				before := m.GetSequence() - 1 // the news of the joining may come after the list, or never
				j.after = &before
			}
			g.Go(func() error { return s.join(gctx, j) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
		if len(r.GetNext()) == 0 {
			return nil
		}
		page = &nodev1.Page{Size: pageSize, After: r.GetNext()}
	}
}

// join follows a conversation if the user is joined, from j.after on, or from where the session
// stood, or from now on.
func (s *session) join(ctx context.Context, j joining) error {
	h, conversation, after := s.conn.handler, j.conversation, j.after
	s.mu.Lock()
	position, resumed := s.positions[conversation]
	f, full := s.follows[conversation], len(s.follows) >= h.options.Subscriptions
	if f != nil && j.after != nil {
		f.later(j)
	}
	s.mu.Unlock()
	if f != nil {
		return nil
	}
	if full {
		h.metrics.dropped.WithLabelValues("too_many_conversations").Inc()
		return nil
	}
	r, err := j.known, error(nil)
	if r == nil {
		r, err = h.Cluster.GetConversation(ctx, s.principal, conversation, false)
	}
	if code.Has(err, code.ConversationNotFound) || err == nil && r.GetMember().GetState() != stateJoined {
		return nil // the list was older than this
	}
	if err != nil {
		return err
	}
	head := r.GetHead().GetSequence()
	switch {
	case resumed:
		after = &position
	case after == nil && s.moved && s.dialect.Generation == nexmo.Client:
		if position, err = s.known(ctx, conversation, r.GetHead()); err != nil {
			return err
		}
		after = &position
	}
	sub := h.Hub.Subscribe(hub.Request{
		Application: s.principal.GetApplicationId(), Conversation: conversation, User: s.principal.GetUserId(),
		After: after, Head: head, Dialect: s.dialect, To: s,
	})
	if after == nil {
		after = &head
	}
	if !s.keepFollowing(conversation, sub, *after) {
		h.Hub.Abandon(sub)
	}
	return nil
}

// known is the sequence up to which a session of another node surely has a conversation: what came
// before it began, or so long ago that it cannot go on. Of what came since it is not known how much
// the client has, so all is told again: these SDKs drop what they have by its id. One that lost its
// node in silence would otherwise not hear what it missed before the next event comes.
func (s *session) known(ctx context.Context, conversation string, head *eventv1.Head) (uint64, error) {
	position := head.GetSequence()
	if head.GetTimestampMs() < s.since.UnixMilli() {
		return position, nil
	}
	o := &s.conn.handler.options
	page := &nodev1.Page{Descending: true}
	for told := 0; told < o.MovedEvents; {
		page.Size = uint32(min(pageSize, o.MovedEvents-told))
		r, err := s.conn.handler.Cluster.ListEvents(ctx, s.principal, conversation, &nodev1.ListEvents{Page: page, End: head.GetSequence()})
		if err != nil {
			return 0, err
		}
		for _, v := range r.GetEvents() {
			if v.GetEvent().GetTimestampMs() < s.since.UnixMilli() {
				return v.GetEvent().GetSequence(), nil
			}
			position = v.GetEvent().GetSequence() - 1
		}
		if told += len(r.GetEvents()); len(r.GetNext()) == 0 {
			break
		}
		page = &nodev1.Page{Descending: true, After: r.GetNext()}
	}
	return position, nil
}

// later keeps news of a joining for when f has ended, if f is of an earlier membership: then that one's
// end lies between where f stands and the joining. The session's mu is held.
func (f *followed) later(j joining) {
	if f.position < *j.after { // else f tells the joining, or has told it
		f.again = &j
	}
}

// keepFollowing notes a subscription; false = nobody wants it any more.
func (s *session) keepFollowing(conversation string, sub *hub.Subscription, position uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase.is(over) || s.follows[conversation] != nil {
		return false
	}
	if sub.Over() {
		return true
	}
	if h := s.conn.handler; len(s.follows) >= h.options.Subscriptions { // others came in between
		h.metrics.dropped.WithLabelValues("too_many_conversations").Inc()
		return false
	}
	f := &followed{subscription: sub, position: position}
	s.follows[conversation] = f
	key := nexmo.AckID(conversation, 0)
	if other := s.byAck[key]; other != nil {
		// Both then begin where they began; clients drop what they have.
		other.vague, f.vague = true, true
	} else {
		s.byAck[key] = f
	}
	delete(s.positions, conversation)
	return true
}

// unfollow forgets a subscription that ended; nil = it was forgotten before. Guarded by mu.
func (s *session) unfollow(sub *hub.Subscription) *followed {
	f := s.follows[sub.Conversation()]
	if f == nil || f.subscription != sub {
		return nil
	}
	delete(s.follows, sub.Conversation())
	if key := nexmo.AckID(sub.Conversation(), 0); s.byAck[key] == f {
		delete(s.byAck, key)
	}
	return f
}

// overlap is how much earlier than the end of its connection a session may have stopped to hear:
// a lost connection is noticed late.
const overlap = time.Minute

// remind keeps an invitation for the answer to the login that the session missed while it had no
// connection.
func (s *session) remind(ctx context.Context, m *eventv1.Membership) error {
	s.mu.Lock()
	due := s.resumed && !s.began && time.UnixMilli(m.GetInvitedMs()).After(s.since.Add(-overlap))
	s.mu.Unlock()
	if !due {
		return nil
	}
	v, err := s.conn.handler.Cluster.GetEvent(ctx, s.principal, m.GetConversationId(), m.GetSequence())
	if err != nil {
		if _, coded := code.Of(err); coded {
			return nil // withdrawn meanwhile
		}
		return err
	}
	event, ok := s.dialect.Generation.AppendPending(nil, m.GetConversationId(), v)
	if ok {
		s.mu.Lock()
		s.pending = append(s.pending, event)
		s.mu.Unlock()
	}
	return nil
}

// missedInvitations are told with the answer to the login.
func (s *session) missedInvitations() []json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending
}
