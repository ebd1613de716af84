package limit

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/proto/code"
)

// Scope says whose requests a bucket counts.
type Scope int

// The scopes, from narrow to wide.
const (
	Connection   Scope = iota // one realtime connection, by its session id
	Token                     // one user of one application, or its administrators together
	Conversation              // one conversation, whoever posts
	Application               // everything of one application
	Guess                     // refused tokens and secrets of one remote address
	scopes
)

var scopeNames = [scopes]string{"connection", "token", "conversation", "application", "guess"}

// String names the scope in metrics and messages.
func (s Scope) String() string { return scopeNames[s] }

// Rate is a token bucket: so many requests a second for ever, and Burst at once after a pause.
type Rate struct {
	PerSecond float64
	Burst     float64
}

// idleMin is how long a bucket is remembered at least that is not used: to forget the full ones more often
// would only make work.
const idleMin = time.Minute

// life is after what time a bucket that is not used is surely full.
func (r Rate) life() time.Duration { return max(idleMin, r.takes(r.Burst)) }

// takes is how long it takes until some more has come, never 0.
func (r Rate) takes(some float64) time.Duration {
	const forever = 1e9 // seconds; a Duration holds nine times that
	return max(1, time.Duration(math.Ceil(min(some/r.PerSecond, forever)*float64(time.Second))))
}

// Options are the tunables of Limits. Start from DefaultOptions.
type Options struct {
	Rates      [scopes]Rate // by Scope
	Buckets    int          // buckets remembered per scope, at most twice as many; a forgotten bucket is a full one
	Now        func() time.Time
	Registerer prometheus.Registerer
}

// DefaultOptions stop a run-away client, not a busy one: a token may send hundreds of requests
// a second for as long as it likes.
func DefaultOptions() Options {
	return Options{
		Rates: [scopes]Rate{
			Connection:   {PerSecond: 1_000, Burst: 2_000},
			Token:        {PerSecond: 2_000, Burst: 4_000},
			Conversation: {PerSecond: 5_000, Burst: 10_000},
			Application:  {PerSecond: 50_000, Burst: 100_000},
			Guess:        {PerSecond: 100, Burst: 1_000},
		},
		Buckets:    64 << 10,
		Now:        time.Now,
		Registerer: prometheus.NewRegistry(),
	}
}

// Validate says what is wrong with o.
func (o Options) Validate() error {
	for s, r := range o.Rates {
		if !(r.PerSecond > 0) || !(r.Burst >= 1) || math.IsInf(r.PerSecond, 0) || math.IsInf(r.Burst, 0) {
			return fmt.Errorf("rate of scope %s: PerSecond must be positive, Burst at least 1", Scope(s))
		}
	}
	if o.Buckets < 1 || o.Now == nil || o.Registerer == nil {
		return errors.New("Buckets must be positive; Now and Registerer are needed")
	}
	return nil
}

// Limits are the token buckets of a node. It is safe for use from any goroutine and owns none.
type Limits struct {
	options Options
	buckets [scopes]*Recent[string, bucket]
	lives   [scopes]time.Duration // after which a bucket that is not used is surely full
	refused *prometheus.CounterVec
	forgot  prometheus.Counter
}

// bucket is how full it was, and when. It fills by itself; nothing runs meanwhile.
type bucket struct {
	level float64
	at    time.Time
}

// New makes the limits of a node.
func New(o Options) (*Limits, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	l := &Limits{
		options: o,
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_edge_limit_refused_total",
			Help: "Requests refused because a token bucket was empty, by scope.",
		}, []string{"scope"}),
		forgot: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_edge_limit_buckets_forgotten_total",
			Help: "Token buckets dropped because too many were in use.",
		}),
	}
	held := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "parley_edge_limit_buckets_current",
		Help: "Token buckets remembered: those that were in use in the last two minutes.",
	}, l.held)
	for s := range l.buckets {
		l.buckets[s] = NewRecent[string, bucket](o.Buckets, func(n int) { l.forgot.Add(float64(n)) })
		l.lives[s] = o.Rates[s].life()
	}
	for _, c := range []prometheus.Collector{l.refused, l.forgot, held} {
		if err := o.Registerer.Register(c); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// held is how many buckets are remembered.
func (l *Limits) held() float64 {
	n := 0
	for _, b := range l.buckets {
		n += b.Len()
	}
	return float64(n)
}

// Allow takes cost out of the bucket of key, or refuses with code.RateLimited, which says when
// to come back. An empty key is not counted.
func (l *Limits) Allow(s Scope, key string, cost float64) error {
	if key == "" {
		return nil
	}
	var wait time.Duration
	rate, now := l.options.Rates[s], l.options.Now()
	l.buckets[s].Expire(now, l.lives[s])
	l.buckets[s].Update(key, func(b bucket, have bool) bucket {
		b = b.fill(have, rate, now)
		if cost = min(cost, rate.Burst); b.level < cost {
			wait = rate.takes(cost - b.level)
			return b
		}
		b.level -= cost
		return b
	})
	if wait == 0 {
		return nil
	}
	return l.refuse(s, wait)
}

// Spent says whether the bucket of key is empty, and takes nothing. It lets one refuse before
// work whose outcome decides whether Allow is called.
func (l *Limits) Spent(s Scope, key string) error {
	rate, now := l.options.Rates[s], l.options.Now()
	l.buckets[s].Expire(now, l.lives[s])
	b, have := l.buckets[s].Get(key)
	if b = b.fill(have, rate, now); key == "" || b.level >= 1 {
		return nil
	}
	return l.refuse(s, rate.takes(1-b.level))
}

func (b bucket) fill(have bool, rate Rate, now time.Time) bucket {
	if !have {
		return bucket{level: rate.Burst, at: now}
	}
	if passed := now.Sub(b.at).Seconds(); passed > 0 { // a clock set back fills nothing and takes nothing
		b.level = min(rate.Burst, b.level+passed*rate.PerSecond)
		b.at = now
	}
	return b
}

func (l *Limits) refuse(s Scope, wait time.Duration) error {
	l.refused.WithLabelValues(s.String()).Inc()
	e := code.New(code.RateLimited, "Too many requests of this %s; try again later.", s)
	if s == Guess {
		e.Message = "Too many refused credentials from this address; try again later."
	}
	e.RetryAfter = max(wait, time.Millisecond)
	return e
}
