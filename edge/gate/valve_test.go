package gate

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// few lets in two at least and eight at most.
func few() Options {
	o := DefaultOptions()
	o.InsideMin, o.InsideMax, o.WaitingMax = 2, 8, 100
	return o
}

func arrive(v *valve, r Rank) (*turn, time.Duration) {
	t := &turn{rank: r, comes: make(chan struct{})}
	return t, v.enter(t, noon)
}

func (t *turn) in() bool {
	select {
	case <-t.comes:
		return true
	default:
		return false
	}
}

const slow, quick = time.Second, time.Duration(0)

// noon is when everything happens here that has no time of its own.
var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// full gives a valve with as many inside as there may be, and who they are.
func full(o Options) (v *valve, inside []*turn) {
	v = newValve(o)
	v.limit = float64(o.InsideMax)
	for range o.InsideMax {
		t, _ := arrive(v, Login)
		inside = append(inside, t)
	}
	return v, inside
}

// TestAStandstillIsNotForEver: while nobody leaves, who comes is told a time that a client can wait.
func TestAStandstillIsNotForEver(t *testing.T) {
	o := few()
	v, inside := full(o)
	arrive(v, Login)
	v.leave(inside[0], noon)
	for i := range 1000 {
		v.look(slow, noon)
		if _, after := arrive(v, Login); after < 0 || after > 2*o.WaitMax {
			t.Fatalf("after %d looks told to come back after %v", i, after)
		}
	}
}

// TestAnElectionSendsNobodyAway: a crowd comes while shards have no leader, and hardly anybody leaves for a
// second, whether or not it is known how fast they do otherwise.
func TestAnElectionSendsNobodyAway(t *testing.T) {
	o := DefaultOptions()
	for name, before := range map[string]float64{"the first crowd": newValve(o).rate, "a later one": 3000} {
		v := newValve(o)
		v.rate = before
		now := noon
		for range 20 {
			for range 250 {
				if _, after := arrive(v, Connect); after != 0 {
					t.Fatalf("%s: %v after it came, with %d who wait, one is sent away for %v", name, now.Sub(noon), v.count, after)
				}
			}
			now = now.Add(o.LookEvery)
			v.look(slow, now)
		}
	}
}

// TestWhoHasComeFurthestGoesFirst: subscriptions before logins before upgrades, each in the order of
// their coming.
func TestWhoHasComeFurthestGoesFirst(t *testing.T) {
	v, inside := full(few())
	turns := map[string]*turn{}
	for i, r := range []Rank{Connect, Login, Subscribe, Connect, Subscribe, Login} {
		turns[fmt.Sprintf("%s %d", r, i)], _ = arrive(v, r)
	}
	var order []string
	for _, done := range inside[:len(turns)] {
		v.leave(done, noon)
		for name, t := range turns {
			if t.in() && !slices.Contains(order, name) {
				order = append(order, name)
			}
		}
	}
	if want := []string{"subscribe 2", "subscribe 4", "login 1", "login 5", "connect 0", "connect 3"}; !slices.Equal(order, want) {
		t.Errorf("let in %v, want %v", order, want)
	}
}

// TestTheDelayDecidesHowMany: a long delay lets in fewer, down to the least; a short one more, as long
// as somebody wants it.
func TestTheDelayDecidesHowMany(t *testing.T) {
	v, inside := full(few())
	for range 12 {
		arrive(v, Login)
	}
	for range 20 {
		v.look(slow, noon)
	}
	for _, t := range inside[:6] {
		v.leave(t, noon) // nobody follows: there are still two
	}
	if v.inside.Len() != 2 || v.count != 12 {
		t.Errorf("a long delay: %d inside, %d wait", v.inside.Len(), v.count)
	}
	for range 20 {
		v.look(quick, noon)
	}
	if v.inside.Len() != 8 || v.count != 6 {
		t.Errorf("a short delay: %d inside, %d wait", v.inside.Len(), v.count)
	}
}

// TestWhoWaitsForOthersKeepsNobodyOut: logins of users whose shard has no leader take their time, and
// those of others go on, though no more may come in at once.
func TestWhoWaitsForOthersKeepsNobodyOut(t *testing.T) {
	v, stuck := full(few())
	next, _ := arrive(v, Login)
	v.look(slow, noon.Add(v.options.TurnMax-1))
	if next.in() {
		t.Error("somebody is let in before a place is free")
	}
	v.look(slow, noon.Add(v.options.TurnMax))
	if !next.in() || v.inside.Len() != 1 {
		t.Errorf("nobody is let in, %d inside", v.inside.Len())
	}
	v.leave(stuck[0], noon.Add(time.Second))
	if v.inside.Len() != 1 {
		t.Errorf("a place was given back twice: %d inside", v.inside.Len())
	}
}

