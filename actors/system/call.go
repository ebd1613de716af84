package system

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	grains "parley/actors/grain"
	"parley/cluster/directory"
	"parley/persistence/keys"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// safety says what a second execution of a request would do.
type safety int

const (
	// reading changes nothing: repeated at will, and never unknown.
	reading safety = iota
	// repeatable finds the first result by its client id, or by ids that the caller made:
	// repeated when an attempt may have been lost.
	repeatable
	// once would happen twice: repeated only after an answer that says it has not happened.
	once
)

// safetyOf sorts a request. A command that lists no reason to be repeatable is not.
func safetyOf(req *nodev1.GrainRequest) safety {
	cmd := req.GetCommand()
	if cmd == nil {
		return reading
	}
	if cmd.ClientId != "" {
		return repeatable
	}
	switch cmd.Body.(type) {
	case *nodev1.Command_CreateConversation, *nodev1.Command_CreateUser, // the id is in the request
		*nodev1.Command_Probe, *nodev1.Command_AdvanceCursor, *nodev1.Command_AdvanceCursors, // the same answer, the larger cursor
		*nodev1.Command_UserChanged, *nodev1.Command_IndexMembership, // by outbox: at least once anyway
		*nodev1.Command_PurgeConversation, *nodev1.Command_PropagateUser, *nodev1.Command_AnnounceMembers, // likewise
		*nodev1.Command_ImportUser, *nodev1.Command_ImportConversation, *nodev1.Command_ImportMembers, // carry ids and content
		*nodev1.Command_ImportEvents, *nodev1.Command_FinishImport, // likewise
		*nodev1.Command_ReserveName, *nodev1.Command_ConfirmName, *nodev1.Command_ReleaseName, // name the owner
		*nodev1.Command_PutCredential, *nodev1.Command_PutSettings, // replace
		*nodev1.Command_FoundPlacement, *nodev1.Command_PutStore, *nodev1.Command_SetStore, // likewise
		*nodev1.Command_RaiseVersion, *nodev1.Command_RecoverPlacement: // never back, once for its id
		return repeatable
	default:
		return once
	}
}

// call is one Ask on its way. It is in the table under the id of its attempt; who takes it out of
// there owns it.
//
//	parked ──its line is due──▶ in flight ──not leader, lost──▶ parked
//	                            in flight ──answer, end of time──▶ done
type call struct {
	// Fixed at AskAsync.
	c        *Caller
	ctx      context.Context // the caller's, for its end alone
	req      *nodev1.GrainRequest
	shard    keys.Shard
	done     func(*nodev1.GrainReply, error)
	deadline time.Time
	safety   safety
	order    uint64

	// Owned by whoever took it from the table.
	flying   bool
	stuck    bool           // parked, because no leader is known or none can be reached
	lead     directory.Lead // as the attempt, or the parking, found it
	since    time.Time      // since when the call waits for this leader, or for any
	local    *inbound       // the attempt, when it was made to this node
	lostMark uint64         // peers' count of losses of the address at the attempt
	lostAt   time.Time      // when the attempt can give up: its patience
	pause    time.Duration
	patience time.Duration
	doubt    time.Time // when an attempt whose way was lost is given up as unknown; zero = not lost
	maybe    bool      // an earlier attempt may have been executed
}

// start makes an attempt, unless calls for the same identity wait for theirs: then this one waits
// behind them.
func (c *call) start(now time.Time) {
	joined, open := c.c.lines.join(c, now)
	switch {
	case !open:
		c.end()
	case !joined:
		c.attempt(now)
	}
}

// attempt sends the request to the leader that the directory names, or parks the call.
func (c *call) attempt(now time.Time) {
	lead := c.follow(now)
	switch {
	case lead.Node == "" || (lead.Local && !lead.Ready) || (!lead.Local && lead.Addr == ""):
		c.stuck = true
		c.park(now)
	case lead.Local:
		c.attemptHere()
	default:
		c.attemptThere(now)
	}
}

// follow looks who leads. A leader that was not known before gets all the time that one may take.
func (c *call) follow(now time.Time) directory.Lead {
	lead := c.c.s.dir.Get(c.shard)
	if c.since.IsZero() || lead.Node != "" && (lead.Node != c.lead.Node || lead.Epoch != c.lead.Epoch) {
		c.since = now
	}
	c.lead = lead
	return lead
}

func (c *call) attemptHere() {
	s := c.c.s
	in := &inbound{s: s, req: c.req}
	c.flying, c.stuck, c.local, c.doubt = true, false, in, time.Time{}
	lead := c.lead
	id, ok := c.c.register(c)
	if !ok {
		c.end()
		return
	}
	in.id = id
	if !s.admit(in) {
		return
	}
	if in.req.Query != nil {
		if in.claim() {
			s.o.Querier(in.req, in.respond)
		}
		return
	}
	s.actors.Root.Send(c.c.target(lead).placement, in)
}

func (c *call) attemptThere(now time.Time) {
	s, lead, req := c.c.s, c.lead, c.req
	if s.peers.refuses(lead.Addr, now) {
		s.metrics.drop(dropUnavailable)
		c.stuck = true
		c.park(now)
		return
	}
	if tooLarge(req) {
		s.metrics.drop(dropTooLarge)
		c.finish(nil, code.New(code.TooLarge, "The request is larger than %d bytes.", MessageSizeMax))
		return
	}
	c.flying, c.stuck, c.local, c.doubt = true, false, nil, time.Time{}
	c.lostMark = s.peers.losses(lead.Addr)
	c.lostAt = now.Add(c.patience)
	id, ok := c.c.register(c)
	if !ok {
		c.end()
		return
	}
	// From here another goroutine may own c.
	to := c.c.target(lead)
	pid := to.placement
	if req.Query != nil {
		pid = to.queries
	}
	s.send(pid, req, c.c.replyTo(id))
}

