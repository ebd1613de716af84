package blob_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"parley/actors/blob"
	"parley/actors/blob/sweep"
	"parley/actors/conversation/world"
	"parley/actors/grain"
	"parley/persistence/keys"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

const (
	app    = "6f1b34c6-3f04-4f0e-8c57-5d7c1f5f7a11"
	shards = 3
)

var (
	admin = &nodev1.Principal{ApplicationId: app, Admin: true}
	ann   = &nodev1.Principal{ApplicationId: app, UserId: id.Derive(id.User, app, "", "ann")}
	bob   = &nodev1.Principal{ApplicationId: app, UserId: id.Derive(id.User, app, "", "bob")}
)

func imageID(name string) string { return id.Derive(id.Image, app, "", name) }

func sumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// node is a world with the calls that a node makes, and an object store in memory.
type node struct {
	*world.World
	objects map[string]bool
	broken  bool // the object store
}

func newNode() *node { return &node{World: world.New(shards), objects: map[string]bool{}} }

func (n *node) do(p *nodev1.Principal, kind nodev1.Kind, entity string, cmd *nodev1.Command) (*nodev1.Reply, error) {
	cmd.Principal = p
	results, err := n.Do(kind, app, entity, cmd)
	if err != nil {
		return nil, err
	}
	return results[0].Reply, results[0].Err
}

func (n *node) blob(sum string, cmd *nodev1.Command) (*nodev1.Reply, error) {
	return n.do(admin, nodev1.Kind_KIND_BLOB, sum, cmd)
}

func hold(holder string, size int, external bool) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_HoldBlob{HoldBlob: &nodev1.HoldBlob{Holder: holder, Size: uint64(size), External: external}}}
}

func put(index uint32, b []byte) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_PutChunk{PutChunk: &nodev1.PutChunk{Index: index, Bytes: b}}}
}

func seal() *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_SealBlob{SealBlob: &nodev1.SealBlob{}}}
}

// upload stores content for an image, and with create makes the image.
func (n *node) upload(name string, content []byte, external, create bool) error {
	sum := sumOf(content)
	reply, err := n.blob(sum, hold(imageID(name), len(content), external))
	if err != nil {
		return err
	}
	b := reply.Blob
	if !b.Sealed && b.External {
		n.objects[blob.Object(app, sum, b.Generation)] = true
	}
	if !b.Sealed && !b.External {
		for i := range blob.Chunks(b.Size) {
			start := int(i) * blob.ChunkBytes
			if _, err := n.blob(sum, put(i, content[start:start+blob.ChunkSize(b.Size, i)])); err != nil {
				return err
			}
		}
	}
	if _, err := n.blob(sum, seal()); err != nil || !create {
		return err
	}
	p := &eventv1.Picture{Sha256: sum, Size: b.Size, MediaType: "image/png", Width: 1, Height: 1, External: b.External, Generation: b.Generation}
	_, err = n.do(ann, nodev1.Kind_KIND_IMAGE, imageID(name), creating(p))
	return err
}

func creating(p *eventv1.Picture) *nodev1.Command {
	return &nodev1.Command{Body: &nodev1.Command_CreateImage{CreateImage: &nodev1.CreateImage{
		Image: &eventv1.Image{Original: p, Medium: p, Thumbnail: p},
	}}}
}

func (n *node) remove(p *nodev1.Principal, name string) error {
	_, err := n.do(p, nodev1.Kind_KIND_IMAGE, imageID(name), &nodev1.Command{Body: &nodev1.Command_DeleteImage{DeleteImage: &nodev1.DeleteImage{}}})
	return err
}

// Ask implements sweep.Asker.
func (n *node) Ask(_ context.Context, req *nodev1.GrainRequest) (*nodev1.GrainReply, error) {
	results, err := n.Do(req.Kind, req.ApplicationId, req.Id, req.Command)
	if err != nil {
		return nil, err
	}
	if results[0].Err != nil {
		return &nodev1.GrainReply{Error: grain.ErrorOf(results[0].Err)}, nil
	}
	return &nodev1.GrainReply{Reply: results[0].Reply}, nil
}

// Delete implements sweep.Objects.
func (n *node) Delete(_ context.Context, name string) error {
	if n.broken {
		return errors.New("no object store today")
	}
	delete(n.objects, name)
	return nil
}

func (n *node) sweep(t interface{ Fatal(...any) }) {
	o := sweep.DefaultOptions()
	o.Reader, o.Asker, o.Objects, o.Page = n.Rows(), n, n, 2
	o.Leads = func() []keys.Shard { return []keys.Shard{1, 2, 3} }
	o.Now = func() time.Time { return time.UnixMilli(n.Now) }
	s, err := sweep.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Sweep(context.Background())
}

