package rest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/url"
	"strings"

	"google.golang.org/protobuf/proto"

	"parley/actors/webhook"
	"parley/edge/auth"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
	"parley/proto/stamp"
)

// applicationBody is what an application may be given.
type applicationBody struct {
	Name         string           `json:"name" maxLength:"100"`
	Keys         *applicationKeys `json:"keys,omitempty" doc:"Your own public key (PEM, RSA of at least 2048 bits); without it a pair is made, and its private key is told once."`
	Capabilities object           `json:"capabilities,omitempty" doc:"For example {\"rtc\":{\"webhooks\":{\"event_url\":{\"address\":\"https://…\",\"http_method\":\"POST\"}}}}."`
	Privacy      object           `json:"privacy,omitempty"`
}

type applicationKeys struct {
	PublicKey  string `json:"public_key,omitempty"`
	PrivateKey string `json:"private_key,omitempty" doc:"Only in the answer to the creation."`
	// WebhookSecret is empty in all answers but that to the creation.
	WebhookSecret string `json:"webhook_secret,omitempty" doc:"Signs what is sent to the webhooks. Only in the answer to the creation."`
}

type application struct {
	ID           string          `json:"id" format:"uuid"`
	Name         string          `json:"name"`
	Keys         applicationKeys `json:"keys"`
	Capabilities object          `json:"capabilities"`
	Privacy      object          `json:"privacy"`
	Links        selfLink        `json:"_links"`
}

type applicationsOf struct {
	Applications []application `json:"applications"`
}

type applicationPage struct {
	PageSize   int            `json:"page_size"`
	Page       int            `json:"page"`
	TotalItems int            `json:"total_items"`
	TotalPages int            `json:"total_pages"`
	Embedded   applicationsOf `json:"_embedded"`
	Links      selfLink       `json:"_links"`
}

const noPrivacy = `{"improve_ai":false}`

// withoutSecrets are an application's keys as everybody but its maker is told of them.
func withoutSecrets(a *eventv1.Application) applicationKeys {
	return applicationKeys{PublicKey: a.GetPublicKey()}
}

func (c *call) application(a *eventv1.Application, keys applicationKeys) application {
	out := application{
		ID: a.GetId(), Name: a.GetName(), Keys: keys,
		Capabilities: a.GetCapabilities(), Privacy: a.GetPrivacy(),
		Links: selfLink{link{"/v2/applications/" + a.GetId()}},
	}
	if len(out.Privacy) == 0 {
		out.Privacy = object(noPrivacy)
	}
	return out
}

// readApplication reads an application body into a, leaving absent members alone.
func readApplication(c *call, a *eventv1.Application) error {
	in := c.body
	name := in.text("name", nameMax)
	in.required("name", name != nil)
	a.Name = value(name)
	if raw := in.raw("capabilities"); raw != nil {
		a.Capabilities = raw
		a.EventUrl = c.readEventURL(in.object("capabilities"))
	}
	if raw := in.raw("privacy"); raw != nil {
		a.Privacy = raw
	}
	if keys := in.object("keys"); keys != nil {
		readPublicKey(keys, a)
	}
	return c.faults.err()
}

// readEventURL finds the webhook for conversation events and checks every webhook.
func (c *call) readEventURL(capabilities *input) *eventv1.Webhook {
	var found *eventv1.Webhook
	for _, kind := range []string{"messages", "voice", "rtc"} { // the last one found wins: rtc is the conversations' own
		hooks := capabilities.object(kind).object("webhooks")
		for _, name := range []string{"answer_url", "inbound_url", "status_url", "event_url"} {
			hook := hooks.object(name)
			if w := readWebhook(hook); w != nil && name == "event_url" {
				c.checkTarget(hook, "address", w.Address)
				found = w
			}
		}
	}
	return found
}

func readWebhook(in *input) *eventv1.Webhook {
	if in == nil {
		return nil
	}
	return &eventv1.Webhook{Address: in.webURL("address"), HttpMethod: cmp.Or(in.choice("http_method", "POST", "GET"), "POST")}
}

