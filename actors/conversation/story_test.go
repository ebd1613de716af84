package conversation_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/proto"

	"parley/actors/conversation/world"
	"parley/actors/grain"
	"parley/actors/user"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

const app = "6f1b34c6-3f04-4f0e-8c57-5d7c1f5f7a11"

// TestStories plays the scripts of testdata. Each is played twice: in a world that keeps its
// machines, and in one that forgets them after every batch and delivers every outbox row twice.
// Both must tell the same story.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		kept, forgetful := newTeller(), newTeller()
		forgetful.world.Forgetful, forgetful.world.Twice = true, true
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			told := kept.tell(t, d)
			if again := forgetful.tell(t, d); again != told {
				d.Fatalf(t, "a world that forgets tells another story:\n%s\ninstead of:\n%s", again, told)
			}
			return told
		})
	})
}

// teller plays a script's commands. Names stand for ids: ann is a user, ann/1 her first member.
type teller struct {
	world   *world.World
	names   map[string]string // id -> name in the script
	members map[string]string // name/n -> id
	made    map[string]int    // members made, by conversation/user
}

func newTeller() *teller {
	return &teller{world: world.New(4), names: map[string]string{}, members: map[string]string{}, made: map[string]int{}}
}

func (s *teller) userID(name string) string {
	u := id.Derive(id.User, app, "", name)
	s.names[u] = name
	return u
}

func (s *teller) conversationID(name string) string {
	c := id.Derive(id.Conversation, app, "", name)
	s.names[c] = name
	return c
}

// newMember is the id of the next member of a user in a conversation.
func (s *teller) newMember(conversation, user string) string {
	n := s.made[conversation+"/"+user] + 1
	m := id.Derive(id.Member, app, conversation, user+strconv.Itoa(n))
	s.names[m] = fmt.Sprintf("%s/%d", user, n)
	s.members[s.names[m]] = m
	return m
}

func (s *teller) member(name string) string {
	if m, ok := s.members[name]; ok {
		return m
	}
	return name
}

func (s *teller) principal(who string) *nodev1.Principal {
	switch who {
	case "admin":
		return &nodev1.Principal{ApplicationId: app, Admin: true}
	case "foreigner":
		return &nodev1.Principal{ApplicationId: id.Derive(id.Application, app, "", who), Admin: true}
	default:
		return &nodev1.Principal{ApplicationId: app, UserId: s.userID(who), UserName: who}
	}
}

func author(u, name string) *eventv1.Author {
	return user.AuthorOf(&eventv1.User{Id: u, Name: name})
}

// tell plays one command and says what came of it: the answer, what edges hear, what waits.
func (s *teller) tell(t *testing.T, d *datadriven.TestData) string {
	var out strings.Builder
	s.world.Fanout = nil
	switch d.Cmd {
	case "users":
		for _, a := range d.CmdArgs {
			s.run(t, &out, nodev1.Kind_KIND_USER, s.userID(a.Key), &nodev1.Command{Principal: s.principal("admin"),
				Body: &nodev1.Command_CreateUser{CreateUser: &nodev1.CreateUser{User: &eventv1.User{Name: a.Key}}}})
		}
		out.Reset()
		s.deliver(t)
		return ""
	case "crowd":
		s.crowd(t, d)
		return ""
	case "deliver":
		s.deliver(t)
	case "clock":
		s.world.Now += int64(arg(d, "forward", 0))
		return ""
	case "rows":
		return fmt.Sprintf("%d\n", len(s.world.Rows()))
	case "history", "members", "conversations", "user", "get":
		return s.ask(d)
	default:
		kind, entity := nodev1.Kind_KIND_CONVERSATION, s.conversationID(text(d, "in"))
		cmd := s.command(t, d)
		if _, ok := cmd.Body.(*nodev1.Command_DeleteUser); ok {
			kind, entity = nodev1.Kind_KIND_USER, s.userID(text(d, "user"))
		}
		if _, ok := cmd.Body.(*nodev1.Command_UpdateUser); ok {
			kind, entity = nodev1.Kind_KIND_USER, s.userID(text(d, "user"))
		}
		s.run(t, &out, kind, entity, cmd)
	}
	for _, f := range s.world.Fanout {
		fmt.Fprintf(&out, "  -> %s\n", s.fanout(f))
	}
	return out.String()
}