// read gives a stored blob's bytes, ok=false when there is none.
func (n *node) read(content []byte) (got []byte, ok bool) {
	sum := sumOf(content)
	reply, err := n.World.Ask(nodev1.Kind_KIND_BLOB, app, sum, &nodev1.Query{Principal: admin, Body: &nodev1.Query_GetBlob{GetBlob: &nodev1.GetBlob{}}})
	if err != nil {
		return nil, false
	}
	if reply.Blob.External {
		return nil, reply.Blob.Sealed && n.objects[blob.Object(app, sum, reply.Blob.Generation)]
	}
	for i := range blob.Chunks(reply.Blob.Size) {
		chunk, err := n.World.Ask(nodev1.Kind_KIND_BLOB, app, sum, &nodev1.Query{Principal: admin, Body: &nodev1.Query_GetChunk{GetChunk: &nodev1.GetChunk{Index: i}}})
		if err != nil {
			return nil, false
		}
		got = append(got, chunk.Chunk...)
	}
	return got, reply.Blob.Sealed
}

// leftovers are the rows that should be gone when nothing is stored and nothing is due.
func (n *node) leftovers() (left []string) {
	for key := range n.Rows() {
		if table := key[5]; table >= 0x70 && table <= 0x74 && table != 0x73 { // tombstones of images stay
			left = append(left, fmt.Sprintf("%x", key))
		}
	}
	return left
}

// TestUploadsAndDeletions: whatever is uploaded, abandoned, deleted and swept in whatever order, an
// image shows its bytes from its creation to its deletion; and when all are deleted, abandoned ones
// have lapsed and a sweep has passed, nothing is left.
func TestUploadsAndDeletions(t *testing.T) {
	contents := [][]byte{[]byte("a"), bytes.Repeat([]byte("b"), blob.ChunkBytes+1), bytes.Repeat([]byte("c"), blob.ChunkBytes)}
	rapid.Check(t, func(t *rapid.T) {
		n := newNode()
		n.Forgetful = rapid.Bool().Draw(t, "forgetful")
		n.Twice = rapid.Bool().Draw(t, "twice")
		living := map[string][]byte{}
		names := 0
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 0, 1, 2:
				content := rapid.SampledFrom(contents).Draw(t, "content")
				create := rapid.IntRange(0, 2).Draw(t, "create") > 0
				name := fmt.Sprint("image", names)
				names++
				if rapid.Bool().Draw(t, "in two attempts") { // the first one stops before the image is made
					if err := n.upload(name, content, false, false); err != nil {
						t.Fatal(err)
					}
					n.Now += rapid.Int64Range(0, blob.HoldMs-1).Draw(t, "pause")
				}
				if err := n.upload(name, content, rapid.Bool().Draw(t, "external"), create); err != nil {
					t.Fatal(err)
				}
				if create {
					living[name] = content
				}
			case 3, 4:
				if len(living) > 0 {
					name := slices.Min(slices.Collect(maps.Keys(living)))
					if err := n.remove(ann, name); err != nil {
						t.Fatal(err)
					}
					delete(living, name)
				}
				if rapid.Bool().Draw(t, "deliver") {
					deliver(t, n)
				}
			case 5:
				n.Now += rapid.Int64Range(0, 2*blob.HoldMs).Draw(t, "later")
			case 6:
				n.broken = rapid.Bool().Draw(t, "broken")
				n.sweep(t)
			}
			shown(t, n, living)
		}
		for name := range living {
			if err := n.remove(admin, name); err != nil {
				t.Fatal(err)
			}
		}
		deliver(t, n)
		n.Now += 2 * blob.HoldMs
		n.broken = false
		n.sweep(t)
		deliver(t, n)
		n.sweep(t)
		if left := n.leftovers(); len(left) > 0 || len(n.objects) > 0 {
			t.Fatalf("left over: %s, %v", strings.Join(left, " "), n.objects)
		}
	})
}

func deliver(t interface{ Fatal(...any) }, n *node) {
	if err := n.Deliver(); err != nil {
		t.Fatal(err)
	}
}

func shown(t *rapid.T, n *node, living map[string][]byte) {
	for name, content := range living {
		got, ok := n.read(content)
		if !ok || got != nil && !bytes.Equal(got, content) {
			t.Fatalf("%s does not show its %d bytes any more", name, len(content))
		}
	}
}

