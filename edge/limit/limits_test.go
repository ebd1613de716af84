package limit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"parley/proto/code"
)

type clock struct{ now time.Time }

func newLimits(t testing.TB, change func(*Options)) (*Limits, *clock) {
	t.Helper()
	c := &clock{now: time.Unix(1_700_000_000, 0)}
	o := DefaultOptions()
	o.Now = func() time.Time { return c.now }
	if change != nil {
		change(&o)
	}
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return l, c
}

func TestBucketRefusesAndSaysWhenToComeBack(t *testing.T) {
	l, c := newLimits(t, func(o *Options) { o.Rates[Token] = Rate{PerSecond: 2, Burst: 3} })
	for i := range 3 {
		if err := l.Allow(Token, "a", 1); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	err := l.Allow(Token, "a", 1)
	e, ok := code.Of(err)
	if !ok || e.Code != code.RateLimited || e.RetryAfter != 500*time.Millisecond {
		t.Fatalf("fourth request: %v, %+v", err, e)
	}
	if err := l.Allow(Token, "b", 1); err != nil {
		t.Errorf("another key suffers: %v", err)
	}
	if err := l.Allow(Conversation, "a", 1); err != nil {
		t.Errorf("another scope suffers: %v", err)
	}
	c.now = c.now.Add(e.RetryAfter)
	if err := l.Allow(Token, "a", 1); err != nil {
		t.Errorf("after the advised time: %v", err)
	}
	if n := testutil.ToFloat64(l.refused.WithLabelValues("token")); n != 1 {
		t.Errorf("counted %v refusals, want 1", n)
	}
}

func TestDefaultsAllowBusyClients(t *testing.T) {
	l, c := newLimits(t, nil)
	for second := range 60 {
		for range 200 {
			c.now = c.now.Add(5 * time.Millisecond)
			for s := range scopes {
				if s == Guess {
					continue
				}
				if err := l.Allow(s, "a", 1); err != nil {
					t.Fatalf("second %d, %s: %v", second, s, err)
				}
			}
		}
	}
}

func TestClockSetBackNeitherFillsNorBlocks(t *testing.T) {
	l, c := newLimits(t, func(o *Options) { o.Rates[Token] = Rate{PerSecond: 1, Burst: 1} })
	if err := l.Allow(Token, "a", 1); err != nil {
		t.Fatal(err)
	}
	c.now = c.now.Add(-time.Hour)
	if err := l.Allow(Token, "a", 1); err == nil {
		t.Error("a clock set back filled the bucket")
	}
	c.now = c.now.Add(time.Hour + time.Second)
	if err := l.Allow(Token, "a", 1); err != nil {
		t.Errorf("a clock set right again: %v", err)
	}
}

func TestSpentTakesNothing(t *testing.T) {
	l, _ := newLimits(t, func(o *Options) { o.Rates[Guess] = Rate{PerSecond: 1, Burst: 1} })
	for range 5 {
		if err := l.Spent(Guess, "a"); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Allow(Guess, "a", 1); err != nil {
		t.Fatal(err)
	}
	if err := l.Spent(Guess, "a"); !code.Has(err, code.RateLimited) {
		t.Errorf("spent bucket: %v", err)
	}
	if err := l.Spent(Guess, ""); err != nil {
		t.Errorf("empty key: %v", err)
	}
}

// Over any time, a bucket gives at most burst + rate x time, and never less than the rate.
func TestBucketArithmetic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := Rate{PerSecond: rapid.Float64Range(0.5, 100).Draw(t, "rate"), Burst: float64(rapid.IntRange(1, 50).Draw(t, "burst"))}
		now := time.Unix(0, 0)
		o := DefaultOptions()
		o.Rates[Token], o.Now = rate, func() time.Time { return now }
		l, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		granted, start := 0.0, now
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.IntRange(0, 200).Draw(t, "pause")) * time.Millisecond)
			err := l.Allow(Token, "a", 1)
			if e, ok := code.Of(err); ok {
				now = now.Add(e.RetryAfter + time.Microsecond)
				err = l.Allow(Token, "a", 1)
			}
			if err != nil {
				t.Fatalf("refused after the advised time: %v", err)
			}
			granted++
		}
		if most := rate.Burst + rate.PerSecond*now.Sub(start).Seconds() + 1e-6; granted > most {
			t.Fatalf("granted %v of at most %v", granted, most)
		}
	})
}

