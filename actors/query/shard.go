package query

import (
	"fmt"

	"parley/actors/application"
	"parley/persistence/keys"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// positionBytes is the length of a listing's position: time of creation, then id. Positions of all
// shards compare with each other, so that their lists can be merged.
const positionBytes = 24

// shard lists what one shard holds of an application, in order of creation. It is for
// administrators: a user finds its own conversations in its index.
func (s *server) shard(q *nodev1.Query) (*nodev1.Reply, error) {
	home, err := s.shardOf()
	if err != nil {
		return nil, err
	}
	app, ok := s.app()
	if !ok || !s.sameApplication() {
		return nil, code.New(code.ApplicationNotFound, "application does not exist")
	}
	if !s.principal().GetAdmin() {
		return nil, code.New(code.Permission, "only an administrator may list everything in the application")
	}
	l := listing{server: s, shard: home, app: app, reply: &nodev1.Reply{}}
	switch b := q.GetBody().(type) {
	case *nodev1.Query_ListConversations:
		return l.reply, l.conversations(b.ListConversations)
	case *nodev1.Query_ListUsers:
		return l.reply, l.users(b.ListUsers)
	case *nodev1.Query_ListDeadLetters:
		return l.reply, l.letters(b.ListDeadLetters)
	default:
		return nil, unknown()
	}
}

// listing is one list over a shard.
type listing struct {
	*server
	shard keys.Shard
	app   keys.UUID
	reply *nodev1.Reply
}

func (l listing) conversations(q *nodev1.ListConversations) error {
	s := under(keys.Listing(l.shard, l.app, keys.KindConversation))
	if q.GetFromMs() > 0 {
		s.lo = s.number(uint64(q.FromMs))
	}
	if q.GetToMs() > 0 {
		s.hi = s.number(uint64(q.ToMs) + 1)
	}
	return l.walk(q.GetPage(), s, func(position, _ []byte) (*item, error) {
		_, entity := keys.ListedEntity(position)
		c := &eventv1.Conversation{}
		if err := l.read(keys.Conversation(l.shard, l.app, entity), c, noConversation()); err != nil {
			return nil, err
		}
		if c.State != eventv1.ConversationState_CONVERSATION_STATE_ACTIVE {
			return nil, nil // deleted while the list is made
		}
		return &item{c.SizeVT(), func() { l.reply.Conversations = append(l.reply.Conversations, c) }}, nil
	})
}

func (l listing) users(q *nodev1.ListUsers) error {
	return l.walk(q.GetPage(), under(keys.Listing(l.shard, l.app, keys.KindUser)), func(position, _ []byte) (*item, error) {
		_, entity := keys.ListedEntity(position)
		u := &eventv1.User{}
		if err := l.read(keys.User(l.shard, l.app, entity), u, noUser()); err != nil {
			return nil, err
		}
		if !alive(u) || q.GetName() != "" && q.GetName() != u.Name {
			return nil, nil // deleted while the list is made, or another
		}
		return &item{u.SizeVT(), func() { l.reply.Users = append(l.reply.Users, u) }}, nil
	})
}

// letters lists what a sink did not take in time. Their positions begin with the time of that.
func (l listing) letters(q *nodev1.ListDeadLetters) error {
	return l.walk(q.GetPage(), under(keys.DeadLetters(l.shard, l.app, byte(q.GetKind()))), func(_, value []byte) (*item, error) {
		d := &nodev1.DeadLetter{}
		if err := d.UnmarshalVT(value); err != nil {
			return nil, err
		}
		return &item{d.SizeVT(), func() { l.reply.DeadLetters = append(l.reply.DeadLetters, d) }}, nil
	})
}

func (l listing) walk(asked *nodev1.Page, s span, take taker) error {
	p, err := pageOf(asked)
	if err != nil {
		return err
	}
	if err := p.within(positionBytes); err != nil {
		return err
	}
	if err := p.walk(l.reader, s, take, l.reply); err != nil {
		return fmt.Errorf("query listing: %w", err)
	}
	return nil
}

// application answers what stands in the meta shard. The callers have verified an API key, or ask
// on behalf of the node itself.
func (s *server) application(q *nodev1.Query) (*nodev1.Reply, error) {
	switch b := q.GetBody().(type) {
	case *nodev1.Query_GetApplication:
		return s.oneApplication()
	case *nodev1.Query_ListApplications:
		return s.applications(b.ListApplications.GetPage())
	case *nodev1.Query_GetCredential:
		return s.credential(b.GetCredential)
	case *nodev1.Query_GetSettings:
		settings := &eventv1.ClusterSettings{}
		err := s.read(keys.Settings(), settings, code.New(code.NotFound, "the cluster has no settings yet"))
		return &nodev1.Reply{Settings: settings}, err
	default:
		return nil, unknown()
	}
}

func (s *server) oneApplication() (*nodev1.Reply, error) {
	absent := code.New(code.ApplicationNotFound, "application does not exist")
	u, err := id.Parse(id.Application, s.request.Id)
	if err != nil {
		return nil, absent
	}
	a := &eventv1.Application{}
	if err := s.read(keys.Application(u), a, absent); err != nil {
		return nil, err
	}
	if a.DeletedMs != 0 {
		return nil, absent
	}
	return &nodev1.Reply{Application: a}, nil
}

// applications lists by id. There is no order of creation in the meta shard: applications are few.
func (s *server) applications(asked *nodev1.Page) (*nodev1.Reply, error) {
	p, err := pageOf(asked)
	if err != nil {
		return nil, err
	}
	if err := p.within(16); err != nil {
		return nil, err
	}
	reply := &nodev1.Reply{}
	err = p.walk(s.reader, under(keys.Applications()), func(_, value []byte) (*item, error) {
		a := &eventv1.Application{}
		if err := a.UnmarshalVT(value); err != nil || a.DeletedMs != 0 {
			return nil, err
		}
		return &item{a.SizeVT(), func() { reply.Applications = append(reply.Applications, a) }}, nil
	}, reply)
	if err != nil {
		return nil, fmt.Errorf("query applications: %w", err)
	}
	return reply, nil
}

// credential gives an API key by its name, or any one: then a missing one is no error.
func (s *server) credential(q *nodev1.GetCredential) (*nodev1.Reply, error) {
	if q.GetAny() {
		first, err := application.FirstCredential(s.reader)
		return &nodev1.Reply{Credential: first, Exists: first != nil}, err
	}
	c := &eventv1.Credential{}
	absent := code.New(code.InvalidCredentials, "API key or secret is wrong")
	if q.GetKey() == "" || len(q.GetKey()) > application.APIKeyBytesMax {
		return nil, absent
	}
	if err := s.read(keys.Credential(q.Key), c, absent); err != nil {
		return nil, err
	}
	return &nodev1.Reply{Credential: c, Exists: true}, nil
}