// TestRefusals: what a blob is asked must fit it.
func TestRefusals(t *testing.T) {
	n := newNode()
	content := bytes.Repeat([]byte("x"), blob.ChunkBytes+10)
	sum, one := sumOf(content), imageID("one")
	refused := func(what string, want code.Code, cmd *nodev1.Command) {
		t.Helper()
		if _, err := n.blob(sum, cmd); !code.Has(err, want) {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
	}
	refused("chunk of nothing", code.NotFound, put(0, nil))
	refused("seal of nothing", code.NotFound, seal())
	refused("no holder", code.ValidationFail, hold("one", 1, false))
	refused("no bytes", code.TooLarge, hold(one, 0, false))
	refused("too many bytes", code.TooLarge, hold(one, blob.BytesMax+1, false))
	if _, err := n.blob(sum, hold(one, len(content), false)); err != nil {
		t.Fatal(err)
	}
	refused("another size", code.ValidationFail, hold(one, 5, false))
	refused("a chunk behind the end", code.ValidationFail, put(2, []byte("x")))
	refused("a short chunk", code.ValidationFail, put(0, []byte("x")))
	refused("an unknown command", code.InvalidEvent, &nodev1.Command{Body: &nodev1.Command_Probe{}})
	if _, err := n.blob(sum, put(1, content[:10])); err != nil {
		t.Fatal(err)
	}
	refused("seal with a hole", code.InvalidEvent, seal())
	if _, err := n.do(ann, nodev1.Kind_KIND_BLOB, sum, seal()); !code.Has(err, code.Permission) {
		t.Errorf("a user: %v", err)
	}
	for _, bad := range []string{"", "x", strings.ToUpper(sum), sum[:63] + "g"} {
		if _, err := blob.ParseSum(bad); err == nil {
			t.Errorf("%q is taken for a sum", bad)
		}
	}
	if _, err := n.World.Ask(nodev1.Kind_KIND_BLOB, app, sum, &nodev1.Query{Principal: ann, Body: &nodev1.Query_GetChunk{GetChunk: &nodev1.GetChunk{Index: 1}}}); !code.Has(err, code.NotFound) {
		t.Errorf("a user reads a blob by its sum: %v", err)
	}
}

// TestImageRights: the owner and administrators delete; a repetition creates nothing; a late creation
// is refused.
func TestImageRights(t *testing.T) {
	n := newNode()
	if err := n.upload("one", []byte("1"), false, true); err != nil {
		t.Fatal(err)
	}
	get := func(p *nodev1.Principal) error {
		_, err := n.World.Ask(nodev1.Kind_KIND_IMAGE, app, imageID("one"), &nodev1.Query{Principal: p, Body: &nodev1.Query_GetImage{GetImage: &nodev1.GetImage{}}})
		return err
	}
	foreign := &nodev1.Principal{ApplicationId: imageID("other"), Admin: true}
	picture := &eventv1.Picture{Sha256: sumOf([]byte("1")), Size: 1, MediaType: "image/png", Width: 1, Height: 1}
	again, err := n.do(ann, nodev1.Kind_KIND_IMAGE, imageID("one"), creating(picture))
	if err != nil || !again.Duplicate || again.Image.OwnerUser != ann.UserId {
		t.Errorf("repeated: %v, %v", again, err)
	}
	_, errBob := n.do(bob, nodev1.Kind_KIND_IMAGE, imageID("one"), creating(picture))
	_, errBad := n.do(bob, nodev1.Kind_KIND_IMAGE, imageID("bad"), creating(&eventv1.Picture{Sha256: "x"}))
	for what, c := range map[string]struct {
		err  error
		want code.Code
	}{
		"foreign get": {get(foreign), code.NotFound}, "bob creates the same": {errBob, code.IdempotencyConflict},
		"without sums": {errBad, code.ValidationFail}, "bob deletes": {n.remove(bob, "one"), code.Permission},
		"unknown": {n.remove(ann, "two"), code.NotFound},
	} {
		if !code.Has(c.err, c.want) {
			t.Errorf("%s: %v, want %s", what, c.err, c.want)
		}
	}
	if err := errors.Join(get(bob), n.remove(ann, "one"), n.remove(ann, "one"), n.remove(admin, "one")); err != nil {
		t.Error(err)
	}
	if !code.Has(get(ann), code.NotFound) || !code.Has(n.remove(bob, "one"), code.NotFound) {
		t.Error("a deleted image is still known")
	}
	if err := n.upload("late", []byte("2"), false, false); err != nil {
		t.Fatal(err)
	}
	n.Now += blob.HoldMs + 1
	n.sweep(t)
	if err := n.upload("late", []byte("2"), false, true); !code.Has(err, code.IdempotencyConflict) {
		t.Errorf("created after it was given up: %v", err)
	}
}

// TestBatches: commands decided together see each other.
func TestBatches(t *testing.T) {
	n := newNode()
	content := []byte("together")
	release := &nodev1.Command{Body: &nodev1.Command_ReleaseHold{ReleaseHold: &nodev1.ReleaseHold{Holder: imageID("one")}}}
	cmds := []*nodev1.Command{
		hold(imageID("one"), len(content), true), seal(), release, // an object of generation 1
		hold(imageID("two"), len(content), true), seal(),
	}
	for _, c := range cmds {
		c.Principal = admin
	}
	results, err := n.Do(nodev1.Kind_KIND_BLOB, app, sumOf(content), cmds...)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.Err != nil {
			t.Fatalf("command %d: %v", i, r.Err)
		}
	}
	first, second := results[0].Reply.Blob, results[3].Reply.Blob
	if first.Generation != 1 || second.Generation != 2 || second.Holds != 1 {
		t.Fatalf("%v, then %v", first, second)
	}
	n.objects[blob.Object(app, sumOf(content), 1)], n.objects[blob.Object(app, sumOf(content), 2)] = true, true
	n.sweep(t)
	if _, ok := n.read(content); !ok || len(n.objects) != 1 {
		t.Errorf("objects: %v", n.objects)
	}
}
