package system

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/asynkron/protoactor-go/cluster"
	"github.com/asynkron/protoactor-go/remote"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"parley/cluster/shard"
	"parley/persistence/keys"
	"parley/proto/code"
	nodev1 "parley/proto/node/v1"
)

// TestMovingLeads: whatever the leads do, each call is answered once and no node has two
// activations of one identity.
func TestMovingLeads(t *testing.T) {
	st := newStage()
	nodes := openNodes(t, st)
	lead(nodes, 0, 1)
	const calls = 3000
	answers := make([]atomic.Int32, calls)
	finished := make(chan error, 2*calls) // twice what may arrive
	for i := range calls {
		from := nodes[i%3]
		from.Caller().AskAsync(context.Background(), post(fmt.Sprint("CON-", i%50), fmt.Sprint(i)), func(_ *nodev1.GrainReply, err error) {
			answers[i].Add(1)
			finished <- err
		})
		if i%100 == 0 {
			epoch := shard.Epoch(2 + i/100)
			leadShard(nodes, i/100%3, keys.Shard(i/100%shards), epoch)
			lead(nodes, i/200%3, epoch)
		}
	}
	for range calls {
		if err := <-finished; err != nil {
			t.Fatal(err)
		}
	}
	for i := range answers {
		if n := answers[i].Load(); n != 1 {
			t.Errorf("call %d was answered %d times", i, n)
		}
	}
	if st.crowded {
		t.Error("a node had two activations of one identity")
	}
}

func TestCloseAnswersWhatWaits(t *testing.T) {
	st := newStage()
	st.receive = func(a *actorOn, _ *nodev1.GrainRequest, respond func(*nodev1.GrainReply)) { st.note("received") }
	n := openNode(t, "n1", st)
	lead([]*node{n}, 0, 1)
	errs := make(chan error, 2)
	n.Caller().AskAsync(context.Background(), post("CON-1", ""), func(_ *nodev1.GrainReply, err error) { errs <- err })
	st.await(t, "received")
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-errs; !code.Has(err, code.Unknown) {
		t.Errorf("a request in hand: %v", err)
	}
	if _, err := n.Caller().Ask(context.Background(), post("CON-1", "")); !code.Has(err, code.Unavailable) {
		t.Errorf("after Close: %v", err)
	}
	if err := n.Send("n1", "edge", &nodev1.FanoutBatch{}); err == nil {
		t.Error("sent after Close")
	}
}

func TestShardOf(t *testing.T) {
	tests := []struct {
		kind nodev1.Kind
		id   string
		want keys.Shard
		ok   bool
	}{
		{nodev1.Kind_KIND_APPLICATION, "app", keys.Meta, true},
		{nodev1.Kind_KIND_CONVERSATION, "CON-1", keys.ShardOf("app", "CON-1", shards), true},
		{nodev1.Kind_KIND_NAME, "user/ann", keys.ShardOf("app", "user/ann", shards), true},
		{nodev1.Kind_KIND_SHARD, "8", 8, true},
		{nodev1.Kind_KIND_SHARD, "9", 0, false},
		{nodev1.Kind_KIND_SHARD, "-1", 0, false},
	}
	for _, test := range tests {
		got, err := ShardOf(&nodev1.GrainRequest{Kind: test.kind, ApplicationId: "app", Id: test.id}, shards)
		if got != test.want || (err == nil) != test.ok {
			t.Errorf("%s %s: %d, %v", test.kind, test.id, got, err)
		}
	}
}

// TestClosedSet pins what may travel between nodes. A line more is a change of the protocol: an
// older node drops what it does not know, so a newer one may send it only once all are newer.
func TestClosedSet(t *testing.T) {
	want := []string{"actor.DeadLetterResponse", "parley.node.v1.FanoutBatch", "parley.node.v1.GrainReply",
		"parley.node.v1.GrainRequest", "parley.node.v1.Interest", "parley.node.v1.InterestReply"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(envelopes))); diff != "" {
		t.Error(diff)
	}
	for _, m := range []proto.Message{&nodev1.GrainRequest{}, &nodev1.GrainReply{}, &nodev1.FanoutBatch{}, &nodev1.Interest{}, &nodev1.InterestReply{}} {
		// The library would take these apart, or answer them by itself.
		switch m.(type) {
		case actor.MessageBatch, actor.AutoRespond, actor.SystemMessage, remote.RootSerializable, remote.RootSerialized:
			t.Errorf("%T means something to protoactor", m)
		}
	}
}

