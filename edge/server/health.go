package server

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"parley/proto/code"
)

// retryStarting is what a client is told that comes before the node serves, in seconds.
const retryStarting = "1"

// operatorOnly serves health and metrics, and 503 to everything else.
func (s *Server) operatorOnly() *http.ServeMux {
	mux := s.operator()
	mux.HandleFunc("/", serveEarly)
	return mux
}

// operator serves health and metrics.
func (s *Server) operator() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "alive") })
	mux.HandleFunc("/readyz", s.serveReady)
	mux.Handle("/metrics", promhttp.HandlerFor(s.options.Gatherer, promhttp.HandlerOpts{
		ErrorLog:      nil, // errors are told to the asker
		ErrorHandling: promhttp.HTTPErrorOnError,
	}))
	return mux
}

// serveReady answers 200 when the node serves, else 503 and why not.
func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	ready, why := s.ready()
	if !ready {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, why)
		return
	}
	fmt.Fprintln(w, "ready")
}

func (s *Server) ready() (bool, string) {
	if s.draining.Load() {
		return false, "draining: the node is being stopped"
	}
	h := s.mounted.Load()
	if h == nil {
		return false, "starting: the node's data is being opened"
	}
	return h.Ready()
}

func serveEarly(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", retryStarting)
	http.Error(w, "this address serves health and metrics, or the node is still starting", http.StatusServiceUnavailable)
}

// serveNoEdge answers a client that came to a node without an edge. 421 (RFC 9110, 15.5.20) says
// that this node will never serve it, so that nobody tries again here.
func serveNoEdge(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(http.StatusMisdirectedRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{ // a client that has gone needs no answer
		"title": "Misdirected Request", "code": string(code.NotAvailable),
		"detail": "This node keeps data and serves no clients (its roles are: shards). Use a node with the role edge.",
	})
}
