package server

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"parley/internal/spent"
)

// TestHostileHeaders: headers without end, in number or in length, and those that never end, cost
// little and reach nobody.
func TestHostileHeaders(t *testing.T) {
	var served atomic.Int64
	count := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served.Add(1) })
	o := options("")
	s := open(t, o)
	h := handlers(true, "")
	h.API, h.Sockets, h.Images = count, count, count
	s.Mount(h)
	const good = "GET /v1/users HTTP/1.1\r\nHost: x\r\n"
	for name, request := range map[string]string{
		"a header of 64 KiB":      good + "X: " + strings.Repeat("a", 64<<10),
		"a thousand headers":      good + strings.TrimSuffix(strings.Repeat("X-Header: "+strings.Repeat("v", 60)+"\r\n", 1000), "\r\n"),
		"a path of 64 KiB":        "GET /" + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\nHost: x",
		"a token of 64 KiB":       good + "Authorization: Bearer " + strings.Repeat("a", 64<<10),
		"two lengths":             good + "Content-Length: 5\r\nContent-Length: 6",
		"a length and chunks too": good + "Content-Length: 5\r\nTransfer-Encoding: chunked, identity",
		"a name with a space":     good + "X Y: z",
	} {
		spent.Little(t, name, func() {
			status, rest := raw(t, s.Addr(), request+"\r\n\r\n")
			if _, code, _ := strings.Cut(status, " "); !strings.HasPrefix(code, "400 ") && !strings.HasPrefix(code, "431 ") && !strings.HasPrefix(code, "501 ") {
				t.Errorf("%s: answered %q %.200q", name, status, rest)
			}
		})
		if n := served.Load(); n != 0 {
			t.Errorf("%s: %d requests were served", name, n)
		}
	}
}

// TestHeadersThatNeverEnd are given up.
func TestHeadersThatNeverEnd(t *testing.T) {
	o := options("")
	o.HeaderTimeout = 50 * time.Millisecond
	s := open(t, o)
	s.Mount(handlers(true, ""))
	for _, begun := range []string{"", "GET", "GET /v1/users HTTP/1.1\r\nHost: x\r\nX: a"} {
		if status, _ := raw(t, s.Addr(), begun); status != "" && !strings.Contains(status, " 408 ") && !strings.Contains(status, " 400 ") {
			t.Errorf("%q was answered %q", begun, status)
		}
	}
}

// TestBodiesThatNeverEnd: whoever announces a body and does not send it gets the answer that its handler
// gives without it, and loses the connection. One that was promised no body is not read.
func TestBodiesThatNeverEnd(t *testing.T) {
	o := options("")
	o.BodyTimeout = 50 * time.Millisecond
	s := open(t, o)
	h := handlers(true, "")
	h.API = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	h.Sockets = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err == nil {
			t.Error("a body that never came was read to its end")
		}
		w.WriteHeader(http.StatusTeapot)
	})
	s.Mount(h)
	for _, path := range []string{"/v1/users", "/rtc/", "/readyz", "/metrics", "/demo"} {
		for _, length := range []string{"Content-Length: 1000\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\n5\r\n{"} {
			if status, _ := raw(t, s.Addr(), "POST "+path+" HTTP/1.1\r\nHost: x\r\n"+length); !strings.HasPrefix(status, "HTTP/1.1 ") {
				t.Errorf("%s was answered %q", path, status)
			}
		}
	}
	if status, _ := raw(t, s.Addr(), "POST /v1/users HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n"); !strings.Contains(status, " 418 ") {
		t.Errorf("an upload that waits for permission was answered %q", status)
	}
}

// TestALongAnswerToABody: the deadline for a body is over with it. A handler may take longer, and its
// client does not look gone. The deadline is as brief as this machine bears.
func TestALongAnswerToABody(t *testing.T) {
	for within := 50 * time.Millisecond; ; within *= 4 {
		failure := longAnswer(t, within)
		if failure == nil {
			return
		}
		if within > 10*time.Second {
			t.Fatal(failure)
		}
	}
}

// longAnswer sends a body, which is answered long after the deadline for it.
func longAnswer(t *testing.T, within time.Duration) (failure error) {
	t.Helper()
	o := options("")
	o.BodyTimeout = within
	s := open(t, o)
	h := handlers(true, "")
	ended := make(chan error, 1)
	h.API = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		timer := time.NewTimer(2 * within)
		defer timer.Stop()
		select {
		case <-r.Context().Done():
			err = errors.Join(err, errors.New("the client looked gone"))
		case <-timer.C:
		}
		w.WriteHeader(http.StatusTeapot)
		ended <- err
	})
	s.Mount(h)
	status, _ := raw(t, s.Addr(), "POST /v1/users HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
	if !strings.Contains(status, " 418 ") {
		t.Errorf("answered %q", status)
	}
	return <-ended
}

// TestAnswersThatNobodyTakes are given up.
func TestAnswersThatNobodyTakes(t *testing.T) {
	o := options("")
	o.AnswerTimeout = 50 * time.Millisecond
	s := open(t, o)
	h := handlers(true, "")
	ended := make(chan error, 1)
	h.API = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		piece := make([]byte, 1<<20)
		for range 1 << 10 { // more than all buffers on the way hold
			if _, err := w.Write(piece); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	})
	s.Mount(h)
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /v1/users HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("a gigabyte went to somebody who does not read")
		}
	case <-time.After(30 * time.Second):
		t.Error("the server still waits for its client")
	}
}

// raw sends bytes and reads until the server closes.
func raw(t *testing.T, address net.Addr, request string) (status, rest string) {
	t.Helper()
	c, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, request) // the server may have closed before all is written
	r := bufio.NewReader(c)
	status, _ = r.ReadString('\n')
	all, err := io.ReadAll(r)
	if nerr, ok := err.(net.Error); ok && nerr.Timeout() {
		t.Errorf("the connection was not closed after %.80q", request)
	}
	return status, string(all)
}
