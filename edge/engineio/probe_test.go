package engineio_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

// TestAnUpgradeThatIsGivenUp: the probe was answered, and the WebSocket ended before the client said that it
// goes on there. Polls are held again, as if nobody had tried: answered at once, they would follow each other
// for as long as the connection lives.
func TestAnUpgradeThatIsGivenUp(t *testing.T) {
	w := newWorld(t)
	q := w.open(3)
	c := w.dial(strings.Replace(q, "polling", "websocket", 1))
	for range 2 {
		w.write(c, "2probe")
		if a := w.read(c); a != "3probe" {
			t.Fatal(a)
		}
	}
	if a := w.do("GET", q, ""); a.body != "1:6" {
		t.Fatalf("a poll during the upgrade: %+v", a)
	}
	if err := c.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Fatal(err)
	}
	if err := w.sockets.Close(t.Context()); err != nil { // waits until its end was noticed
		t.Fatal(err)
	}
	came := make(chan struct{}, 1)
	front := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			came <- struct{}{}
		}
		w.server.ServeHTTP(rw, r)
	}))
	defer front.Close()
	w.url = front.URL
	got := make(chan answer, 1)
	var group sync.WaitGroup
	group.Go(func() { got <- w.do("GET", q, "") })
	<-came
	if a := w.do("POST", q, "5:4news"); a.status != 200 {
		t.Fatalf("%+v", a)
	}
	if a := <-got; a.body != "5:4news" {
		t.Errorf("a poll after it is answered with %+v", a)
	}
	group.Wait()
}
