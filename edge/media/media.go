// Package media is the image service of the Conversation API, /v1/image: an upload becomes three
// pictures, which everybody in the application may fetch and whose uploader may delete them.
//
//	body ─▶ spool (disk) ─▶ probe (limits) ─▶ memory permit ─▶ decode, encode anew ─▶ blobs ─▶ record
//
// An upload is on disk while it arrives, so that slow clients cost no memory. Its structure is
// looked at before anything is decoded (package probe). Decoding then waits for a permit of as much
// memory as it will need. The pictures (package picture) are stored as blobs, by their content, in
// the cluster or in an object store (package objects); the image's record comes last, and makes
// them visible. What stops on the way leaves nothing behind: holds without a record lapse.
//
// An image's id is a UUID whose last two bits are zero. The three pictures have the same id but
// for these bits, which say 1 for the original, 2 for the medium one and 3 for the thumbnail.
package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"parley/actors/api"
	"parley/actors/blob"
	"parley/edge/auth"
	"parley/edge/limit"
	"parley/edge/media/probe"
)

// Objects is a store for the bytes of blobs outside of the cluster; *objects.Store is one.
type Objects interface {
	// Put stores an object. bytes may be read more than once.
	Put(ctx context.Context, name string, bytes io.ReadSeeker, size int64) error
	// Get opens an object, which the caller closes.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
}

// Options are the tunables of a Handler. Start from DefaultOptions.
type Options struct {
	FileBytesMax   int64         // of an uploaded file; larger is 413
	DrainBytesMax  int64         // read of a refused upload, so that its sender sees the answer
	UploadTimeout  time.Duration // for an upload to arrive
	ProcessTimeout time.Duration // from there to the answer
	SendTimeout    time.Duration // for a picture to be taken
	UploadsMax     int           // at once; more are 503
	UploadsEach    int           // of one user at once; more are 429
	DecodesMax     int           // at once; more wait
	MemoryBytesMax int64         // of all decodes together; an image that needs more is 413
	Limits         probe.Limits  // what may be decoded
	SpoolDir       string        // for uploads on their way; empty = the system's for temporary files
	Now            func() time.Time
	Logger         *slog.Logger
	Registerer     prometheus.Registerer
}

// DefaultOptions are right for production.
func DefaultOptions() Options {
	return Options{
		FileBytesMax: 15 << 20, DrainBytesMax: 64 << 20,
		UploadTimeout: 2 * time.Minute, ProcessTimeout: time.Minute, SendTimeout: 2 * time.Minute,
		UploadsMax: 32, UploadsEach: 8, DecodesMax: 2, MemoryBytesMax: 512 << 20, Limits: probe.DefaultLimits(),
		Now: time.Now, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	}
}

// Validate says what is wrong with o.
func (o Options) Validate() error {
	switch {
	case o.FileBytesMax < 1 || o.FileBytesMax > blob.BytesMax:
		return fmt.Errorf("FileBytesMax %d: 1 to %d", o.FileBytesMax, blob.BytesMax)
	case o.DrainBytesMax < o.FileBytesMax:
		return errors.New("DrainBytesMax must not be below FileBytesMax")
	case o.UploadTimeout <= 0 || o.ProcessTimeout <= 0 || o.SendTimeout <= 0:
		return errors.New("timeouts must be positive")
	case o.UploadTimeout+o.ProcessTimeout > blob.HoldMs/2*time.Millisecond:
		return errors.New("UploadTimeout and ProcessTimeout: an upload must end long before its holds lapse")
	case o.UploadsMax < 1 || o.UploadsEach < 1 || o.DecodesMax < 1 || o.MemoryBytesMax < 1:
		return errors.New("UploadsMax, UploadsEach, DecodesMax and MemoryBytesMax must be positive")
	case o.Now == nil || o.Logger == nil || o.Registerer == nil:
		return errors.New("Now, Logger and Registerer are needed")
	}
	return o.Limits.Validate()
}

// Parts are what a Handler is wired to.
type Parts struct {
	Cluster  api.Blobs
	Verifier *auth.Verifier
	Limits   *limit.Limits
	Objects  Objects // nil = the bytes of blobs are kept in the cluster
}

// Handler serves /v1/image and what is below. It is safe for use from any goroutine, and has no
// goroutine outside of its requests.
type Handler struct {
	Parts
	options Options
	metrics metrics
	uploads *places
	memory  *semaphore.Weighted // bytes
}

var _ http.Handler = (*Handler)(nil)

// New makes the handler.
func New(p Parts, o Options) (*Handler, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("media options: %w", err)
	}
	if p.Cluster == nil || p.Verifier == nil || p.Limits == nil {
		return nil, errors.New("media: Cluster, Verifier and Limits are needed")
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register media metrics: %w", err)
	}
	return &Handler{
		Parts: p, options: o, metrics: m,
		uploads: newPlaces(o.UploadsMax, o.UploadsEach), memory: semaphore.NewWeighted(o.MemoryBytesMax),
	}, nil
}
