package rest

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"parley/edge/web"
)

// describe makes the OpenAPI 3.1 document of a table. The same table always makes the same bytes.
func describe(table []*operation) ([]byte, error) {
	d := description{registry: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)}
	doc := &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Parley", Version: "1",
			Description: about,
			License:     &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
		},
		Servers:    []*huma.Server{{URL: "/", Description: "This node"}},
		Paths:      make(map[string]*huma.PathItem),
		Components: &huma.Components{Schemas: d.registry, SecuritySchemes: securitySchemes()},
	}
	for _, g := range generations {
		doc.Tags = append(doc.Tags, &huma.Tag{Name: g.name, Description: g.summary})
	}
	for _, op := range table {
		path := op.generation.prefixes[0] + op.path
		if doc.Paths[path] == nil {
			doc.Paths[path] = &huma.PathItem{}
		}
		d.put(doc.Paths[path], op)
	}
	d.putImages(doc.Paths)
	raw, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	var indented bytes.Buffer
	err = json.Indent(&indented, raw, "", " ")
	return indented.Bytes(), err
}

const about = "Conversations, users, members, and one ordered event log per conversation, on your own machines. " +
	"The paths, bodies and codes are those of the Conversation API.\n\n" +
	"Requests carry a JSON Web Token signed RS256 with the application's private key (`parley jwt:generate`). " +
	"Bodies are JSON, or forms whose dotted keys name nested members. " +
	"A POST with an `Idempotency-Key` header may be repeated: it is carried out once.\n\n" +
	"First steps:\n\n" +
	"```sh\n" +
	"export TOKEN=$(parley jwt:generate ./private.key application_id=$APPLICATION_ID)\n\n" +
	"# create a conversation\n" +
	"curl -X POST $PARLEY_URL/beta/conversations -H \"Authorization: Bearer $TOKEN\"\n\n" +
	"# create a user\n" +
	"curl -X POST $PARLEY_URL/beta/users -H \"Authorization: Bearer $TOKEN\" -d name=ann -d 'display_name=Ann Example'\n\n" +
	"# join the user\n" +
	"curl -X POST $PARLEY_URL/beta/conversations/$CONVERSATION/members -H \"Authorization: Bearer $TOKEN\" \\\n" +
	"  -d action=join -d user_id=$USER_ID -d channel.type=app\n\n" +
	"# send a text\n" +
	"curl -X POST $PARLEY_URL/v1/conversations/$CONVERSATION/events -H \"Authorization: Bearer $TOKEN\" \\\n" +
	"  -H 'Content-Type: application/json' -d '{\"type\":\"text\",\"from\":\"'$MEMBER'\",\"body\":{\"text\":\"hello\"}}'\n\n" +
	"# read the history\n" +
	"curl \"$PARLEY_URL/v1/conversations/$CONVERSATION/events?order=asc&page_size=100\" -H \"Authorization: Bearer $TOKEN\"\n" +
	"```\n"

// codeSample is an example as viewers of the document show it.
type codeSample struct {
	Language string `json:"lang"`
	Label    string `json:"label"`
	Source   string `json:"source"`
}

// samples are the calls that everybody begins with, as the first guides had them.
var samples = map[string]string{
	"beta.createConversation": "curl -X POST $PARLEY_URL/beta/conversations \\\n  -H \"Authorization: Bearer $TOKEN\"",
	"beta.createUser":         "curl -X POST $PARLEY_URL/beta/users \\\n  -H \"Authorization: Bearer $TOKEN\" \\\n  -d 'name=ann' -d 'display_name=Ann Example'",
	"beta.addMember": "curl -X POST $PARLEY_URL/beta/conversations/$CONVERSATION/members \\\n  -H \"Authorization: Bearer $TOKEN\" \\\n" +
		"  -d 'action=join' -d \"user_id=$USER_ID\" -d 'channel.type=app'",
}

func securitySchemes() map[string]*huma.SecurityScheme {
	return map[string]*huma.SecurityScheme{
		string(bearer): {Type: "http", Scheme: "bearer", BearerFormat: "JWT",
			Description: "Without sub: an administrator of the application. With sub, the name of a user: that user; it needs an acl."},
		string(basic): {Type: "http", Scheme: "basic", Description: "The operator's API key and secret."},
	}
}

// description turns rows into the document's terms.
type description struct{ registry huma.Registry }

func (d description) put(item *huma.PathItem, op *operation) {
	scheme := op.scheme
	switch scheme {
	case keyInInput:
		scheme = basic
	case anyBearer:
		scheme = bearer
	}
	out := &huma.Operation{
		OperationID: op.generation.name + "_" + op.id, Summary: op.summary, Tags: []string{op.generation.name},
		Security:   []map[string][]string{{string(scheme): {}}},
		Parameters: d.parameters(op),
		Responses:  map[string]*huma.Response{strconv.Itoa(op.status): d.response(op), "default": d.refusal(op)},
	}
	if sample := samples[op.generation.name+"."+op.id]; sample != "" {
		out.Extensions = map[string]any{"x-codeSamples": []codeSample{{"Shell", "curl", sample}}}
	}
	if op.adminOnly {
		out.Description = "For administrators."
	}
	if op.body != nil {
		schema := d.schema(op.body, op.id+"Body")
		out.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{
			"application/json":                  {Schema: schema},
			"application/x-www-form-urlencoded": {Schema: schema},
		}}
	}
	switch op.method {
	case get:
		item.Get = out
	case post:
		item.Post = out
	case put:
		item.Put = out
	case patch:
		item.Patch = out
	case remove:
		item.Delete = out
	}
}

func (d description) schema(v any, hint string) *huma.Schema {
	return d.registry.Schema(reflect.TypeOf(v), true, hint)
}

func (d description) parameters(op *operation) []*huma.Param {
	var all []*huma.Param
	for s := range strings.SplitSeq(op.path, "/") {
		if name, isParameter := strings.CutPrefix(s, "{"); isParameter {
			all = append(all, &huma.Param{Name: strings.TrimSuffix(name, "}"), In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}})
		}
	}
	for _, p := range op.query {
		all = append(all, &huma.Param{Name: p.name, In: "query", Description: p.about, Schema: &huma.Schema{Type: p.kind}})
	}
	if op.method == post {
		all = append(all, &huma.Param{Name: "Idempotency-Key", In: "header",
			Description: "Names this request: it is carried out once, however often it is sent. Not for applications.",
			Schema:      &huma.Schema{Type: huma.TypeString, MaxLength: ptr(keyBytesMax)}})
	}
	return all
}

func ptr[T any](v T) *T { return &v }

func (d description) response(op *operation) *huma.Response {
	if op.reply == nil {
		return &huma.Response{Description: "Done."}
	}
	return &huma.Response{Description: "Done.", Content: map[string]*huma.MediaType{
		"application/json": {Schema: d.schema(op.reply, op.generation.name+op.id+"Reply")},
	}}
}

func (d description) refusal(op *operation) *huma.Response {
	var form any = web.Problem{}
	switch op.generation.refusal {
	case oldForm:
		form = betaProblem{}
	case bothForms:
		form = bothProblem{}
	}
	return &huma.Response{Description: "Refused; the code says why.", Content: map[string]*huma.MediaType{
		"application/json": {Schema: d.schema(form, "Problem")},
	}}
}
