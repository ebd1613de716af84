// Package server is the HTTP front of a node: its listeners, time limits, health and metrics,
// and which handler serves which path. What the handlers do is theirs.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Options say where and how a Server listens.
type Options struct {
	HTTPAddr  string // clients, health and metrics; port 0 takes a free one
	AdminAddr string // health and metrics only; empty = not

	TrustedProxies []netip.Prefix // load balancers whose X-Forwarded-For is believed

	HeaderTimeout  time.Duration // to send a request's header; guards against slow openers
	BodyTimeout    time.Duration // to send its body; a handler may allow more
	AnswerTimeout  time.Duration // from its header until the client has taken the whole answer; a handler may allow more
	IdleTimeout    time.Duration // a kept-alive connection without a request
	HeaderBytesMax int           // of a request

	Gatherer   prometheus.Gatherer   // what /metrics shows
	Registerer prometheus.Registerer // where the server's own metrics go
	Logger     *slog.Logger
}

// DefaultOptions are the limits; addresses, metrics and logger are the caller's.
func DefaultOptions() Options {
	return Options{HeaderTimeout: 5 * time.Second, BodyTimeout: 10 * time.Second, AnswerTimeout: 5 * time.Minute,
		IdleTimeout: 2 * time.Minute, HeaderBytesMax: 16 << 10}
}

// Validate says whether the options can be used.
func (o Options) Validate() error {
	switch {
	case o.HTTPAddr == "":
		return errors.New("server: HTTPAddr is empty")
	case o.HeaderTimeout <= 0 || o.BodyTimeout <= 0 || o.AnswerTimeout <= 0 || o.IdleTimeout <= 0 || o.HeaderBytesMax <= 0:
		return errors.New("server: limits must be positive")
	case o.Gatherer == nil || o.Registerer == nil || o.Logger == nil:
		return errors.New("server: Gatherer, Registerer or Logger is missing")
	}
	return nil
}

// Handlers serve the paths of --http-addr. Without an API the node has no edge: of the others only
// Cluster and Ready count, and clients are told to go to another node.
type Handlers struct {
	API      http.Handler                    // everything that no other handler takes
	Realtime http.Handler                    // /v1/realtime
	Sockets  http.Handler                    // /rtc/ and /v2/rtc/: the official SDKs
	Images   http.Handler                    // /v1/image and below
	Demo     http.Handler                    // /demo and below
	Cluster  http.Handler                    // /cluster/ and below, for operators; nil = not served
	Ready    func() (ready bool, why string) // for /readyz; why is for the operator
}

// Server listens from Open on. Until Mount it answers health and metrics, and 503 to the rest:
// a node that is still reading its log can be told from one that is dead.
type Server struct {
	options  Options
	metrics  *metrics
	http     net.Listener
	admin    net.Listener // nil when there is none
	servers  []*http.Server
	group    errgroup.Group
	mounted  atomic.Pointer[Handlers]
	mux      atomic.Pointer[http.ServeMux]
	draining atomic.Bool
}

// Open binds the addresses and starts to answer.
func Open(o Options) (*Server, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Server{options: o, metrics: m}
	if s.http, err = net.Listen("tcp", o.HTTPAddr); err != nil {
		return nil, fmt.Errorf("http-addr: %w", err)
	}
	if o.AdminAddr != "" {
		if s.admin, err = net.Listen("tcp", o.AdminAddr); err != nil {
			return nil, errors.Join(fmt.Errorf("admin-addr: %w", err), s.http.Close())
		}
	}
	s.mux.Store(s.operatorOnly())
	s.serve(s.http, s.behind(http.HandlerFunc(s.serveClient)))
	if s.admin != nil {
		s.serve(s.admin, s.operatorOnly())
	}
	return s, nil
}

// Addr is where clients come, with the port that was taken.
func (s *Server) Addr() net.Addr { return s.http.Addr() }

// AdminAddr is where health and metrics are served too; nil when nowhere.
func (s *Server) AdminAddr() net.Addr {
	if s.admin == nil {
		return nil
	}
	return s.admin.Addr()
}

// Mount opens the node to clients. It is called once.
func (s *Server) Mount(h Handlers) {
	mux := s.operator()
	if h.Cluster != nil {
		mux.Handle("/cluster/", h.Cluster)
	}
	if h.API == nil {
		mux.HandleFunc("/", serveNoEdge)
	} else {
		mountEdge(mux, h)
	}
	s.mounted.Store(&h)
	s.mux.Store(mux)
}

// mountEdge adds what clients ask for.
func mountEdge(mux *http.ServeMux, h Handlers) {
	mux.Handle("/v1/realtime", h.Realtime)
	mux.Handle("/rtc/{$}", h.Sockets) // below it is HTTP: SDKs report there
	mux.Handle("/v2/rtc/{$}", h.Sockets)
	mux.Handle("/v1/image", h.Images)
	mux.Handle("/v1/image/", h.Images)
	mux.Handle("/demo", h.Demo)
	mux.Handle("/demo/", h.Demo)
	mux.Handle("/", h.API)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/demo", http.StatusFound) // a person who opens the bare address
	})
}

// Drain makes /readyz say no from now on, so that no new client is sent here. Requests are
// still served.
func (s *Server) Drain() { s.draining.Store(true) }

// Close stops listening and waits for the requests in flight until ctx ends; then it cuts them.
// Upgraded connections are their handler's to end.
func (s *Server) Close(ctx context.Context) error {
	s.Drain()
	var errs []error
	for _, server := range s.servers {
		if err := server.Shutdown(ctx); err != nil {
			errs = append(errs, fmt.Errorf("requests were cut: %w", errors.Join(err, server.Close())))
		}
	}
	return errors.Join(append(errs, s.group.Wait())...)
}

func (s *Server) serve(l net.Listener, h http.Handler) {
	server := &http.Server{
		Handler:           s.bounded(h),
		ReadHeaderTimeout: s.options.HeaderTimeout,
		WriteTimeout:      s.options.AnswerTimeout,
		IdleTimeout:       s.options.IdleTimeout,
		MaxHeaderBytes:    s.options.HeaderBytesMax,
		ConnState:         s.metrics.connection,
		ErrorLog:          slog.NewLogLogger(s.options.Logger.Handler(), slog.LevelDebug),
	}
	s.servers = append(s.servers, server)
	s.group.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s: %w", l.Addr(), err)
		}
		return nil
	})
}

// serveClient keeps from the mux what it would redirect to a cleaner path: names may have slashes and dots,
// and a browser follows no redirect of a request with a token. The API knows every spelling.
func (s *Server) serveClient(w http.ResponseWriter, r *http.Request) {
	if h := s.mounted.Load(); h != nil && h.API != nil && unclean(r.URL.Path) {
		h.API.ServeHTTP(w, r)
		return
	}
	s.mux.Load().ServeHTTP(w, r)
}

func unclean(p string) bool {
	clean := path.Clean(p)
	return strings.HasPrefix(p, "/") && p != clean && p != clean+"/"
}
