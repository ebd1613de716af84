// Package sweep does what has come due for blobs: it asks after images whose holds are still
// unconfirmed, and removes the objects of external blobs that nobody holds any more.
//
// Every node sweeps the shards that it leads. All steps may be repeated and may be done by two
// nodes at once, so nobody has to agree on who sweeps.
package sweep

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parley/actors/blob"
	"parley/actors/blob/image"
	"parley/actors/grain"
	"parley/persistence/keys"
	"parley/persistence/store"
	"parley/proto/code"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// Asker brings a request to its grain; *system.Caller is one.
type Asker interface {
	Ask(ctx context.Context, req *nodev1.GrainRequest) (*nodev1.GrainReply, error)
}

// Objects is the store of external blobs.
type Objects interface {
	// Delete removes an object. One that is not there is no error.
	Delete(ctx context.Context, name string) error
}

// Options are what a Sweeper needs of its node. Start from DefaultOptions.
type Options struct {
	// Reader reads the applied state of this node's shards.
	Reader store.Reader
	// Leads says which shards this node leads now.
	Leads func() []keys.Shard
	Asker Asker
	// Objects is nil on a node without an object store: then what is due there waits for a node
	// that has one.
	Objects Objects
	// Every is the time between two sweeps.
	Every time.Duration
	// Page is how many rows are read at once.
	Page    int
	Now     func() time.Time
	Logger  *slog.Logger
	Metrics prometheus.Registerer
}

// DefaultOptions are the production settings, without the dependencies.
func DefaultOptions() Options {
	return Options{
		Every: time.Minute, Page: 256, Now: time.Now,
		Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	}
}

// Validate says what is wrong with o.
func (o Options) Validate() error {
	switch {
	case o.Reader == nil || o.Leads == nil || o.Asker == nil:
		return errors.New("sweep options: Reader, Leads and Asker are needed")
	case o.Every <= 0 || o.Page < 1:
		return errors.New("sweep options: Every and Page must be positive")
	case o.Now == nil || o.Logger == nil || o.Metrics == nil:
		return errors.New("sweep options: Now, Logger and Metrics are needed")
	}
	return nil
}

// Sweeper sweeps one node's shards.
type Sweeper struct {
	options Options
	done    *prometheus.CounterVec
}

// New makes a Sweeper, which does nothing by itself.
func New(o Options) (*Sweeper, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	s := &Sweeper{options: o, done: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "parley_actors_blob_swept_total",
		Help: "Due work on blobs, by outcome: confirmed, released, removed, postponed.",
	}, []string{"outcome"})}
	if err := o.Metrics.Register(s.done); err != nil {
		return nil, fmt.Errorf("register sweep metrics: %w", err)
	}
	return s, nil
}

// Run sweeps from time to time until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	timer := time.NewTicker(s.options.Every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
			s.Sweep(ctx)
		}
	}
}

// Sweep does all that is due now, once. What fails is left for the next sweep and does not stop
// the rest.
func (s *Sweeper) Sweep(ctx context.Context) {
	now := s.options.Now().UnixMilli()
	for _, home := range s.options.Leads() {
		after := keys.DueRows(home)
		for len(after) > 0 && ctx.Err() == nil {
			after = s.page(ctx, home, after, now)
		}
	}
}

// page does one page of a shard's work, and gives where the next one begins, nil at the end.
func (s *Sweeper) page(ctx context.Context, home keys.Shard, after []byte, now int64) []byte {
	end := keys.Due(home, keys.DueRow{DueMs: now + 1})
	var rows [][]byte
	err := s.options.Reader.Scan(after, end, false, func(key, _ []byte) (bool, error) {
		rows = append(rows, slices.Clone(key))
		return len(rows) < s.options.Page, nil
	})
	if err != nil {
		s.options.Logger.Error("due work on blobs could not be read", "shard", home, "error", err)
		return nil
	}
	for _, key := range rows {
		outcome, err := s.work(ctx, keys.DueOf(key))
		if err != nil && ctx.Err() == nil {
			s.options.Logger.Warn("due work on a blob was postponed", "shard", home, "error", err)
		}
		s.done.WithLabelValues(outcome).Inc()
	}
	if len(rows) < s.options.Page {
		return nil
	}
	return append(rows[len(rows)-1], 0)
}

const postponed = "postponed"

func (s *Sweeper) work(ctx context.Context, d keys.DueRow) (outcome string, err error) {
	if d.Generation != 0 {
		return s.remove(ctx, d)
	}
	return s.ask(ctx, d)
}

// ask asks an image whether it shows the blob that it holds.
func (s *Sweeper) ask(ctx context.Context, d keys.DueRow) (outcome string, err error) {
	sum, holder := hex.EncodeToString(d.Sum[:]), id.Format(id.Image, d.Holder)
	reply, err := s.command(ctx, d, nodev1.Kind_KIND_IMAGE, holder, &nodev1.Command{Body: &nodev1.Command_Probe{Probe: &nodev1.Probe{}}})
	if err != nil {
		return postponed, fmt.Errorf("probe image %s: %w", holder, err)
	}
	command := &nodev1.Command{Body: &nodev1.Command_ReleaseHold{ReleaseHold: &nodev1.ReleaseHold{Holder: holder}}}
	outcome = "released"
	if shows(reply, sum) {
		command = &nodev1.Command{Body: &nodev1.Command_ConfirmHold{ConfirmHold: &nodev1.ConfirmHold{Holder: holder}}}
		outcome = "confirmed"
	}
	if _, err = s.command(ctx, d, nodev1.Kind_KIND_BLOB, sum, command); err != nil {
		return postponed, fmt.Errorf("settle the hold of image %s: %w", holder, err)
	}
	return outcome, nil
}

func shows(reply *nodev1.Reply, sum string) bool {
	if !reply.GetExists() {
		return false
	}
	for _, p := range image.Pictures(reply.GetImage()) {
		if p.GetSha256() == sum {
			return true
		}
	}
	return false // an earlier attempt of the same upload held it
}

// remove removes an object that no blob needs any more.
func (s *Sweeper) remove(ctx context.Context, d keys.DueRow) (outcome string, err error) {
	if s.options.Objects == nil {
		return postponed, nil
	}
	sum := hex.EncodeToString(d.Sum[:])
	name := blob.Object(id.Format(id.Application, d.Application), sum, d.Generation)
	if err := s.options.Objects.Delete(ctx, name); err != nil {
		return postponed, fmt.Errorf("remove object %s: %w", name, err)
	}
	purge := &nodev1.Command{Body: &nodev1.Command_PurgeObject{PurgeObject: &nodev1.PurgeObject{Generation: d.Generation, DueMs: d.DueMs}}}
	if _, err := s.command(ctx, d, nodev1.Kind_KIND_BLOB, sum, purge); err != nil {
		return postponed, fmt.Errorf("forget object %s: %w", name, err)
	}
	return "removed", nil
}

func (s *Sweeper) command(ctx context.Context, d keys.DueRow, kind nodev1.Kind, entity string, c *nodev1.Command) (*nodev1.Reply, error) {
	app := id.Format(id.Application, d.Application)
	c.Principal = &nodev1.Principal{ApplicationId: app, Admin: true}
	reply, err := s.options.Asker.Ask(ctx, &nodev1.GrainRequest{Kind: kind, ApplicationId: app, Id: entity, Command: c})
	switch {
	case err != nil:
		return nil, err
	case reply.Error != nil:
		return nil, grain.CodedError(reply.Error)
	case reply.NotLeader:
		return nil, code.New(code.Unavailable, "nobody answers for this shard at the moment")
	}
	return reply.Reply, nil
}
