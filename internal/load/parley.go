package load

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/sync/errgroup"

	clientv1 "parley/proto/client/v1"
	"parley/proto/id"
)

// Parley is a running Parley server: users, conversations and members are made over REST, the
// chat goes over parley.v1.proto.
type Parley struct {
	URL         string // http://host:port
	Application string
	Key         *rsa.PrivateKey
	HTTP        *http.Client

	admin  string
	users  []string // names, by room and member
	tokens []string
	rooms  []string // CON-…
	member int
}

// bodyBytes is the size of a message's body, after its stamp.
const bodyBytes = 128

// restAtOnce is how many REST requests prepare at once.
const restAtOnce = 16

// Prepare implements Target.
func (p *Parley) Prepare(ctx context.Context, rooms, members int) error {
	var err error
	if p.admin, err = p.sign("", nil); err != nil {
		return err
	}
	run := id.New("")[:8]
	p.member = members
	p.rooms = make([]string, rooms)
	p.users, p.tokens = make([]string, rooms*members), make([]string, rooms*members)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(restAtOnce)
	for i := range p.rooms {
		g.Go(func() (err error) {
			p.rooms[i], err = p.post(gctx, "/v1/conversations", map[string]any{})
			return err
		})
	}
	for i := range p.users {
		g.Go(func() (err error) {
			p.users[i] = fmt.Sprintf("load-%s-%d", run, i)
			if _, err = p.post(gctx, "/v1/users", map[string]any{"name": p.users[i]}); err != nil {
				return err
			}
			p.tokens[i], err = p.sign(p.users[i], map[string]any{"paths": map[string]any{"/**": map[string]any{}}})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	g, gctx = errgroup.WithContext(ctx)
	g.SetLimit(restAtOnce)
	for i, name := range p.users {
		g.Go(func() error {
			_, err := p.post(gctx, "/v1/conversations/"+p.rooms[i/members]+"/members", map[string]any{
				"state": "joined", "user": map[string]any{"name": name}, "channel": map[string]any{"type": "app"}})
			return err
		})
	}
	return g.Wait()
}

// Member gives the token of a prepared user, by its number among all rooms' members, and the id of
// its room. Call Prepare before.
func (p *Parley) Member(i int) (token, room string) { return p.tokens[i], p.rooms[i/p.member] }

// sign makes a token.
func (p *Parley) sign(sub string, acl any) (string, error) {
	now := time.Now()
	claims := jwt.MapClaims{"application_id": p.Application, "iat": now.Unix(), "exp": now.Add(12 * time.Hour).Unix(), "jti": id.New("")}
	if sub != "" {
		claims["sub"], claims["acl"] = sub, acl
	}
	return jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(p.Key)
}

// post makes one thing and gives its id.
func (p *Parley) post(ctx context.Context, path string, body any) (string, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL+path, bytes.NewReader(text))
	if err != nil {
		return "", err
	}
	r.Header.Set("Authorization", "Bearer "+p.admin)
	r.Header.Set("Content-Type", "application/json")
	answer, err := p.HTTP.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	const answerMax = 1 << 20
	text, err = io.ReadAll(io.LimitReader(answer.Body, answerMax))
	if err != nil {
		return "", err
	}
	if answer.StatusCode >= http.StatusMultipleChoices {
		return "", fmt.Errorf("POST %s: %s: %s", path, answer.Status, text)
	}
	var made struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(text, &made); err != nil {
		return "", fmt.Errorf("POST %s: %w", path, err)
	}
	return made.ID, nil
}

// Open implements Target.
func (p *Parley) Open(ctx context.Context, room, member int) (*Conn, error) {
	c, err := Dial(ctx, "ws"+strings.TrimPrefix(p.URL, "http")+"/v1/realtime", "parley.v1.proto")
	if err != nil {
		return nil, err
	}
	hello := &clientv1.ClientFrame{Id: "h", Body: &clientv1.ClientFrame_Hello{Hello: &clientv1.Hello{Token: p.tokens[room*p.member+member]}}}
	subscribe := &clientv1.ClientFrame{Id: "s", Body: &clientv1.ClientFrame_Subscribe{Subscribe: &clientv1.Subscribe{Conversation: p.rooms[room]}}}
	for _, f := range []*clientv1.ClientFrame{hello, subscribe} {
		if err := p.ask(c, f); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// ask sends a request and waits for its answer.
func (p *Parley) ask(c *Conn, f *clientv1.ClientFrame) error {
	b, err := f.MarshalVT()
	if err != nil {
		return err
	}
	if err := c.Send(opBinary, b); err != nil {
		return err
	}
	var refused error
	err = c.Frames(func(payload []byte) bool {
		var s clientv1.ServerFrame
		if err := s.UnmarshalVT(payload); err != nil {
			refused = err
			return true
		}
		if e := s.GetError(); e != nil {
			refused = fmt.Errorf("%s: %s", e.Code, e.Message)
		}
		return refused != nil || s.GetWelcome() != nil || s.GetAck() != nil
	})
	return errors.Join(err, refused)
}

// Post implements Target. The stamp is the request's id and stands in the body.
func (p *Parley) Post(dst []byte, room int, stamp int64) []byte {
	digits := strconv.AppendInt(make([]byte, 0, 20), stamp, 10)
	body := append([]byte(`{"text":"`), digits...)
	for len(body) < bodyBytes-2 {
		body = append(body, '.')
	}
	body = append(body, `"}`...)
	f := &clientv1.ClientFrame{Id: string(digits), Body: &clientv1.ClientFrame_Post{Post: &clientv1.Post{
		Conversation: p.rooms[room], EventType: "text", Body: body, ClientId: string(digits)}}}
	at := len(dst)
	dst = append(dst, make([]byte, f.SizeVT())...)
	if _, err := f.MarshalToSizedBufferVT(dst[at:]); err != nil {
		panic(err) // the size was asked for a line before
	}
	return dst
}

// The tags of a ServerFrame's body, the first byte of every frame.
const (
	tagAck    = 3<<3 | 2
	tagError  = 4<<3 | 2
	tagEvents = 5<<3 | 2
)

// Kind implements Target.
func (p *Parley) Kind(payload []byte) Kind {
	if len(payload) == 0 {
		return Other
	}
	switch payload[0] {
	case tagEvents:
		return Delivery
	case tagAck:
		return Ack
	case tagError:
		return Refusal
	}
	return Other
}

// textKey precedes the stamp in a body.
var textKey = []byte(`{"text":"`)

// Stamp implements Target.
func (p *Parley) Stamp(payload []byte) (int64, bool) {
	if payload[0] == tagAck {
		_, n := binary.Uvarint(payload[1:]) // the ack's length; its first field is the id
		if n <= 0 || len(payload) < n+3 || payload[n+1] != 1<<3|2 || len(payload) < n+3+int(payload[n+2]) {
			return 0, false
		}
		return digits(payload[n+3 : n+3+int(payload[n+2])])
	}
	i := bytes.Index(payload, textKey)
	if i < 0 {
		return 0, false
	}
	return digits(payload[i+len(textKey):])
}

// digits reads the number that b begins with.
func digits(b []byte) (int64, bool) {
	var n int64
	i := 0
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		n = n*10 + int64(b[i]-'0')
	}
	return n, i > 0
}

// Opcode implements Target.
func (p *Parley) Opcode() byte { return opBinary }