// webURL gives a URL of the web; empty when there is none, or another one.
func (in *input) webURL(name string) string {
	address := value(in.anyText(name, imageURLMax))
	if u, err := url.Parse(address); address != "" && (err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http")) {
		in.fault(name, "must be a valid uri")
		return ""
	}
	return address
}

// checkTarget notes a fault when events could never be told to an address: they would wait for their whole
// life, and nobody would hear why.
func (c *call) checkTarget(in *input, name, address string) {
	if address == "" {
		return
	}
	if err := c.targets.Check(address); err != nil {
		in.fault(name, "is %s", err)
	}
}

// readPublicKey takes the caller's own key. The key before it stops at once: a key is replaced
// because it is lost, or because it is known to somebody else.
func readPublicKey(keys *input, a *eventv1.Application) {
	text := keys.text("public_key", 16<<10)
	if text == nil {
		return
	}
	// Forms and command lines tend to send the line breaks as two characters.
	public, err := onlyPublicKey(strings.ReplaceAll(*text, `\n`, "\n"))
	if err != nil {
		keys.fault("public_key", "%s", err)
		return
	}
	a.PublicKey, a.PreviousPublicKey = public, ""
}

// onlyPublicKey gives a public key as it is stored. A file with both halves of a pair is refused and
// not cut short: who sends it should know that it held more.
func onlyPublicKey(text string) (string, error) {
	key, err := auth.ParsePublicKey(text)
	if err != nil {
		return "", err
	}
	if _, rest := pem.Decode([]byte(text)); len(bytes.TrimSpace(rest)) > 0 {
		return "", errors.New("must be one public key, with nothing behind it")
	}
	return auth.EncodePublicKey(key)
}

// makeApplication stores a new application, with a key pair of its own if it brought no key. What is
// secret of its keys is told this once.
func (h *Handler) makeApplication(ctx context.Context, a *eventv1.Application) (made *eventv1.Application, keys applicationKeys, err error) {
	a.Id = id.New(id.Application)
	if a.PublicKey == "" {
		if keys.PrivateKey, a.PublicKey, err = auth.GenerateKey(); err != nil {
			return nil, keys, err
		}
	}
	a.WebhookSecrets = webhook.Rotated(nil, h.options.Now())
	keys.PublicKey, keys.WebhookSecret = a.PublicKey, webhook.SecretText(a.WebhookSecrets.Current)
	made, err = h.Cluster.PutApplication(ctx, a, true)
	return made, keys, err
}

// webhookSecret is the answer to a rotation.
type webhookSecret struct {
	Secret        string `json:"secret" doc:"Told here and never again."`
	PreviousUntil string `json:"previous_valid_until,omitempty" doc:"Until then requests are signed with the previous secret too."`
}