func text(d *datadriven.TestData, key string) string {
	if a, ok := d.Arg(key); ok && len(a.Vals) > 0 {
		return a.Vals[0]
	}
	return ""
}

func arg(d *datadriven.TestData, key string, otherwise int) int {
	n, err := strconv.Atoi(text(d, key))
	if err != nil {
		return otherwise
	}
	return n
}

// crowd lets n users join.
func (s *teller) crowd(t *testing.T, d *datadriven.TestData) {
	for i := range arg(d, "n", 0) {
		name := fmt.Sprintf("c%d", arg(d, "from", 0)+i)
		in := text(d, "in")
		cmd := &nodev1.Command{Principal: s.principal("admin"), Body: &nodev1.Command_AddMember{AddMember: &nodev1.AddMember{
			Action: nodev1.MemberAction_MEMBER_ACTION_JOIN, NewMemberId: s.newMember(in, name), User: author(s.userID(name), name)}}}
		results, err := s.world.Do(nodev1.Kind_KIND_CONVERSATION, app, s.conversationID(in), cmd)
		if err != nil || results[0].Err != nil {
			t.Fatalf("crowd: %v, %v", err, results)
		}
		s.made[in+"/"+name]++
	}
}

func (s *teller) deliver(t *testing.T) {
	if err := s.world.Deliver(); err != nil {
		t.Fatal(err)
	}
}

func (s *teller) command(t *testing.T, d *datadriven.TestData) *nodev1.Command {
	cmd := &nodev1.Command{Principal: s.principal(text(d, "as")), ClientId: text(d, "id")}
	in, who := text(d, "in"), text(d, "user")
	from := s.member(text(d, "from"))
	switch d.Cmd {
	case "create":
		cmd.Body = &nodev1.Command_CreateConversation{CreateConversation: &nodev1.CreateConversation{
			Conversation: &eventv1.Conversation{Name: text(d, "name"), IdempotencyKey: text(d, "key")}}}
	case "rename":
		cmd.Body = &nodev1.Command_UpdateConversation{UpdateConversation: &nodev1.UpdateConversation{
			Name: proto.String(text(d, "name")), NameToken: uint64(arg(d, "token", 0))}}
	case "delete":
		cmd.Body = &nodev1.Command_DeleteConversation{DeleteConversation: &nodev1.DeleteConversation{}}
	case "probe":
		cmd.Body = &nodev1.Command_Probe{Probe: &nodev1.Probe{}}
	case "join", "invite":
		if who == "" {
			who = text(d, "as")
		}
		action := nodev1.MemberAction_MEMBER_ACTION_JOIN
		if d.Cmd == "invite" {
			action = nodev1.MemberAction_MEMBER_ACTION_INVITE
		}
		cmd.Body = &nodev1.Command_AddMember{AddMember: &nodev1.AddMember{Action: action, NewMemberId: s.newMember(in, who),
			User: author(s.userID(who), who), MemberId: s.member(text(d, "member")), MemberIdInviting: from}}
	case "accept", "leave", "kick":
		action := nodev1.MemberAction_MEMBER_ACTION_LEAVE
		if d.Cmd == "accept" {
			action = nodev1.MemberAction_MEMBER_ACTION_JOIN
		}
		member := s.member(text(d, "member"))
		if member == "" {
			member = "me"
		}
		cmd.Body = &nodev1.Command_UpdateMember{UpdateMember: &nodev1.UpdateMember{Action: action, MemberId: member, From: from,
			Reason: []byte(d.Input)}}
	case "post":
		cmd.Body = &nodev1.Command_PostEvent{PostEvent: &nodev1.PostEvent{Type: text(d, "type"), From: from, Body: []byte(d.Input)}}
	case "delete-event":
		cmd.Body = &nodev1.Command_DeleteEvent{DeleteEvent: &nodev1.DeleteEvent{Sequence: uint64(arg(d, "event", 0)), From: from}}
	case "advance":
		cmd.Body = &nodev1.Command_AdvanceCursor{AdvanceCursor: &nodev1.AdvanceCursor{From: from,
			Delivered: uint64(arg(d, "delivered", 0)), Seen: uint64(arg(d, "seen", 0))}}
	case "advance-many": // a line each: user delivered seen, and perhaps the member that it names
		m := &nodev1.AdvanceCursors{}
		for line := range strings.Lines(d.Input) {
			var c nodev1.AdvanceCursor
			var who string
			if _, err := fmt.Sscan(line+" .", &who, &c.Delivered, &c.Seen, &c.From); err != nil {
				d.Fatalf(t, "%s: %v", line, err)
			}
			c.From = s.member(strings.Trim(c.From, "."))
			m.Cursors = append(m.Cursors, &nodev1.UserCursor{UserId: s.userID(who), Cursor: &c})
		}
		cmd.Body = &nodev1.Command_AdvanceCursors{AdvanceCursors: m}
	case "delete-user":
		cmd.Body = &nodev1.Command_DeleteUser{DeleteUser: &nodev1.DeleteUser{}}
	case "rename-user":
		cmd.Body = &nodev1.Command_UpdateUser{UpdateUser: &nodev1.UpdateUser{
			Name: proto.String(text(d, "name")), NameToken: uint64(arg(d, "token", 0))}}
	default:
		d.Fatalf(t, "unknown command")
	}
	return cmd
}

