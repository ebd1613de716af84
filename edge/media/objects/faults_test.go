package objects_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"parley/edge/media/objects"
)

// instead puts a handler in the store's place.
func instead(h http.HandlerFunc) func(http.Handler) http.Handler {
	return func(http.Handler) http.Handler { return h }
}

// TestAttemptsAreCounted: a store that stays ill is asked so often and no more, whatever its illness.
func TestAttemptsAreCounted(t *testing.T) {
	for what, illness := range map[string]http.HandlerFunc{
		"overloaded": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"broken":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"no XML":     func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusBadGateway) },
		"gone":       func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		var asked atomic.Int32
		s := open(t, instead(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			illness(w, r)
		}), func(o *objects.Options) { o.Attempts = 2 })
		err := s.Put(t.Context(), "n", strings.NewReader("z"), 1)
		if err == nil || asked.Load() != 2 {
			t.Errorf("%s: asked %d times, %v", what, asked.Load(), err)
		}
	}
}

// TestWhatIsNoFaultOfTheMomentIsNotRepeated: a wrong key does not become right.
func TestWhatIsNoFaultOfTheMomentIsNotRepeated(t *testing.T) {
	for _, status := range []int{http.StatusForbidden, http.StatusBadRequest, http.StatusNotFound} {
		var asked atomic.Int32
		s := open(t, instead(func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			w.WriteHeader(status)
		}))
		if err := s.Put(t.Context(), "n", strings.NewReader("z"), 1); err == nil || asked.Load() != 1 {
			t.Errorf("%d: asked %d times, %v", status, asked.Load(), err)
		}
	}
}

// TestASilentStoreIsNotWaitedForForEver: each attempt ends by itself.
func TestASilentStoreIsNotWaitedForForEver(t *testing.T) {
	asked := make(chan struct{}, 4) // two attempts each to put and to get
	s := open(t, instead(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case asked <- struct{}{}:
		default:
		}
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}), func(o *objects.Options) { o.Timeout, o.Attempts = 50*time.Millisecond, 2 })
	if err := s.Put(t.Context(), "n", strings.NewReader("z"), 1); err == nil {
		t.Error("put without an answer")
	}
	if _, err := s.Get(t.Context(), "n"); err == nil || errors.Is(err, objects.ErrAbsent) {
		t.Errorf("got without an answer: %v", err)
	}
	if err := s.Check(t.Context()); err == nil {
		t.Error("checked without an answer")
	}
	if err := s.Delete(t.Context(), "n"); err == nil {
		t.Error("deleted without an answer")
	}
	late := time.After(30 * time.Second)
	for n := range cap(asked) {
		select {
		case <-asked:
		case <-late:
			t.Fatalf("asked %d times", n)
		}
	}
}

// TestAnObjectThatEndsTooEarlyIsAnError, and not a shorter object.
func TestAnObjectThatEndsTooEarlyIsAnError(t *testing.T) {
	s := open(t, instead(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte("the beginning"))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	r, err := s.Get(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err == nil {
		t.Errorf("%q looks whole", got)
	}
}

// TestWhatIsSent: the bucket in the path, the prefix before the name, a signature with the key's name and
// without its secret, and all bytes.
func TestWhatIsSent(t *testing.T) {
	type request struct{ path, authorization, body string }
	var mu sync.Mutex
	var seen []request
	see := instead(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, request{r.URL.Path, r.Header.Get("Authorization"), string(body)})
	})
	s := open(t, see, func(o *objects.Options) { o.Prefix = "chat/" })
	if err := s.Put(t.Context(), "app/one", strings.NewReader("bytes"), 5); err != nil {
		t.Fatal(err)
	}
	got := seen[0]
	if got.path != "/images/chat/app/one" || got.body != "bytes" {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(got.authorization, "Credential=key/") || strings.Contains(got.authorization, "secret") {
		t.Errorf("signed with %q", got.authorization)
	}
	if err := s.Put(t.Context(), "app/empty", strings.NewReader(""), 0); err != nil {
		t.Errorf("an empty object: %v", err)
	}
}
