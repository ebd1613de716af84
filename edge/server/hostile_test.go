package server

import (
	"bufio"
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
