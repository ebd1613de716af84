package query

import (
	"parley/actors/blob"
	"parley/actors/blob/image"
	"parley/persistence/keys"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// image gives an image's record. Everybody in the application may read it: who knows the id has
// been told it in a conversation.
func (s *server) image(q *nodev1.Query) (*nodev1.Reply, error) {
	if _, ok := q.GetBody().(*nodev1.Query_GetImage); !ok {
		return nil, unknown()
	}
	app, ok := s.app()
	u, err := id.Parse(id.Image, s.request.Id)
	if !ok || err != nil || !s.sameApplication() {
		return nil, image.NotFound()
	}
	i := &eventv1.Image{}
	if err := s.read(keys.Image(s.home(), app, u), i, image.NotFound()); err != nil {
		return nil, err
	}
	if !image.Alive(i) {
		return nil, image.NotFound()
	}
	return &nodev1.Reply{Image: i}, nil
}

// blob gives a manifest or a chunk. It is asked by the nodes themselves, on behalf of somebody
// who may read the image.
func (s *server) blob(q *nodev1.Query) (*nodev1.Reply, error) {
	absent := code.New(code.NotFound, "blob does not exist")
	app, ok := s.app()
	sum, err := blob.ParseSum(s.request.Id)
	if !ok || err != nil || !s.sameApplication() || !s.principal().GetAdmin() {
		return nil, absent
	}
	switch b := q.GetBody().(type) {
	case *nodev1.Query_GetBlob:
		manifest := &eventv1.Blob{}
		if err := s.read(keys.Blob(s.home(), app, sum), manifest, absent); err != nil {
			return nil, err
		}
		return &nodev1.Reply{Blob: manifest}, nil
	case *nodev1.Query_GetChunk:
		bytes, ok, err := s.reader.Get(keys.Chunk(s.home(), app, sum, b.GetChunk.GetIndex()))
		if err == nil && !ok {
			err = absent
		}
		return &nodev1.Reply{Chunk: bytes}, err
	default:
		return nil, unknown()
	}
}
