package conversation

import (
	"fmt"

	"parley/actors/grain"
	"parley/internal/invariant"
	"parley/persistence/store"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// machine implements grain.Machine for one conversation.
type machine struct {
	entity     grain.Entity
	rows       Rows
	wellFormed bool // the id; else no conversation can stand behind it
	loaded     bool
	view       *view
}

// New makes the machine of the conversation e. It is called by grain shells, once per activation
// and again after a batch that was not committed.
func New(e grain.Entity) grain.Machine {
	rows, ok := RowsOf(e)
	return &machine{entity: e, rows: rows, wellFormed: ok, view: newView()}
}

// Decide implements grain.Machine.
func (m *machine) Decide(now int64, cmd *nodev1.Command) (grain.Decision, error) {
	if !m.wellFormed || cmd.GetPrincipal().GetApplicationId() != m.entity.Application {
		return grain.Decision{}, notFound()
	}
	d := &draft{view: m.view, entity: m.entity, now: now, cmd: cmd, head: m.view.head}
	reply, err := d.decide()
	if err != nil {
		return grain.Decision{}, err
	}
	out := grain.Decision{
		Changes: d.folded(), Outbox: d.outbox, Reply: reply, Fanout: d.fanout, Proven: d.proven,
	}
	for _, c := range d.changes {
		out.Ops = c.encode(m.rows, out.Ops)
	}
	return out, nil
}

// Evolve implements grain.Machine.
func (m *machine) Evolve(d grain.Decision) {
	f, ok := d.Changes.(folded)
	invariant.That(ok, "conversation %s: foreign changes %T", m.entity.ID, d.Changes)
	for _, c := range f.changes {
		c.fold(m.view)
	}
	invariant.That(f.head.sequence >= m.view.head.sequence, "conversation %s: sequence goes back", m.entity.ID)
	m.view.head = f.head
	invariant.That(m.view.head.joined <= m.view.head.members, "conversation %s: more joined than members", m.entity.ID)
}

// Head implements grain.Machine.
func (m *machine) Head() []byte {
	b, err := m.view.head.message().MarshalVT()
	invariant.That(err == nil, "conversation %s: head: %v", m.entity.ID, err)
	return b
}

// Settle implements grain.Machine.
func (m *machine) Settle() { m.view.settle() }

// Load implements grain.Machine.
func (m *machine) Load(r store.Reader, _ uint64, row []byte, cmd *nodev1.Command) error {
	if !m.wellFormed {
		return nil
	}
	if err := m.loadOnce(r, row); err != nil {
		return err
	}
	l := loader{reader: r, rows: m.rows, view: m.view}
	l.command(cmd)
	return l.err
}

func (m *machine) loadOnce(r store.Reader, row []byte) error {
	if m.loaded {
		return nil
	}
	meta, err := m.rows.Metadata(r)
	if err != nil {
		return err
	}
	var h eventv1.Head
	if err := h.UnmarshalVT(row); err != nil {
		return fmt.Errorf("head: %w", err)
	}
	m.view.meta = meta
	m.view.head = head{sequence: h.Sequence, timestampMs: h.TimestampMs, joined: h.Joined, members: h.Members}
	m.loaded = true
	return nil
}

// NotFound refuses what is asked of a conversation that is not, or not for the asker: one text for all of
// it, whoever finds out, because a stranger must not learn from it which conversations there are.
func NotFound() error {
	return code.New(code.ConversationNotFound, "Conversation does not exist, or you do not have access.")
}

func notFound() error { return NotFound() }