func (s *teller) run(t *testing.T, out *strings.Builder, kind nodev1.Kind, entity string, cmd *nodev1.Command) {
	results, err := s.world.Do(kind, app, entity, cmd)
	if err != nil {
		t.Fatal(err)
	}
	if e := results[0].Err; e != nil {
		fmt.Fprintf(out, "%s\n", s.refusal(e))
		return
	}
	r := results[0].Reply
	if m := r.Member; m != nil && s.names[m.Id] != "" && !r.Duplicate {
		name, n, _ := strings.Cut(s.names[m.Id], "/")
		made, _ := strconv.Atoi(n)
		in := s.names[entity]
		s.made[in+"/"+name] = max(made, s.made[in+"/"+name])
	}
	fmt.Fprintln(out, s.reply(r))
}

func (s *teller) reply(r *nodev1.Reply) string {
	parts := []string{"ok"}
	if r.Duplicate {
		parts = append(parts, "(first result)")
	}
	if r.Conversation != nil {
		parts = append(parts, strings.TrimPrefix(r.Conversation.State.String(), "CONVERSATION_STATE_"))
	}
	if r.Member != nil {
		parts = append(parts, s.memberLine(r.Member))
	}
	if r.Event != nil {
		parts = append(parts, "event", s.event(r.Event))
	}
	if r.Cursor != nil {
		parts = append(parts, fmt.Sprintf("cursor delivered=%d seen=%d", r.Cursor.Delivered, r.Cursor.Seen))
	}
	if r.Cursors.GetApart() {
		parts = append(parts, "apart")
	}
	for _, no := range r.Cursors.GetRefused() {
		parts = append(parts, fmt.Sprintf("(%d: %s)", no.Index, s.refusal(grain.CodedError(no.Error))))
	}
	return strings.Join(parts, " ")
}

func (s *teller) memberLine(m *eventv1.Member) string {
	return s.names[m.Id] + " " + strings.TrimPrefix(m.State.String(), "MEMBER_STATE_")
}

func (s *teller) event(v *nodev1.EventView) string {
	e := v.Event
	line := fmt.Sprintf("%d %s", e.Sequence, e.Type)
	if e.FromMember != "" {
		line += " from " + s.names[e.FromMember] + " (" + v.Author.GetName() + ")"
	}
	if e.DeletedMs != 0 {
		return line + " deleted"
	}
	if !strings.HasPrefix(e.Type, "member:") && string(e.Body) != "{}" {
		line += " " + string(e.Body)
	}
	for _, r := range v.Receipts {
		line += " [" + s.names[r.MemberId]
		if r.DeliveredMs != 0 {
			line += " delivered"
		}
		if r.SeenMs != 0 {
			line += " seen"
		}
		line += "]"
	}
	return line
}