// TestGivingUpWhenLetIn: the place of one who gives up in the moment in which it was let in is the next
// one's.
func TestGivingUpWhenLetIn(t *testing.T) {
	v, inside := full(few())
	first, _ := arrive(v, Login)
	second, _ := arrive(v, Login)
	v.leave(inside[0], noon)
	if !first.in() || second.in() {
		t.Fatal("the first one in the line is not let in")
	}
	if v.giveUp(first, noon); !second.in() {
		t.Error("its place is lost")
	}
}

// TestWhoWouldWaitTooLongIsSentAway: the wait is what those before take at the rate that was seen.
func TestWhoWouldWaitTooLongIsSentAway(t *testing.T) {
	o := few()
	o.LookEvery, o.WaitMax = 100*time.Millisecond, 2*time.Second
	v, _ := full(o)
	for range 400 {
		arrive(v, Login)
		v.leave(v.inside.Front().Value.(*turn), noon) // ten in a second
		v.look(slow, noon)
	}
	var after time.Duration
	for after == 0 {
		_, after = arrive(v, Login)
	}
	if after < 2*time.Second || after > 2500*time.Millisecond {
		t.Errorf("with more than twenty before it, of which ten leave in a second, it should come back after %v", after)
	}
	if _, after := arrive(v, Subscribe); after != 0 {
		t.Errorf("nobody is before a subscription, but it should come back after %v", after)
	}
}

// TestAFullLineSendsAway however fast it moves.
func TestAFullLineSendsAway(t *testing.T) {
	o := few()
	o.WaitingMax = 1
	v, _ := full(o)
	if _, after := arrive(v, Login); after != 0 {
		t.Fatal(after)
	}
	if _, after := arrive(v, Subscribe); after != minAfter {
		t.Errorf("sent away for %v", after)
	}
}

// TestValve: whatever happens, no more are inside than were let in, nobody waits while there is room, and
// everybody who wants to is let in at the end.
func TestValve(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := newValve(few())
		now := noon
		var all, inside []*turn
		t.Repeat(map[string]func(*rapid.T){
			"arrive": func(t *rapid.T) {
				if turn, after := arrive(v, Rank(rapid.IntRange(0, int(ranks)-1).Draw(t, "rank"))); after == 0 {
					all = append(all, turn)
				}
			},
			"leave": func(t *rapid.T) {
				if len(inside) == 0 {
					t.Skip("nobody is inside")
				}
				v.leave(inside[0], now)
				inside = inside[1:]
			},
			"give up": func(t *rapid.T) {
				if len(all) == 0 {
					t.Skip("nobody waits")
				}
				i := rapid.IntRange(0, len(all)-1).Draw(t, "who") // also one who was let in at that moment
				v.giveUp(all[i], now)
				all = slices.Delete(all, i, i+1)
			},
			"look": func(t *rapid.T) {
				v.look(rapid.SampledFrom([]time.Duration{slow, quick}).Draw(t, "delay"), now)
			},
			"": func(t *rapid.T) {
				all = slices.DeleteFunc(all, func(w *turn) bool {
					if w.in() {
						inside = append(inside, w)
					}
					return w.in()
				})
				if v.inside.Len() != len(inside) || v.count != len(all) || v.count > 0 && v.inside.Len() < int(v.limit) {
					t.Fatalf("%d inside, counted %d; %d wait, counted %d; limit %v", len(inside), v.inside.Len(), len(all), v.count, v.limit)
				}
				if v.limit < 2 || v.limit > 8 {
					t.Fatalf("limit %v", v.limit)
				}
			},
		})
		for range 1000 {
			now = now.Add(v.options.TurnMax)
			v.look(quick, now)
		}
		if v.count > 0 {
			t.Fatalf("%d still wait", v.count)
		}
	})
}

func TestMean(t *testing.T) {
	bounds := []float64{0, 0.001, 0.002, math.Inf(1)}
	for name, tc := range map[string]struct {
		now, before []uint64
		want        time.Duration
	}{
		"nothing yet":    {[]uint64{0, 0, 0}, nil, 0},
		"since ever":     {[]uint64{3, 1, 0}, nil, 1250 * time.Microsecond},
		"since the last": {[]uint64{100, 1, 7}, []uint64{99, 0, 1}, 1875 * time.Microsecond},
		"all at once":    {[]uint64{5, 0, 0}, []uint64{0, 0, 0}, time.Millisecond},
	} {
		if got := mean(tc.now, tc.before, bounds); got != tc.want {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}
