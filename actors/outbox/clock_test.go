package outbox

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/persistence/store"
	nodev1 "parley/proto/node/v1"
)

// quick is a host that takes every write, and a caller whose attempts are told to attempts.
type quick struct {
	shelf
	attempts chan func(*nodev1.GrainReply, error)
}

func (q quick) Propose(p shard.Proposal)                       { p.Done(nil) }
func (q quick) ReadIndex(keys.Shard, func(shard.Epoch, error)) {}
func (q quick) Reader() store.Reader                           { return q.shelf }
func (q quick) AskAsync(_ context.Context, _ *nodev1.GrainRequest, done func(*nodev1.GrainReply, error)) {
	q.attempts <- done
}

// TestWhoSetsTheClock makes nobody wait: what has failed is tried again as soon as ever, and no sooner.
func TestWhoSetsTheClock(t *testing.T) {
	for _, by := range []time.Duration{-time.Hour, time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.commit("a", "t1")
				q := quick{w.shelf, make(chan func(*nodev1.GrainReply, error))}
				var set atomic.Int64
				o := DefaultOptions()
				o.Host, o.Caller = q, q
				o.Now = func() time.Time { return time.Now().Add(time.Duration(set.Load())) }
				o.Limits.BackoffMin, o.Limits.BackoffMax = 10*time.Second, 10*time.Second
				b, err := Open(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				b.LeadChanged(shard.Lead{Shard: 1, Epoch: 1, Local: true, Ready: true})
				(<-q.attempts)(nil, errors.New("no answer"))
				failed := time.Now()
				synctest.Wait()
				set.Store(int64(by))
				b.Missed(1) // the queue is stepped at the new time
				(<-q.attempts)(&nodev1.GrainReply{}, nil)
				if waited := time.Since(failed); waited < o.Limits.BackoffMin/2 || waited > o.Limits.BackoffMax {
					t.Errorf("tried again after %v", waited)
				}
			})
		})
	}
}