func (s *teller) fanout(f *nodev1.Fanout) string {
	to := s.names[f.Id]
	switch b := f.Body.(type) {
	case *nodev1.Fanout_Event:
		return fmt.Sprintf("%s hears %s", to, s.event(b.Event))
	case *nodev1.Fanout_Soft:
		return fmt.Sprintf("%s hears, unstored, %s", to, s.event(b.Soft))
	case *nodev1.Fanout_Cursor:
		return fmt.Sprintf("%s hears that %s received to %d and read to %d", to, s.names[b.Cursor.MemberId], b.Cursor.Delivered, b.Cursor.Seen)
	case *nodev1.Fanout_Membership:
		m := b.Membership.Membership
		what := strings.TrimPrefix(m.State.String(), "MEMBER_STATE_")
		if m.ConversationDeleted {
			what = "gone"
		}
		return fmt.Sprintf("%s's sessions hear that %s is %s", to, s.names[m.ConversationId], what)
	default:
		return to + " is gone"
	}
}

func (s *teller) ask(d *datadriven.TestData) string {
	p := s.principal(text(d, "as"))
	kind, entity := nodev1.Kind_KIND_CONVERSATION, s.conversationID(text(d, "in"))
	q := &nodev1.Query{Principal: p}
	page := &nodev1.Page{Size: uint32(arg(d, "size", 0)), Descending: d.HasArg("descending")}
	switch d.Cmd {
	case "get":
		q.Body = &nodev1.Query_GetConversation{GetConversation: &nodev1.GetConversation{}}
	case "history":
		l := &nodev1.ListEvents{Page: page, Start: uint64(arg(d, "start", 0)), End: uint64(arg(d, "end", 0)), ExcludeDeleted: d.HasArg("exclude-deleted")}
		if types := text(d, "types"); types != "" {
			l.Types = strings.Split(types, "+")
		}
		q.Body = &nodev1.Query_ListEvents{ListEvents: l}
	case "members":
		q.Body = &nodev1.Query_ListMembers{ListMembers: &nodev1.ListMembers{Page: page, ExcludeLeft: d.HasArg("exclude-left")}}
	case "conversations":
		kind, entity = nodev1.Kind_KIND_USER, s.userID(text(d, "of"))
		q.Body = &nodev1.Query_ListMemberships{ListMemberships: &nodev1.ListMemberships{Page: page}}
	case "user":
		kind, entity = nodev1.Kind_KIND_USER, s.userID(text(d, "of"))
		q.Body = &nodev1.Query_GetUser{GetUser: &nodev1.GetUser{}}
	}
	r, err := s.world.Ask(kind, app, entity, q)
	if err != nil {
		return s.refusal(err) + "\n"
	}
	return s.listed(r)
}

func (s *teller) listed(r *nodev1.Reply) string {
	var out strings.Builder
	if r.Conversation != nil {
		fmt.Fprintf(&out, "%s sequence=%d joined=%d\n", r.Conversation.Name, r.Head.Sequence, r.Head.Joined)
	}
	if r.User != nil {
		fmt.Fprintf(&out, "%s\n", r.User.Name)
	}
	for _, e := range r.Events {
		fmt.Fprintf(&out, "%s\n", s.event(e))
	}
	for _, m := range r.Members {
		fmt.Fprintf(&out, "%s\n", s.memberLine(m))
	}
	lines := []string{}
	for _, m := range r.Memberships {
		lines = append(lines, fmt.Sprintf("%s %s %s\n", s.names[m.ConversationId], s.names[m.MemberId], strings.TrimPrefix(m.State.String(), "MEMBER_STATE_")))
	}
	slices.Sort(lines)
	out.WriteString(strings.Join(lines, ""))
	if len(r.Next) > 0 {
		out.WriteString("and more\n")
	}
	return out.String()
}

// refusal is an error as a caller would be told it.
func (s *teller) refusal(err error) string {
	line := s.readable(err.Error())
	if e, ok := code.Of(err); ok {
		for _, f := range e.Fields {
			line += fmt.Sprintf(" %q %s", f.Name, f.Reason)
		}
	}
	return line
}

// readable puts names in place of ids.
func (s *teller) readable(text string) string {
	for known, name := range s.names {
		text = strings.ReplaceAll(text, known, name)
	}
	return text
}