// TestEveryCommandIsSorted: a new command is sent at most once until somebody decides otherwise here.
func TestEveryCommandIsSorted(t *testing.T) {
	repeated := []string{"advance_cursor", "advance_cursors", "announce_members", "confirm_name", "create_conversation", "create_user", "finish_import",
		"found_placement", "import_conversation", "import_events", "import_members", "import_user", "index_membership",
		"probe", "propagate_user", "purge_conversation", "put_credential", "put_settings", "put_store", "raise_version", "recover_placement", "release_name", "reserve_name",
		"set_store", "user_changed"}
	onceOnly := []string{"add_member", "announce", "confirm_hold", "create_image", "delete_application", "delete_conversation",
		"delete_device", "delete_event", "delete_image", "delete_push_credential", "delete_user", "deliver_event", "hold_blob", "mute_push",
		"note_push", "order", "post_event", "purge_object", "put_application", "put_chunk", "put_device", "put_push_credential", "put_shard",
		"redeliver", "release_hold", "seal_blob", "update_conversation", "update_member", "update_user"}
	var gotRepeated, gotOnce []string
	body := (&nodev1.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("body").Fields()
	for i := range body.Len() {
		cmd := &nodev1.Command{}
		cmd.ProtoReflect().Set(body.Get(i), protoreflect.ValueOfMessage(cmd.ProtoReflect().NewField(body.Get(i)).Message()))
		switch safetyOf(&nodev1.GrainRequest{Command: cmd}) {
		case repeatable:
			gotRepeated = append(gotRepeated, string(body.Get(i).Name()))
		case once:
			gotOnce = append(gotOnce, string(body.Get(i).Name()))
		}
		cmd.ClientId = "m1"
		if safetyOf(&nodev1.GrainRequest{Command: cmd}) != repeatable {
			t.Errorf("%s with a client id is not repeatable", body.Get(i).Name())
		}
	}
	slices.Sort(gotRepeated)
	slices.Sort(gotOnce)
	if diff := cmp.Diff([][]string{repeated, onceOnly}, [][]string{gotRepeated, gotOnce}); diff != "" {
		t.Error(diff)
	}
}

// TestSafeConfiguration pins what keeps the library's traps closed (docs/protoactor.md).
func TestSafeConfiguration(t *testing.T) {
	n := openNode(t, "n1", newStage())
	c := n.cluster.Config.RemoteConfig
	if c.MaxRetryCount != 1 || c.EndpointWriterBatchSize != batchMax || c.EndpointWriterQueueSize != writerQueue {
		t.Errorf("remote: %+v", c)
	}
	if n.actors.ProcessRegistry.SequenceID < 1<<60 {
		t.Errorf("process names begin at %d", n.actors.ProcessRegistry.SequenceID)
	}
	if n.actors.Config.MetricsProvider != nil || n.actors.Config.DeadLetterRequestLogging {
		t.Errorf("actors: %+v", n.actors.Config)
	}
	if _, gossips := n.actors.ProcessRegistry.GetLocal("gossip"); gossips {
		t.Error("the library gossips")
	}
	if n.cluster.MemberList.Length() != 0 || n.cluster.Remote.BlockList().Len() != 0 {
		t.Error("the library keeps members")
	}
}

func TestClusterPartsOfTheLibrary(t *testing.T) {
	nodes := openNodes(t, newStage())
	lead(nodes, 1, 4)
	pid := nodes[0].cluster.Get("app/CON-1", "conversation")
	want := placementName(keys.ShardOf("app", "CON-1", shards))
	if pid == nil || pid.Id != want || pid.Address != nodes[1].Addr() {
		t.Errorf("lookup gives %v", pid)
	}
	reply, err := nodes[0].cluster.Request("app/CON-1", "conversation", post("CON-1", ""))
	if err != nil || reply.(*nodev1.GrainReply).Epoch != 4 {
		t.Errorf("request: %v, %v", reply, err)
	}
	if _, err := nodes[0].cluster.Request("a", "b", "text"); err == nil {
		t.Error("a message outside the closed set was sent")
	}
	if err := (provider{}).StartMember(&cluster.Cluster{}); err == nil {
		t.Error("started as a member")
	}
}

func TestNothingWrittenByUsersIsLogged(t *testing.T) {
	var out bytes.Buffer
	sys := newActorSystem(slog.New(slog.NewTextHandler(&out, nil)))
	sys.Logger().Error("failed to serialize", slog.Any("message", post("secret", "")), slog.String("address", "here"))
	sys.Logger().Info("chatter", slog.String("text", "chatter"))
	sys.Root.Send(actor.NewPID("nonhost", "nobody"), post("secret", ""))
	if s := out.String(); strings.Contains(s, "secret") || strings.Contains(s, "chatter") || !strings.Contains(s, "here") {
		t.Errorf("log: %s", s)
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	kind := Kind{Kind: nodev1.Kind_KIND_USER, Name: "user", Activate: func(Identity, func(any)) Activation { return nil }}
	tests := map[string]setting{
		"no name":        func(o *Options) { o.NodeName = "" },
		"other's table":  func(o *Options) { o.NodeName = "n2" },
		"no querier":     func(o *Options) { o.Querier = nil },
		"no time":        func(o *Options) { o.CallTimeout = 0 },
		"no room":        func(o *Options) { o.WaitingPerNode = 0 },
		"kind twice":     func(o *Options) { o.Kinds = []Kind{kind, kind} },
		"no port":        func(o *Options) { o.ListenAddr = "127.0.0.1" },
		"port range":     func(o *Options) { o.ListenAddr = "127.0.0.1:70000" },
		"wildcard alone": func(o *Options) { o.ListenAddr = "0.0.0.0:0" },
		"unknown port":   func(o *Options) { o.AdvertiseAddr = "10.0.0.1:0" },
	}
	good := openNode(t, "n1", newStage())
	tests["taken"] = func(o *Options) { o.ListenAddr = good.Addr() }
	for name, set := range tests {
		t.Run(name, func(t *testing.T) {
			o := good.o
			o.Metrics = prometheus.NewRegistry()
			o.ListenAddr = "127.0.0.1:0"
			set(&o)
			if s, err := Open(o); err == nil {
				_ = s.Close()
				t.Error("opened")
			}
		})
	}
	if got, err := advertised("0.0.0.0:7000", "10.0.0.1:0"); err != nil || got != "10.0.0.1:7000" {
		t.Errorf("advertised %q, %v", got, err)
	}
}
