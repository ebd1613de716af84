package main

import (
	"encoding/binary"
	"strconv"

	"golang.org/x/sync/errgroup"

	"parley/actors/conversation"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// application is the tenant of all conversations.
const application = "0de7a7b5-0000-4000-8000-000000000001"

// number gives the i-th id of a kind.
func number(p id.Prefix, i int) string {
	b := [16]byte{6: 0x40, 8: 0x80}
	binary.BigEndian.PutUint32(b[12:], uint32(i))
	return id.Format(p, b)
}

// members of every conversation are the same users, who each have a member of their own.
const members = 3

func author(i int) *eventv1.Author { return &eventv1.Author{UserId: number(id.User, i), Name: "ann"} }

// found makes conversations, each with its members, and returns when all are stored.
func (b *bench) found(s *stage, count int) error {
	return b.each(count, func(i int) error {
		admin := &nodev1.Principal{ApplicationId: application, Admin: true}
		requests := []*nodev1.Command{{Principal: admin, Body: &nodev1.Command_CreateConversation{
			CreateConversation: &nodev1.CreateConversation{Conversation: &eventv1.Conversation{
				ApplicationId: application, Id: number(id.Conversation, i), Name: "tea " + strconv.Itoa(i), DisplayName: "afternoon tea"}}}}}
		for m := range members {
			requests = append(requests, &nodev1.Command{Principal: admin, Body: &nodev1.Command_AddMember{AddMember: &nodev1.AddMember{
				NewMemberId: number(id.Member, i*members+m), User: author(m), Action: nodev1.MemberAction_MEMBER_ACTION_JOIN,
				Channel: []byte(conversation.AppChannel)}}})
		}
		for _, c := range requests {
			if _, err := s.here.Caller().Ask(bounded(), request(i, c)); err != nil {
				return err
			}
		}
		return nil
	})
}

// each does something for every number below count, many at once.
func (b *bench) each(count int, do func(i int) error) error {
	var g errgroup.Group
	for n := range b.callers {
		g.Go(func() error {
			for i := n; i < count; i += b.callers {
				if err := do(i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func request(conversation int, c *nodev1.Command) *nodev1.GrainRequest {
	return &nodev1.GrainRequest{Kind: nodev1.Kind_KIND_CONVERSATION, ApplicationId: application, Id: number(id.Conversation, conversation), Command: c}
}

// typing is what a member says most often: it is judged like a message, and not stored.
func typing(conversation int) *nodev1.GrainRequest {
	return request(conversation, &nodev1.Command{
		Principal: &nodev1.Principal{ApplicationId: application, UserId: number(id.User, 0), UserName: "ann"}, ClientId: "c",
		Body: &nodev1.Command_PostEvent{PostEvent: &nodev1.PostEvent{Type: "text:typing:on", Body: []byte(`{}`)}}})
}

// bareCall is a command to a grain that answers at once.
func bareCall(i int) *nodev1.GrainRequest {
	r := typing(i)
	r.Kind, r.Id = bareKind, number(id.User, i)
	return r
}
