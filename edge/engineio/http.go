package engineio

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"parley/edge/socket"
)

// fault is a refusal in Engine.IO's own form.
type fault struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	status  int
	label   string // in metrics
}

// The refusals. Clients open a new connection after each.
var (
	faultTransport = fault{0, "Transport unknown", http.StatusBadRequest, "transport"}
	faultSession   = fault{1, "Session ID unknown", http.StatusBadRequest, "session"}
	faultHandshake = fault{2, "Bad handshake method", http.StatusBadRequest, "handshake"}
	faultRequest   = fault{3, "Bad request", http.StatusBadRequest, "request"}
	faultVersion   = fault{5, "Unsupported protocol version", http.StatusBadRequest, "version"}
	faultTooLarge  = fault{3, "Payload too large", http.StatusRequestEntityTooLarge, "payload"}
	faultFull      = fault{3, "Too many connections, try again", http.StatusServiceUnavailable, "full"}
)

// ServeHTTP takes every request of every connection. Any Origin may ask: no cookie is ever a
// credential. SDKs poll with credentials, so the origin is repeated and never a star.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	allowOrigin(w, r)
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	q := r.URL.Query()
	version, err := strconv.Atoi(q.Get("EIO"))
	if err != nil || version < 3 || version > 4 {
		s.refuse(w, faultVersion)
		return
	}
	sid := q.Get("sid")
	c := s.poller(sid)
	switch transport := q.Get("transport"); {
	case transport != "polling" && transport != "websocket", q.Has("j"): // JSONP is not served
		s.refuse(w, faultTransport)
	case sid != "" && (c == nil || c.version != version):
		s.refuse(w, faultSession)
	case transport == "websocket" && sid == "":
		s.acceptWebSocket(w, r, version)
	case transport == "websocket":
		s.probeWebSocket(w, r, c)
	case sid == "" && r.Method == http.MethodGet:
		s.handshake(w, r, version)
	case sid == "":
		s.refuse(w, faultHandshake)
	case r.Method == http.MethodGet:
		s.poll(w, r, c)
	case r.Method == http.MethodPost:
		s.post(w, r, c)
	default:
		s.refuse(w, faultRequest)
	}
}

// allowOrigin lets any page read the answer, as the SDKs need it.
func allowOrigin(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	origin := r.Header.Get("Origin")
	if origin == "" {
		return
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Add("Vary", "Origin")
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "authorization, content-type")
		h.Set("Access-Control-Max-Age", "86400")
	}
}

func (s *Server) refuse(w http.ResponseWriter, f fault) {
	s.metrics.refused.WithLabelValues(f.label).Inc()
	w.Header().Set("Content-Type", "application/json")
	if f.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(f.status)
	s.written(json.NewEncoder(w).Encode(f))
}

// written notes an answer that did not arrive; its client comes again.
func (s *Server) written(err error) {
	if err != nil {
		s.options.Logger.Debug("an answer was not written", "error", err)
	}
}

// handshake opens a polling connection. Its answer holds what the handler has to say at once.
func (s *Server) handshake(w http.ResponseWriter, r *http.Request, version int) {
	now := time.Now()
	c := s.newConn(version, now)
	c.queue = append(c.queue, []byte(s.hello(c, `"websocket"`)))
	c.handler = s.open(c, r)
	if !s.enter(c) {
		c.handler.Closed()
		s.refuse(w, faultFull)
		return
	}
	s.metrics.opened.WithLabelValues(versionName(version), "polling").Inc()
	s.agenda.begin(c, now.Add(s.options.PingInterval))
	c.mu.Lock()
	packets := c.take()
	c.mu.Unlock()
	s.answer(w, c, packets)
}

// poll answers with what waits, or waits for something.
func (s *Server) poll(w http.ResponseWriter, r *http.Request, c *Conn) {
	c.mu.Lock()
	if c.news != nil || c.ended {
		c.mu.Unlock()
		s.refuse(w, faultRequest)
		c.Close(socket.Protocol) // two polls at once would tear the order
		return
	}
	c.heard = time.Now()
	if len(c.queue) == 0 && c.upgrading == 0 {
		news := make(chan struct{})
		c.news = news
		c.mu.Unlock()
		s.await(r.Context(), news)
		c.mu.Lock()
		if c.news == news {
			c.news = nil
		}
	}
	if r.Context().Err() != nil {
		c.mu.Unlock()
		return // nobody is there to read; what waits stays for the next poll
	}
	packets, last := c.take(), c.closing
	c.mu.Unlock()
	if len(packets) == 0 {
		packets = [][]byte{{typeNoop}}
	}
	s.answer(w, c, packets)
	if last {
		c.end("closed")
	}
}

// await waits for news, for the end of the request or the server, or for PollWithin.
func (s *Server) await(ctx context.Context, news <-chan struct{}) {
	timer := time.NewTimer(s.options.PollWithin)
	defer timer.Stop()
	select {
	case <-news:
	case <-ctx.Done():
	case <-s.ctx.Done():
	case <-timer.C:
	}
}

func (s *Server) answer(w http.ResponseWriter, c *Conn, packets [][]byte) {
	size := 0
	for _, p := range packets {
		size += len(p) + 10
	}
	body := make([]byte, 0, size)
	for _, p := range packets {
		body = appendPayload(body, c.version, p)
	}
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, err := w.Write(body)
	s.written(err)
}

// post takes packets of a poller.
func (s *Server) post(w http.ResponseWriter, r *http.Request, c *Conn) {
	c.mu.Lock()
	c.heard = time.Now()
	gone := c.closing || c.ended
	c.mu.Unlock()
	if gone || strings.HasPrefix(r.Header.Get("Content-Type"), "application/octet-stream") {
		s.refuse(w, faultRequest)
		return
	}
	body, err := s.read(w, r)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		s.refuse(w, faultTooLarge)
		c.Close(socket.Malformed)
		return
	}
	if err != nil {
		s.refuse(w, faultRequest)
		return
	}
	packets, err := split(body, c.version, s.options.PacketsMax)
	for i := 0; err == nil && i < len(packets); i++ {
		if !c.packet(packets[i]) {
			err = errPayload
		}
	}
	if err != nil {
		s.refuse(w, faultRequest)
		c.Close(socket.Malformed)
		return
	}
	w.Header().Set("Content-Type", "text/html")
	_, err = io.WriteString(w, "ok")
	s.written(err)
}

// read reads the body of a POST, in bounded time and size.
func (s *Server) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	control := http.NewResponseController(w)
	if err := control.SetReadDeadline(time.Now().Add(s.options.ReadWithin)); err != nil {
		return nil, err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(s.options.PayloadBytesMax)))
	if err != nil {
		return nil, err
	}
	return body, control.SetReadDeadline(time.Time{})
}

func versionName(version int) string { return strconv.Itoa(version) }
