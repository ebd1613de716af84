package socketio

import (
	"strings"

	"parley/edge/receipt"
	nodev1 "parley/proto/node/v1"
)

// isReceipt says whether an event of a client is a receipt.
func isReceipt(kind string) bool {
	family, rest, _ := strings.Cut(kind, ":")
	return family != "custom" && (rest == "delivered" || rest == "seen")
}

// receiptOf reads a receipt of a session.
func receiptOf(c *conn, s *session, r *request) receipt.Receipt {
	family, what, _ := strings.Cut(r.kind, ":")
	sequence := r.number("event_id")
	known := family == "text" || family == "image" || family == "message" || family == "event"
	const usual = 1 << 10
	told := receipt.Receipt{
		Principal: s.principal, Conversation: r.cid, From: r.sender(), Delivered: sequence,
		Odd:    !known || sequence == 0 || r.to != "" || len(r.body) > usual,
		Bearer: &bearer{c, s, r},
	}
	if what == "seen" {
		told.Seen = sequence
	}
	return told
}

// bearer is the session that a receipt comes from.
type bearer struct {
	conn    *conn
	session *session
	request *request
}

// Alone implements receipt.Bearer.
func (b *bearer) Alone(done func(*nodev1.Reply, error)) { b.conn.store(b.session, b.request, done) }

// Done implements receipt.Bearer.
func (b *bearer) Done(reply *nodev1.Reply, err error) {
	if frame := b.conn.posted(b.session, b.request, reply, err); frame != nil {
		b.conn.wire.SendNow(frame)
	}
}