// rotateWebhookSecret gives an application a new secret; the one before signs too for a day.
func (h *Handler) rotateWebhookSecret(ctx context.Context, c *call) (any, error) {
	now := h.options.Now()
	a, err := h.changeApplication(ctx, c, func(a *eventv1.Application) error {
		a.WebhookSecrets = webhook.Rotated(a.WebhookSecrets, now)
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := webhookSecret{Secret: webhook.SecretText(a.WebhookSecrets.Current)}
	if len(a.WebhookSecrets.Previous) > 0 {
		out.PreviousUntil = stamp.Of(now.Add(webhook.PreviousFor).UnixMilli())
	}
	return out, nil
}

func (h *Handler) createApplication(ctx context.Context, c *call) (any, error) {
	a := &eventv1.Application{Type: "rtc"}
	if err := readApplication(c, a); err != nil {
		return nil, err
	}
	made, keys, err := h.makeApplication(ctx, a)
	if err != nil {
		return nil, err
	}
	return c.application(made, keys), nil
}

// findApplication gives a copy of the application of the path, to be changed by the caller.
func (h *Handler) findApplication(ctx context.Context, c *call) (*eventv1.Application, error) {
	wanted := c.parameters["application"]
	if _, err := id.Parse(id.Application, wanted); err != nil {
		return nil, code.New(code.ApplicationNotFound, "Application does not exist.")
	}
	a, err := h.Cluster.Application(ctx, wanted)
	if err != nil {
		return nil, err
	}
	return proto.CloneOf(a), nil
}

// changeAttempts bounds how often an application that others change at the same time is read again.
const changeAttempts = 4

// changeApplication changes the application of the path. What this node saw of it may be old, and others may change it
// at the same time: then it is read again, and nothing of theirs is undone.
func (h *Handler) changeApplication(ctx context.Context, c *call, change func(*eventv1.Application) error) (*eventv1.Application, error) {
	for range changeAttempts {
		a, err := h.findApplication(ctx, c)
		if err == nil {
			err = change(a)
		}
		if err != nil {
			return nil, err
		}
		if a, err = h.Cluster.PutApplication(ctx, a, false); !code.Has(err, code.IdempotencyConflict) {
			return a, err
		}
	}
	return nil, code.New(code.Unavailable, "The application is changed by others at the same time; try again.")
}

func (h *Handler) getApplication(ctx context.Context, c *call) (any, error) {
	a, err := h.findApplication(ctx, c)
	if err != nil {
		return nil, err
	}
	return c.application(a, withoutSecrets(a)), nil
}

func (h *Handler) updateApplication(ctx context.Context, c *call) (any, error) {
	a, err := h.changeApplication(ctx, c, func(a *eventv1.Application) error { return readApplication(c, a) })
	if err != nil {
		return nil, err
	}
	return c.application(a, withoutSecrets(a)), nil
}

func (h *Handler) deleteApplication(ctx context.Context, c *call) (any, error) {
	a, err := h.findApplication(ctx, c)
	if err != nil {
		return nil, err
	}
	return nil, h.Cluster.DeleteApplication(ctx, a.Id)
}

// numbered reads a page by number. The list of applications is short, and read whole.
func (h *Handler) numbered(ctx context.Context, c *call, name string) (list []*eventv1.Application, total, size, number int, err error) {
	size, number = pageSizeDefault, 1
	if n := c.query.whole("page_size", 1, pageSizeMax); n != nil {
		size = int(*n)
	}
	if n := c.query.whole(name, 1, 1<<20); n != nil {
		number = int(*n)
	}
	if err = c.faults.err(); err != nil {
		return nil, 0, 0, 0, err
	}
	r, err := h.Cluster.ListApplications(ctx, &nodev1.Page{})
	if err != nil {
		return nil, 0, 0, 0, err
	}
	total = len(r.Applications)
	low := min((number-1)*size, total)
	return r.Applications[low:min(low+size, total)], total, size, number, nil
}

func (h *Handler) listApplications(ctx context.Context, c *call) (any, error) {
	list, total, size, number, err := h.numbered(ctx, c, "page")
	if err != nil {
		return nil, err
	}
	items := each(list, func(a *eventv1.Application) application { return c.application(a, withoutSecrets(a)) })
	return applicationPage{
		PageSize: size, Page: number, TotalItems: total, TotalPages: (total + size - 1) / size,
		Embedded: applicationsOf{items}, Links: selfLink{link{c.request.URL.Path}},
	}, nil
}

// capabilitiesOf writes the webhooks of an old application in the present form.
func capabilitiesOf(answer, event *eventv1.Webhook) []byte {
	hooks := make(map[string]any)
	for name, w := range map[string]*eventv1.Webhook{"answer_url": answer, "event_url": event} {
		if w.GetAddress() != "" {
			hooks[name] = map[string]string{"address": w.Address, "http_method": w.HttpMethod}
		}
	}
	b, _ := json.Marshal(map[string]any{"voice": map[string]any{"webhooks": hooks}}) // strings always have a JSON form
	return b
}
