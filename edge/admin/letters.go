package admin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// Letters is what the handler asks about deliveries that were given up.
type Letters interface {
	// DeadLetters lists those of an application and kind of sink, oldest first.
	DeadLetters(ctx context.Context, application string, kind nodev1.Kind, page *nodev1.Page) (*nodev1.Reply, error)
	// Redeliver brings dead letters back, or drops them, and says how many.
	Redeliver(ctx context.Context, application string, r *nodev1.Redeliver) (moved uint64, err error)
}

// lettersPage is how many dead letters one answer lists at most.
const lettersPage = 100

// LetterPage is the answer to GET /cluster/applications/{id}/dead-letters.
type LetterPage struct {
	Letters []Letter `json:"letters"`
	Next    string   `json:"next,omitempty"` // the value of "after" for the following page
}

// Letter is one delivery that was given up.
type Letter struct {
	ID           string    `json:"id"`
	Conversation string    `json:"conversation_id"`
	Event        uint64    `json:"event_id"`
	Target       string    `json:"target"` // "event_url", "callback" or "push"
	Created      time.Time `json:"created"`
	Died         time.Time `json:"died"`
	Attempts     uint32    `json:"attempts"` // since the shard's leader last changed
	Reason       string    `json:"reason"`   // of the last attempt
}

// Moved is the answer to a redelivery or discarding.
type Moved struct {
	Letters uint64 `json:"letters"`
}

// kinds are the sinks by the names that operators use.
func kinds() map[string]nodev1.Kind {
	return map[string]nodev1.Kind{"": nodev1.Kind_KIND_WEBHOOK, "webhook": nodev1.Kind_KIND_WEBHOOK, "push": nodev1.Kind_KIND_PUSH}
}

func (h *Handler) serveLetters(w http.ResponseWriter, r *http.Request) {
	kind, known := kinds()[r.FormValue("kind")]
	after, err := base64.RawURLEncoding.DecodeString(r.FormValue("after"))
	if !known || err != nil {
		h.refuse(w, code.New(code.ValidationFail, "The kind must be webhook or push, and after what an earlier answer gave as next."))
		return
	}
	reply, err := h.cluster.DeadLetters(r.Context(), r.PathValue("application"), kind, &nodev1.Page{Size: lettersPage, After: after})
	if err != nil {
		h.refuse(w, err)
		return
	}
	page := LetterPage{Letters: []Letter{}, Next: base64.RawURLEncoding.EncodeToString(reply.Next)}
	for i, l := range reply.DeadLetters {
		page.Letters = append(page.Letters, Letter{
			ID: base64.RawURLEncoding.EncodeToString(reply.Positions[i]), Conversation: l.Row.GetSourceId(),
			Event: l.Row.GetCommand().GetDeliverEvent().GetSequence(), Target: l.Row.GetTargetId(),
			Created: time.UnixMilli(l.Row.GetCreatedMs()).UTC(), Died: time.UnixMilli(l.DiedMs).UTC(), Attempts: l.Attempts, Reason: l.Reason,
		})
	}
	h.answer(w, http.StatusOK, page)
}

// lettersRequest is the body of a redelivery or discarding; it may be left out.
type lettersRequest struct {
	Kind string `json:"kind"` // webhook or push; empty = webhook
	ID   string `json:"id"`   // of one letter; empty = all
}

func (h *Handler) serveMove(w http.ResponseWriter, r *http.Request, discard bool) {
	var in lettersRequest
	err := json.NewDecoder(io.LimitReader(r.Body, bodyBytesMax)).Decode(&in)
	position, malformed := base64.RawURLEncoding.DecodeString(in.ID)
	kind, known := kinds()[in.Kind]
	if err != nil && !errors.Is(err, io.EOF) || malformed != nil || !known {
		h.refuse(w, code.New(code.ValidationFail, "The body is not JSON of the form {\"kind\":\"webhook\",\"id\":\"…\"}."))
		return
	}
	application := r.PathValue("application")
	moved, err := h.cluster.Redeliver(r.Context(), application, &nodev1.Redeliver{Kind: kind, Position: position, Discard: discard})
	if err != nil {
		h.refuse(w, err)
		return
	}
	if len(position) > 0 && moved == 0 {
		h.refuse(w, code.New(code.NotFound, "There is no such dead letter."))
		return
	}
	h.logger.Info("an operator moved dead letters", "application", application, "letters", strconv.FormatUint(moved, 10), "discard", discard)
	h.answer(w, http.StatusOK, Moved{moved})
}
