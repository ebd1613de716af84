package runtime_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"parley/actors/runtime"
	"parley/cluster/transport"
	"parley/cluster/version"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// deaf takes nothing, and knows nobody.
type deaf struct{}

func (deaf) Receive(string, []byte)        {}
func (deaf) PeerUp(string)                 {}
func (deaf) PeerDown(string)               {}
func (deaf) Address(string) (string, bool) { return "", false }

func (deaf) ReceiveSnapshot(context.Context, string, []byte, io.Reader) error {
	return errors.New("nothing is taken")
}

// TestASurvivorsWordIsEnough: a node that is told by another one that it was given up ends, although it
// leads the cluster and is a member in its own eyes.
func TestASurvivorsWordIsEnough(t *testing.T) {
	r := open(t, options(t, vfs.NewMem()))
	defer closed(t, r)
	o := transport.DefaultTCPOptions()
	o.Identity = transport.Identity{Cluster: r.ClusterID(), Node: "survivor", Store: id.New(id.Application)}
	o.Admit = func(transport.Identity) error { return transport.ErrRemoved }
	survivor, err := transport.ListenTCP("127.0.0.1:0", deaf{}, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := survivor.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := survivor.Start(deaf{}); err != nil {
		t.Fatal(err)
	}
	at := survivor.Addr().String()
	row := &eventv1.Store{Uuid: o.Identity.Store, Node: "survivor", Incarnation: 1, Gossip: at, Rpc: at, Raft: at, Roles: []string{"edge"},
		VersionOldest: uint32(version.Oldest), VersionNewest: uint32(version.Newest)}
	if err := r.Place(t.Context(), &nodev1.Command{Principal: &nodev1.Principal{Admin: true}, Body: &nodev1.Command_PutStore{PutStore: &nodev1.PutStore{Store: row}}}); err != nil {
		t.Fatal(err)
	}
	until(t, "it goes on", func() bool {
		runtime.Say(r, "survivor") // what is said before there is a stream may be lost
		return r.WhyExpelled() != nil
	})
	if !strings.Contains(r.WhyExpelled().Error(), "node survivor says that it was removed") {
		t.Error(r.WhyExpelled())
	}
}