func TestBucketsAreBounded(t *testing.T) {
	l, _ := newLimits(t, func(o *Options) { o.Buckets = 100 })
	for i := range 10_000 {
		if err := l.Allow(Token, fmt.Sprint(i), 1); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.buckets[Token].Len(); n > 200 {
		t.Errorf("%d buckets are held", n)
	}
	if n := testutil.ToFloat64(l.forgot); n < 9_000 {
		t.Errorf("%v forgotten buckets counted", n)
	}
}

func TestOptionsAreValidated(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no rate":    func(o *Options) { o.Rates[Token].PerSecond = 0 },
		"no burst":   func(o *Options) { o.Rates[Guess].Burst = 0.5 },
		"no buckets": func(o *Options) { o.Buckets = 0 },
		"no clock":   func(o *Options) { o.Now = nil },
	} {
		o := DefaultOptions()
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// What was used within the last size keys is remembered; never more than twice as many are.
func TestRecentAgainstAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 8).Draw(t, "size")
		r := NewRecent[int, int](size, nil)
		model, uses := map[int]int{}, []int{}
		for step := range rapid.IntRange(1, 100).Draw(t, "steps") {
			k := rapid.IntRange(0, 20).Draw(t, "key")
			switch rapid.IntRange(0, 2).Draw(t, "verb") {
			case 0:
				r.Put(k, step)
				model[k] = step
				uses = append(uses, k)
			case 1:
				r.Delete(k)
				delete(model, k)
			case 2:
				v, ok := r.Get(k)
				want, have := model[k]
				if ok && (!have || v != want) {
					t.Fatalf("Get(%d) = %d, want %d (%v)", k, v, want, have)
				}
				if have && !ok && within(uses, k, size) {
					t.Fatalf("%d is forgotten though used lately", k)
				}
				if ok {
					uses = append(uses, k)
				}
			}
			if r.Len() > 2*size {
				t.Fatalf("%d keys are held, size %d", r.Len(), size)
			}
		}
	})
}

// within says whether k is among the last n distinct keys that were used.
func within(uses []int, k, n int) bool {
	seen := map[int]bool{}
	for i := len(uses) - 1; i >= 0 && len(seen) < n; i-- {
		seen[uses[i]] = true
	}
	return seen[k]
}

