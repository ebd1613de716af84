package rest

import (
	"cmp"
	"context"
	"encoding/json"

	eventv1 "parley/proto/event/v1"
)

// The applications of the first generation: an API key and secret may stand in the query or the
// body, and there are two webhooks, for answers and for events.

type oldApplicationBody struct {
	APIKey       string `json:"api_key,omitempty"`
	APISecret    string `json:"api_secret,omitempty"`
	Name         string `json:"name" maxLength:"100"`
	Type         string `json:"type,omitempty" doc:"Every application can do everything; kept for its clients."`
	AnswerURL    string `json:"answer_url,omitempty" format:"uri"`
	AnswerMethod string `json:"answer_method,omitempty" enum:"POST,GET"`
	EventURL     string `json:"event_url,omitempty" format:"uri"`
	EventMethod  string `json:"event_method,omitempty" enum:"POST,GET"`
}

type oldWebhook struct {
	EndpointType string `json:"endpoint_type" enum:"answer_url,event_url"`
	Endpoint     string `json:"endpoint"`
	Method       string `json:"http_method"`
}

type oldVoice struct {
	Webhooks []oldWebhook `json:"webhooks"`
}

type oldApplication struct {
	ID    string          `json:"id" format:"uuid"`
	Name  string          `json:"name"`
	Type  string          `json:"type"`
	Voice oldVoice        `json:"voice"`
	Keys  applicationKeys `json:"keys"`
	Links selfLink        `json:"_links"`
}

type oldApplicationsOf struct {
	Applications []oldApplication `json:"applications"`
}

type oldApplicationPage struct {
	Count     int               `json:"count"`
	PageSize  int               `json:"page_size"`
	PageIndex int               `json:"page_index"`
	Embedded  oldApplicationsOf `json:"_embedded"`
	Links     selfLink          `json:"_links"`
}

func oldApplicationOf(a *eventv1.Application, keys applicationKeys) oldApplication {
	out := oldApplication{
		ID: a.GetId(), Name: a.GetName(), Type: cmp.Or(a.GetType(), "rtc"), Voice: oldVoice{[]oldWebhook{}},
		Keys: keys, Links: selfLink{link{"/v1/applications/" + a.GetId()}},
	}
	answer, event := webhooksOf(a)
	for _, w := range []oldWebhook{{"answer_url", answer.Address, answer.Method}, {"event_url", event.Address, event.Method}} {
		if w.Endpoint != "" {
			out.Voice.Webhooks = append(out.Voice.Webhooks, w)
		}
	}
	return out
}

type storedWebhook struct {
	Address string `json:"address"`
	Method  string `json:"http_method"`
}

// webhooksOf finds the two webhooks of this generation in an application's capabilities.
func webhooksOf(a *eventv1.Application) (answer, event storedWebhook) {
	var capabilities struct {
		Voice struct {
			Webhooks struct {
				Answer storedWebhook `json:"answer_url"`
				Event  storedWebhook `json:"event_url"`
			} `json:"webhooks"`
		} `json:"voice"`
	}
	if len(a.GetCapabilities()) > 0 && json.Unmarshal(a.GetCapabilities(), &capabilities) != nil {
		return answer, event // of a form that this generation does not know
	}
	hooks := capabilities.Voice.Webhooks
	if hooks.Event.Address == "" {
		hooks.Event = storedWebhook{a.GetEventUrl().GetAddress(), a.GetEventUrl().GetHttpMethod()}
	}
	return hooks.Answer, hooks.Event
}

// readOldApplication reads a body of this generation into a, leaving absent members alone. The two addresses are one
// member: who sends one of them takes the other away.
func readOldApplication(c *call, a *eventv1.Application) error {
	in := c.body
	name := in.text("name", nameMax)
	in.required("name", name != nil)
	a.Name = value(name)
	a.Type = cmp.Or(value(in.anyText("type", shortTextMax)), a.Type, "rtc")
	hook := func(kind string) *eventv1.Webhook {
		return &eventv1.Webhook{Address: in.webURL(kind + "_url"), HttpMethod: cmp.Or(in.choice(kind+"_method", "POST", "GET"), "POST")}
	}
	answer, event := hook("answer"), hook("event")
	c.checkTarget(in, "event_url", event.Address)
	if answer.Address != "" || event.Address != "" {
		a.EventUrl, a.Capabilities = event, capabilitiesOf(answer, event)
	}
	return c.faults.err()
}

func (h *Handler) oldCreateApplication(ctx context.Context, c *call) (any, error) {
	a := &eventv1.Application{}
	if err := readOldApplication(c, a); err != nil {
		return nil, err
	}
	made, keys, err := h.makeApplication(ctx, a)
	if err != nil {
		return nil, err
	}
	return oldApplicationOf(made, keys), nil
}

func (h *Handler) oldGetApplication(ctx context.Context, c *call) (any, error) {
	a, err := h.findApplication(ctx, c)
	if err != nil {
		return nil, err
	}
	return oldApplicationOf(a, withoutSecrets(a)), nil
}

func (h *Handler) oldUpdateApplication(ctx context.Context, c *call) (any, error) {
	a, err := h.changeApplication(ctx, c, func(a *eventv1.Application) error { return readOldApplication(c, a) })
	if err != nil {
		return nil, err
	}
	return oldApplicationOf(a, withoutSecrets(a)), nil
}

func (h *Handler) oldListApplications(ctx context.Context, c *call) (any, error) {
	list, total, size, number, err := h.numbered(ctx, c, "page_index")
	if err != nil {
		return nil, err
	}
	items := each(list, func(a *eventv1.Application) oldApplication { return oldApplicationOf(a, withoutSecrets(a)) })
	return oldApplicationPage{
		Count: total, PageSize: size, PageIndex: number,
		Embedded: oldApplicationsOf{items}, Links: selfLink{link{c.request.URL.Path}},
	}, nil
}
