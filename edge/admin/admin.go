// Package admin serves the HTTP paths behind `parley cluster`, `parley node` and `parley webhook`: what an
// operator asks of the cluster through any of its nodes, proven with an API key and secret.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"parley/actors/driver"
	"parley/edge/auth"
	"parley/edge/web"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
)

// Prefix is the path below which a Handler serves.
const Prefix = "/cluster/"

const (
	bodyBytesMax   = 4 << 10
	requestTimeout = 20 * time.Second
)

// Cluster is what the handler asks of its node; *runtime.Runtime is one.
type Cluster interface {
	// ClusterID is the id of the cluster.
	ClusterID() string
	// Picture is the cluster as it is now.
	Picture(ctx context.Context) (*driver.Picture, error)
	// Joining lists nodes that gossip knows and that are no members yet.
	Joining() []string
	// Full lists the nodes whose disks are full.
	Full() []string
	// SetMember drains, takes back or removes a member.
	SetMember(ctx context.Context, node string, state eventv1.StoreState, force bool) error
	// Rebalance spreads the leaderships evenly.
	Rebalance(ctx context.Context) error
	Letters
}

// Handler serves the operator's requests.
type Handler struct {
	cluster Cluster
	keys    *auth.Keys
	logger  *slog.Logger
	mux     *http.ServeMux
}

// New makes a Handler.
func New(cluster Cluster, keys *auth.Keys, logger *slog.Logger) (*Handler, error) {
	if cluster == nil || keys == nil || logger == nil {
		return nil, errors.New("admin: cluster, keys and logger are needed")
	}
	h := &Handler{cluster: cluster, keys: keys, logger: logger, mux: http.NewServeMux()}
	h.mux.HandleFunc("GET "+Prefix+"status", h.serveStatus)
	h.mux.HandleFunc("POST "+Prefix+"rebalance", h.serveRebalance)
	for verb, state := range map[string]eventv1.StoreState{
		"drain": eventv1.StoreState_STORE_STATE_DRAINING, "undrain": eventv1.StoreState_STORE_STATE_UP,
		"remove": eventv1.StoreState_STORE_STATE_REMOVING,
	} {
		h.mux.HandleFunc("POST "+Prefix+"nodes/{node}/"+verb, func(w http.ResponseWriter, r *http.Request) { h.serveMember(w, r, verb, state) })
	}
	const letters = Prefix + "applications/{application}/dead-letters"
	h.mux.HandleFunc("GET "+letters, h.serveLetters)
	h.mux.HandleFunc("POST "+letters+"/redeliver", func(w http.ResponseWriter, r *http.Request) { h.serveMove(w, r, false) })
	h.mux.HandleFunc("POST "+letters+"/discard", func(w http.ResponseWriter, r *http.Request) { h.serveMove(w, r, true) })
	h.mux.HandleFunc(Prefix, func(w http.ResponseWriter, _ *http.Request) {
		h.refuse(w, code.New(code.NotFound, "There is no such path."))
	})
	return h, nil
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	w.Header().Set("Cache-Control", "no-store")
	key, secret, ok := r.BasicAuth()
	if !ok {
		h.refuse(w, code.New(code.InvalidCredentials, "An API key and secret are needed."))
		return
	}
	if err := web.CheckLogin(r); err != nil {
		h.refuse(w, err)
		return
	}
	if err := h.keys.Verify(ctx, key, secret); err != nil {
		h.refuse(w, err)
		return
	}
	h.mux.ServeHTTP(w, r.WithContext(ctx))
}

func (h *Handler) serveStatus(w http.ResponseWriter, r *http.Request) {
	p, err := h.cluster.Picture(r.Context())
	if err != nil {
		h.refuse(w, err)
		return
	}
	h.answer(w, http.StatusOK, StatusOf(h.cluster.ClusterID(), p, h.cluster.Joining(), h.cluster.Full()))
}

func (h *Handler) serveRebalance(w http.ResponseWriter, r *http.Request) {
	if err := h.cluster.Rebalance(r.Context()); err != nil {
		h.refuse(w, err)
		return
	}
	h.answer(w, http.StatusAccepted, struct{}{})
}

// memberRequest is the body of a change of a member; it may be left out.
type memberRequest struct {
	Force bool `json:"force"` // remove although fewer than three nodes are left
}

func (h *Handler) serveMember(w http.ResponseWriter, r *http.Request, verb string, state eventv1.StoreState) {
	var in memberRequest
	if err := json.NewDecoder(io.LimitReader(r.Body, bodyBytesMax)).Decode(&in); err != nil && !errors.Is(err, io.EOF) {
		h.refuse(w, code.New(code.ValidationFail, "The body is not JSON of the form {\"force\":false}."))
		return
	}
	node := r.PathValue("node")
	if err := h.cluster.SetMember(r.Context(), node, state, in.Force); err != nil {
		h.refuse(w, err)
		return
	}
	h.logger.Info("an operator changed a member", "node", node, "verb", verb, "force", in.Force)
	h.answer(w, http.StatusAccepted, struct{}{})
}

// refusal is how an error is told.
type refusal struct {
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

func (h *Handler) refuse(w http.ResponseWriter, err error) {
	e, ok := code.Of(err)
	if !ok {
		h.logger.Error("a request of an operator failed", "error", err)
		e = code.New(code.Internal, "Something went wrong on our side.")
	}
	if e.Code == code.InvalidCredentials {
		w.Header().Set("WWW-Authenticate", `Basic realm="parley"`)
	}
	web.SetRetryAfter(w.Header(), e, e.HTTPStatus())
	h.answer(w, e.HTTPStatus(), refusal{string(e.Code), e.Message})
}

func (h *Handler) answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		h.logger.Debug("an answer was not taken", "error", err)
	}
}
