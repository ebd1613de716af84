package query_test

import (
	"strconv"
	"testing"

	"parley/actors/conversation/world"
	"parley/actors/query"
	"parley/persistence/keys"
	"parley/persistence/store"
	nodev1 "parley/proto/node/v1"
)

// meanwhile is a live reader, in which something is committed between two reads: a Scan and a Get each see
// one moment.
type meanwhile struct {
	store.Reader
	then func()
}

func (m meanwhile) Get(key []byte) ([]byte, bool, error) {
	defer m.then()
	return m.Reader.Get(key)
}

func (m meanwhile) Scan(lo, hi []byte, reverse bool, visit func(k, v []byte) (bool, error)) error {
	var found [][2][]byte
	if err := m.Reader.Scan(lo, hi, reverse, func(k, v []byte) (bool, error) {
		found = append(found, [2][]byte{append([]byte{}, k...), append([]byte{}, v...)})
		return true, nil
	}); err != nil {
		return err
	}
	m.then()
	for _, row := range found {
		if more, err := visit(row[0], row[1]); err != nil || !more {
			return err
		}
	}
	return nil
}

// TestWhatIsDeletedWhileListed is not listed: there is nothing left of it to show.
func TestWhatIsDeletedWhileListed(t *testing.T) {
	w := world.New(shards)
	ann, con := createUser(t, w, "ann"), createRoom(t, w, "tea")
	for name, c := range map[string]struct {
		of, entity string
		kind       nodev1.Kind
		deletion   *nodev1.Command
		query      *nodev1.Query
	}{
		"user": {app, ann, nodev1.Kind_KIND_USER, &nodev1.Command{Body: &nodev1.Command_DeleteUser{DeleteUser: &nodev1.DeleteUser{}}},
			&nodev1.Query{Principal: admin, Body: &nodev1.Query_ListUsers{ListUsers: &nodev1.ListUsers{Page: &nodev1.Page{}}}}},
		"conversation": {app, con, nodev1.Kind_KIND_CONVERSATION, &nodev1.Command{Body: &nodev1.Command_DeleteConversation{DeleteConversation: &nodev1.DeleteConversation{}}},
			&nodev1.Query{Principal: admin, Body: &nodev1.Query_ListConversations{ListConversations: &nodev1.ListConversations{Page: &nodev1.Page{}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			deleted := false
			reader := meanwhile{w.Rows(), func() {
				if !deleted {
					deleted = true
					do(t, w, c.kind, c.entity, c.deletion)
				}
			}}
			reply := query.Serve(reader, shards, &nodev1.GrainRequest{Kind: nodev1.Kind_KIND_SHARD, ApplicationId: app,
				Id: strconv.Itoa(int(keys.ShardOf(app, c.entity, shards))), Query: c.query})
			if reply.Error != nil || !deleted || len(reply.Reply.Users)+len(reply.Reply.Conversations) != 0 {
				t.Errorf("listed: %v", reply)
			}
		})
	}
}

// TestHeadAndMemberAreOfOneMoment: a user joins between two reads, whichever they are. Who is told of a head
// that has the joining is told of the member.
func TestHeadAndMemberAreOfOneMoment(t *testing.T) {
	for _, asker := range []*nodev1.Principal{admin, asUser("ann")} {
		for read := range 8 {
			w := world.New(shards)
			ann, con := createUser(t, w, "ann"), createRoom(t, w, "tea")
			reads := 0
			reader := meanwhile{w.Rows(), func() {
				if reads++; reads == read {
					join(t, w, con, "ann")
				}
			}}
			q := &nodev1.GetConversation{}
			if asker == admin {
				q.Gone, q.User = true, ann
			}
			reply := query.Serve(reader, shards, &nodev1.GrainRequest{Kind: nodev1.Kind_KIND_CONVERSATION, ApplicationId: app, Id: con,
				Query: &nodev1.Query{Principal: asker, Body: &nodev1.Query_GetConversation{GetConversation: q}}})
			if reply.Error != nil {
				continue // whoever has not joined may not look
			}
			if joined := reply.Reply.Head.Joined > 0; joined != (reply.Reply.Member != nil) {
				t.Errorf("joined after read %d: head %v, member %v", read, reply.Reply.Head, reply.Reply.Member)
			}
		}
	}
}