func TestJSONShape(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		ok         bool
	}{
		{"flat", `{"a":1,"b":[1,2]}`, true},
		{"at the depth", strings.Repeat("[", 4) + strings.Repeat("]", 4), true},
		{"too deep", strings.Repeat("[", 5), false},
		{"too deep by objects", strings.Repeat(`{"a":`, 5), false},
		{"brackets in a string", `["[[[[[[[[[[", "\"[[[[[[[["]`, true},
		{"deep after a string", `["\\",[[[[[`, false},
		{"siblings", `[[],[],[],[],[]]`, true},
		{"too many elements", `[` + strings.Repeat("1,", 20), false},
		{"too many members", `{` + strings.Repeat(`"a":1,`, 20), false},
		{"unfinished string", `"abc`, true},
		{"unfinished escape", `"abc\`, true},
		{"closing only", `]]]]]]]`, true},
		{"empty", ``, true},
	} {
		if err := JSON([]byte(tc.text), 4, 10); (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestPauseFillsTheBucketNoFurtherThanItsBurst(t *testing.T) {
	l, c := newLimits(t, func(o *Options) { o.Rates[Token] = Rate{PerSecond: 10, Burst: 3} })
	for range 2 {
		for i := range 3 {
			if err := l.Allow(Token, "a", 1); err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
		}
		if err := l.Allow(Token, "a", 1); err == nil {
			t.Fatal("more than the burst is granted at once")
		}
		c.now = c.now.Add(time.Hour)
	}
}

// What is full again is not remembered: a node's memory follows who is there now, and not everybody who
// ever was.
func TestFullBucketsAreForgotten(t *testing.T) {
	l, c := newLimits(t, nil)
	const rounds, each = 30, 100
	for round := range rounds {
		for i := range each {
			for s := range scopes {
				if err := l.Allow(s, fmt.Sprint(round, "/", i), 1); err != nil {
					t.Fatal(err)
				}
			}
		}
		c.now = c.now.Add(30 * time.Second)
	}
	if n := l.held(); n > 4*each*float64(scopes) {
		t.Errorf("%v buckets are held, of which %v were used in the last two minutes", n, 4*each*float64(scopes))
	}
	if n := testutil.ToFloat64(l.forgot); n != 0 {
		t.Errorf("%v are said to have given way to others", n)
	}
}

// Whoever pauses gets no more than whoever does not, however seldom he comes.
func TestPausesGiveNothingAway(t *testing.T) {
	for _, rate := range []Rate{{PerSecond: 0.01, Burst: 3}, {PerSecond: 1, Burst: 100}, {PerSecond: 1e-12, Burst: 2}} {
		rapid.Check(t, func(t *rapid.T) {
			now := time.Unix(0, 0)
			o := DefaultOptions()
			o.Rates[Token], o.Now = rate, func() time.Time { return now }
			l, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			level := rate.Burst // a bucket that is never forgotten
			for range rapid.IntRange(1, 100).Draw(t, "requests") {
				pause := rapid.IntRange(0, 200).Draw(t, "pause")
				now = now.Add(time.Duration(pause) * time.Second)
				level = min(rate.Burst, level+float64(pause)*rate.PerSecond)
				if rapid.Bool().Draw(t, "another") {
					_ = l.Allow(Token, "b", 1) // whoever comes has what is old forgotten
					continue
				}
				if l.Allow(Token, "a", 1) == nil {
					level--
				}
				if level < -1e-6 {
					t.Fatalf("%v more than there was", -level)
				}
			}
		})
	}
}

// What was used within life is remembered; what was not used for twice that, with somebody coming in
// between, is not.
func TestRecentExpires(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const life = 10 * time.Second
		r, now := NewRecent[int, int](1000, nil), time.Unix(0, 0)
		used := map[int]time.Time{}
		for step := range rapid.IntRange(1, 200).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 4).Draw(t, "seconds")) * time.Second)
			r.Expire(now, life)
			k := rapid.IntRange(0, 20).Draw(t, "key")
			_, ok := r.Get(k)
			last, known := used[k]
			switch {
			case ok && (!known || now.Sub(last) >= 3*life): // a generation ends with the first use after its time
				t.Fatalf("%d is remembered after %v", k, now.Sub(last))
			case !ok && known && now.Sub(last) < life:
				t.Fatalf("%d is forgotten after %v", k, now.Sub(last))
			}
			r.Put(k, step)
			used[k] = now
		}
	})
}

// The weight is that of what is held, whatever became of it, and at most twice the size, but for one
// value that alone is more.
func TestRecentWeighs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const heaviest = 5
		size := rapid.IntRange(1, 30).Draw(t, "size")
		r := NewWeighed(size, func(_, v int) int { return v })
		now := time.Unix(0, 0)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			k, v := rapid.IntRange(0, 20).Draw(t, "key"), rapid.IntRange(1, heaviest).Draw(t, "value")
			switch rapid.IntRange(0, 4).Draw(t, "verb") {
			case 0, 1:
				r.Put(k, v)
				if got, ok := r.Get(k); !ok || got != v {
					t.Fatalf("%d is %d, %v, not %d", k, got, ok, v)
				}
			case 2:
				r.Delete(k)
			case 3:
				r.Get(k)
			case 4:
				now = now.Add(time.Second)
				r.Expire(now, 5*time.Second)
			}
			sum := 0
			for _, g := range []generation[int, int]{r.young, r.old} {
				for _, v := range g.values {
					sum += v
				}
			}
			if r.Weight() != sum || sum > 2*max(size, heaviest) {
				t.Fatalf("size %d: %d are said to be held, and %d are", size, r.Weight(), sum)
			}
		}
	})
}
