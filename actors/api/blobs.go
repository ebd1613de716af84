package api

import (
	"context"

	"parley/actors/blob"
	"parley/actors/blob/image"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// blobCommand asks a blob on behalf of p, who needs no right of its own for it.
func (s *Service) blobCommand(ctx context.Context, p *nodev1.Principal, sha256 string, c *nodev1.Command) (*nodev1.Reply, error) {
	if _, err := blob.ParseSum(sha256); err != nil {
		return nil, image.NotFound()
	}
	c.Principal = system(p)
	return s.command(ctx, target{nodev1.Kind_KIND_BLOB, p.GetApplicationId(), sha256}, c)
}

// HoldBlob implements Blobs.
func (s *Service) HoldBlob(ctx context.Context, p *nodev1.Principal, sha256 string, h *nodev1.HoldBlob) (*eventv1.Blob, error) {
	reply, err := s.blobCommand(ctx, p, sha256, &nodev1.Command{Body: &nodev1.Command_HoldBlob{HoldBlob: h}})
	return reply.GetBlob(), err
}

// PutChunk implements Blobs.
func (s *Service) PutChunk(ctx context.Context, p *nodev1.Principal, sha256 string, c *nodev1.PutChunk) error {
	_, err := s.blobCommand(ctx, p, sha256, &nodev1.Command{Body: &nodev1.Command_PutChunk{PutChunk: c}})
	return err
}

// SealBlob implements Blobs.
func (s *Service) SealBlob(ctx context.Context, p *nodev1.Principal, sha256 string) error {
	_, err := s.blobCommand(ctx, p, sha256, &nodev1.Command{Body: &nodev1.Command_SealBlob{SealBlob: &nodev1.SealBlob{}}})
	return err
}

// GetChunk implements Blobs.
func (s *Service) GetChunk(ctx context.Context, p *nodev1.Principal, sha256 string, index uint32) ([]byte, error) {
	if _, err := blob.ParseSum(sha256); err != nil {
		return nil, image.NotFound()
	}
	reply, err := s.query(ctx, target{nodev1.Kind_KIND_BLOB, p.GetApplicationId(), sha256}, &nodev1.Query{
		Principal: system(p), Body: &nodev1.Query_GetChunk{GetChunk: &nodev1.GetChunk{Index: index}},
	})
	return reply.GetChunk(), err
}

// CreateImage implements Blobs.
func (s *Service) CreateImage(ctx context.Context, p *nodev1.Principal, i *eventv1.Image) (*eventv1.Image, error) {
	if !isImage(i.GetId()) {
		return nil, image.NotFound()
	}
	reply, err := s.command(ctx, imageOf(p, i.GetId()), &nodev1.Command{
		Principal: p, Body: &nodev1.Command_CreateImage{CreateImage: &nodev1.CreateImage{Image: i}},
	})
	return reply.GetImage(), err
}

// GetImage implements Blobs.
func (s *Service) GetImage(ctx context.Context, p *nodev1.Principal, id string) (*eventv1.Image, error) {
	if !isImage(id) {
		return nil, image.NotFound()
	}
	reply, err := s.query(ctx, imageOf(p, id), &nodev1.Query{Principal: p, Body: &nodev1.Query_GetImage{GetImage: &nodev1.GetImage{}}})
	return reply.GetImage(), err
}

// DeleteImage implements Blobs.
func (s *Service) DeleteImage(ctx context.Context, p *nodev1.Principal, id string) error {
	if !isImage(id) {
		return image.NotFound()
	}
	_, err := s.command(ctx, imageOf(p, id), &nodev1.Command{
		Principal: p, Body: &nodev1.Command_DeleteImage{DeleteImage: &nodev1.DeleteImage{}},
	})
	return err
}

func imageOf(p *nodev1.Principal, id string) target {
	return target{nodev1.Kind_KIND_IMAGE, p.GetApplicationId(), id}
}

func isImage(s string) bool { _, err := id.Parse(id.Image, s); return err == nil }
