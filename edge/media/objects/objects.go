// Package objects keeps blobs in a store that speaks the S3 protocol: Amazon's, or one of one's
// own (MinIO, Ceph, Garage, SeaweedFS).
package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Options say where the objects are. Start from DefaultOptions.
type Options struct {
	// Endpoint is the store's address, http or https; empty = Amazon's for the region.
	Endpoint string
	Region   string
	Bucket   string // must exist
	// Prefix stands before every object's name; it may be empty.
	Prefix    string
	AccessKey string
	SecretKey string
	// HostStyle puts the bucket into the host name. Stores of one's own mostly want it in the path.
	HostStyle bool
	// Timeout bounds one attempt at one request, without the reading of an object.
	Timeout time.Duration
	// Attempts is how often a request is made at most.
	Attempts int
}

// DefaultOptions are the settings that rarely differ.
func DefaultOptions() Options {
	return Options{Region: "us-east-1", Prefix: "parley/", Timeout: 30 * time.Second, Attempts: 3}
}

// Validate says what is wrong with o, by the names that operators know.
func (o Options) Validate() error {
	if o.Endpoint != "" {
		u, err := url.Parse(o.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("s3-endpoint %q: must be a URL like https://s3.example.org", o.Endpoint)
		}
	}
	switch {
	case o.Bucket == "":
		return errors.New("s3-bucket is empty")
	case o.Region == "":
		return errors.New("s3-region is empty")
	case o.AccessKey == "" || o.SecretKey == "":
		return errors.New("s3-access-key and s3-secret-key are both needed")
	case strings.HasPrefix(o.Prefix, "/"):
		return fmt.Errorf("s3-prefix %q: must not begin with a slash", o.Prefix)
	case o.Timeout <= 0 || o.Attempts < 1:
		return errors.New("the object store's timeout and attempts must be positive")
	}
	return nil
}

// ErrAbsent says that there is no such object.
var ErrAbsent = errors.New("object does not exist")

// Store is one bucket. Safe for concurrent use.
type Store struct {
	options   Options
	client    *s3.Client
	transport *http.Transport
}

// New makes a Store. Nothing is asked of the store before the first use; Check asks.
func New(o Options) (*Store, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute,
		ResponseHeaderTimeout: o.Timeout, TLSHandshakeTimeout: 10 * time.Second,
	}
	s := s3.Options{
		Region: o.Region, UsePathStyle: !o.HostStyle, HTTPClient: &http.Client{Transport: transport},
		RetryMaxAttempts: o.Attempts,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: o.AccessKey, SecretAccessKey: o.SecretKey, Source: "parley"}, nil
		}),
		// Other stores do not know the checksums that Amazon has added. Blobs are checked by their
		// names anyway.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	}
	if o.Endpoint != "" {
		s.BaseEndpoint = aws.String(o.Endpoint)
	}
	return &Store{options: o, client: s3.New(s), transport: transport}, nil
}

// Close ends idle connections.
func (s *Store) Close() error {
	s.transport.CloseIdleConnections()
	return nil
}

// Check says whether the bucket is there and may be used.
func (s *Store) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	if _, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.options.Bucket}); err != nil {
		return fmt.Errorf("look at bucket %s: %w", s.options.Bucket, err)
	}
	return nil
}

func (s *Store) key(name string) *string { return aws.String(s.options.Prefix + name) }

// Put stores an object, in place of one that is there. bytes is read from its beginning, once or
// more.
func (s *Store) Put(ctx context.Context, name string, bytes io.ReadSeeker, size int64) error {
	_, err := s.client.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &s.options.Bucket, Key: s.key(name), Body: bytes, ContentLength: &size,
		ContentType: aws.String("application/octet-stream"),
	})
	if err != nil {
		return fmt.Errorf("put object: %w", err)
	}
	return nil
}

// Get opens an object, which the caller closes. One that is not there is ErrAbsent.
func (s *Store) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	out, err := s.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.options.Bucket, Key: s.key(name)})
	var absent *types.NoSuchKey
	switch {
	case errors.As(err, &absent):
		return nil, ErrAbsent
	case err != nil:
		return nil, fmt.Errorf("get object: %w", err)
	}
	return out.Body, nil
}

// Delete removes an object. One that is not there is no error.
func (s *Store) Delete(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, s.options.Timeout)
	defer cancel()
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.options.Bucket, Key: s.key(name)})
	var absent *types.NoSuchKey
	if err != nil && !errors.As(err, &absent) {
		return fmt.Errorf("delete object: %w", err)
	}
	return nil
}