// park waits for the lead to change, or a little longer than last time.
func (c *call) park(now time.Time) {
	o := &c.c.s.o
	c.pause = min(max(2*c.pause, o.BackoffMin), o.BackoffMax)
	c.flying, c.local = false, nil
	if !c.c.lines.park(c, now.Add(c.pause/2+rand.N(c.pause/2+1))) {
		c.end()
		return
	}
	c.c.wake()
}

// replied implements waiter.
func (c *call) replied(msg any) {
	switch m := msg.(type) {
	case *nodev1.GrainReply:
		if c.local == nil {
			c.c.s.peers.answered(c.lead.Addr, time.Now())
		}
		c.onReply(m)
	case *actor.DeadLetterResponse: // nobody was there, or nothing was sent: surely not executed
		c.again("dead_letter")
	default:
		c.maybe = true
		c.finish(nil, code.New(code.Internal, "The answer was not understood."))
	}
}

func (c *call) onReply(reply *nodev1.GrainReply) {
	switch {
	case reply.NotLeader:
		c.again("not_leader")
	case reply.Error == nil:
		c.finish(reply, nil)
	case reply.Error.Code == string(code.Unknown) && c.safety != once:
		c.maybe = true
		c.again("unknown")
	case c.maybe && c.safety != reading && refused(grains.CodedError(reply.Error)):
		c.finish(nil, errUnknown()) // this attempt surely did nothing; an earlier one may have
	default:
		c.finish(reply, grains.CodedError(reply.Error))
	}
}

// refused says whether an error means that the attempt, for a reason that will pass, did nothing.
func refused(err error) bool { return code.Has(err, code.NotStored) || code.Has(err, code.Unavailable) }

func (c *call) again(why string) {
	c.c.s.metrics.attempts.WithLabelValues(why).Inc()
	now := time.Now()
	c.follow(now)
	c.park(now)
}

// rank implements waiter: repeated calls keep the order in which they were made.
func (c *call) rank() uint64 { return c.order }

// due implements waiter.
func (c *call) due(r *review) bool {
	if !r.now.Before(c.deadline) || c.ctx.Err() != nil {
		return true
	}
	r.again(c.deadline)
	switch {
	case c.leaderless(r):
		return true
	case !c.flying:
		return false // its line is tried again
	case c.local != nil:
		return false // the grain answers, and so does what ends it
	case c.safety == once:
		return c.doubtful(r)
	default:
		r.again(c.lostAt)
		return c.strayed() || c.c.s.peers.refuses(c.lead.Addr, r.now) || !r.now.Before(c.lostAt)
	}
}

// leaderless says that the call has waited for LeaderlessMax and the shard has no leader as far as
// this node can see: none is known or reachable, or the leader's node answers nobody. A node that
// is cut off then says so long before the deadline, and its clients look elsewhere. A leader here
// ends its calls itself, when it finds that it leads no more.
func (c *call) leaderless(r *review) bool {
	silent := c.since
	switch {
	case !c.flying && !c.stuck, c.flying && c.local != nil:
		return false
	case c.flying:
		if last := c.c.s.peers.lastAnswer(c.lead.Addr); last.After(silent) {
			silent = last
		}
	}
	over := silent.Add(c.c.s.o.LeaderlessMax)
	r.again(over)
	return !r.now.Before(over)
}

// strayed says that the attempt's way there or back is gone, or led to a deposed leader. An
// address that refuses connections is not meant: from there every attempt comes back by itself.
func (c *call) strayed() bool {
	return !c.c.follows(c.shard, c.lead) || c.c.s.peers.losses(c.lead.Addr) != c.lostMark
}

// doubtful gives an attempt that strayed a last chance to be answered: a deposed leader and
// a broken connection may both still say what became of it.
func (c *call) doubtful(r *review) bool {
	if c.doubt.IsZero() {
		if !c.strayed() {
			return false
		}
		c.doubt = r.now.Add(c.c.s.o.AttemptTimeout)
	}
	r.again(c.doubt)
	return !r.now.Before(c.doubt)
}

// act implements waiter.
func (c *call) act(r *review) {
	switch {
	case !r.now.Before(c.deadline) || c.ctx.Err() != nil || c.leaderless(r):
		c.expire()
	case c.safety == once:
		c.finish(nil, errUnknown())
	default:
		c.maybe = true
		if c.strayed() {
			c.c.s.metrics.attempts.WithLabelValues("strayed").Inc()
		} else {
			c.c.s.metrics.attempts.WithLabelValues("silent").Inc()
			c.patience *= 2
		}
		c.start(r.now)
	}
}

// expire ends a call whose time is over, and says whether it may have happened.
func (c *call) expire() {
	if c.flying && (c.local == nil || !c.local.withdraw()) {
		c.maybe = true
	}
	if c.maybe && c.safety != reading {
		c.finish(nil, errUnknown())
		return
	}
	c.finish(nil, &code.Error{Code: code.Unavailable, Message: "No leader answered in time.", RetryAfter: c.c.s.o.RetryAfter})
}

// end implements waiter.
func (c *call) end() { c.expire() }

func (c *call) finish(reply *nodev1.GrainReply, err error) { c.done(reply, err) }

func errUnknown() error {
	return code.New(code.Unknown, "The outcome is not known. Send the request again with the same client id.")
}
