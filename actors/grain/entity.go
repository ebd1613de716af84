package grain

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"

	"parley/persistence/keys"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// IsSink says whether outbox rows of a kind go to a sink and not to a grain.
func IsSink(kind nodev1.Kind) bool {
	return kind == nodev1.Kind_KIND_WEBHOOK || kind == nodev1.Kind_KIND_PUSH
}

// Place gives the shard of an entity: applications and the placement live in the meta shard, all
// else where its hash says. A sink has no shard: its number keeps the rows of one application and
// target together in the outbox, as those for one shard stand together. Of a target, what stands
// behind a slash tells lanes apart and no more.
func Place(kind nodev1.Kind, application, entity string, shards uint32) keys.Shard {
	if IsSink(kind) {
		target, _, _ := strings.Cut(entity, "/")
		d := digest(kind, application, target)
		return keys.Shard(binary.BigEndian.Uint32(d[:]))
	}
	if kind == nodev1.Kind_KIND_APPLICATION || kind == nodev1.Kind_KIND_PLACEMENT {
		return keys.Meta
	}
	return keys.ShardOf(application, entity, shards)
}

// HeadKey is the row that fences an entity. Names and blobs have no UUID of their own: its place
// is taken by a digest.
func HeadKey(e Entity) ([]byte, error) {
	app, err := id.Parse(id.Application, e.Application)
	if err != nil && e.Kind != nodev1.Kind_KIND_APPLICATION && e.Kind != nodev1.Kind_KIND_PLACEMENT {
		return nil, fmt.Errorf("application %q: %w", e.Application, err)
	}
	var entity keys.UUID
	switch e.Kind {
	case nodev1.Kind_KIND_CONVERSATION:
		entity, err = id.Parse(id.Conversation, e.ID)
	case nodev1.Kind_KIND_USER:
		entity, err = id.Parse(id.User, e.ID)
	case nodev1.Kind_KIND_APPLICATION, nodev1.Kind_KIND_PLACEMENT:
		app = keys.UUID{}
		entity, err = id.Parse(id.Application, e.ID)
	case nodev1.Kind_KIND_IMAGE:
		entity, err = id.Parse(id.Image, e.ID)
	case nodev1.Kind_KIND_NAME, nodev1.Kind_KIND_BLOB:
		entity = digest(e.Kind, e.Application, e.ID)
	default:
		err = fmt.Errorf("no entity is of kind %s", e.Kind)
	}
	if err != nil {
		return nil, fmt.Errorf("entity %q: %w", e.ID, err)
	}
	return keys.Head(e.Shard, app, entity, keys.EntityKind(e.Kind)), nil
}

// digest names an entity in 16 bytes, across kinds and applications.
func digest(kind nodev1.Kind, application, entity string) keys.UUID {
	sum := sha256.Sum256([]byte(fmt.Sprintf("%d\x00%s\x00%s", kind, application, entity)))
	return keys.UUID(sum[:16])
}
