package media

import (
	"parley/edge/media/picture"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
)

// The types of pictures as clients know them, in the order of package picture.
var types = [picture.Kinds]string{"ORIGINAL", "MEDIUM", "THUMBNAIL"}

// kindBits are the bits of an id's last byte that tell the image and its pictures apart.
const kindBits = 3

// withKind gives the id of an image's picture, or with kind 0 that of the image itself.
func withKind(u [16]byte, kind byte) string {
	u[15] = u[15]&^kindBits | kind
	return id.Format(id.Image, u)
}

// newImageID makes the id of an image: the one of the uploader's idempotency key, or a new one.
func newImageID(application, user, key string) string {
	name := id.New(id.Image)
	if key != "" {
		name = id.Derive(id.Image, application, user, "image\x00"+key)
	}
	u, err := id.Parse(id.Image, name)
	if err != nil {
		panic(err) // made two lines above
	}
	return withKind(u, 0)
}

// parseID splits the id of an image or a picture; ok is false for anything else. kind is 0 for an
// image, else the picture's place plus one.
func parseID(s string) (image string, kind int, ok bool) {
	u, err := id.Parse(id.Image, s)
	if err != nil {
		return "", 0, false
	}
	return withKind(u, 0), int(u[15] & kindBits), true
}

// pictureID is the id of one of an image's pictures, by its place.
func pictureID(image string, place int) string {
	u, err := id.Parse(id.Image, image)
	if err != nil {
		panic(err) // ids of images were parsed or made here
	}
	return withKind(u, byte(place+1))
}

// pictureOf finds what an id stands for; an image stands for its original.
func pictureOf(i *eventv1.Image, kind int) *eventv1.Picture {
	switch kind {
	case 2:
		return i.GetMedium()
	case 3:
		return i.GetThumbnail()
	}
	return i.GetOriginal()
}
