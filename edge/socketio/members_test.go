package socketio_test

import (
	"context"
	"strings"
	"testing"

	"parley/actors/api"
	"parley/edge/socketio"
	nodev1 "parley/proto/node/v1"
)

// sparing is a cluster that gives one member at a time.
type sparing struct{ api.Cluster }

func (s *sparing) GetConversation(ctx context.Context, p *nodev1.Principal, conversation string, full bool) (*nodev1.Reply, error) {
	r, err := s.Cluster.GetConversation(ctx, p, conversation, false)
	if err != nil || !full {
		return r, err
	}
	first, err := s.ListMembers(ctx, p, conversation, &nodev1.Page{}, false)
	r.Members, r.Next = first.GetMembers(), first.GetNext()
	return r, err
}

func (s *sparing) ListMembers(ctx context.Context, p *nodev1.Principal, conversation string, page *nodev1.Page, excludeLeft bool) (*nodev1.Reply, error) {
	return s.Cluster.ListMembers(ctx, p, conversation, &nodev1.Page{Size: 1, After: page.GetAfter()}, excludeLeft)
}

// TestAllMembersOfALargeConversation: the cluster gives so many at a time, the SDKs know no pages.
func TestAllMembersOfALargeConversation(t *testing.T) {
	for _, tc := range []struct {
		name  string
		bytes int
		want  string
	}{
		{"all", socketio.DefaultOptions().AnswerBytesMax, "ann bob cid dan"},
		{"more than an answer holds, and the asker", 1, "ann dan"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := &sparing{}
			n := newNode(t, tune{
				cluster: func(c api.Cluster) api.Cluster { s.Cluster = c; return s },
				socket:  func(o *socketio.Options) { o.AnswerBytesMax = tc.bytes },
			})
			n.users("ann", "bob", "cid", "dan")
			con := n.conversation("ann", "bob", "cid", "dan")
			var names []string
			for _, m := range n.login("dan", "3.0.1").do("conversation:get", value{"cid": con})["members"].([]any) {
				names = append(names, m.(map[string]any)["name"].(string))
			}
			if got := strings.Join(names, " "); got != tc.want {
				t.Errorf("members: %s, want %s", got, tc.want)
			}
		})
	}
}
