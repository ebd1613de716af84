package rest

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"time"

	tenant "parley/actors/application"
	"parley/actors/push/webpush"
	owner "parley/actors/user"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
)

// pushCredentialBody is what may be uploaded. Nothing but its form is looked at: whether a provider
// takes it shows at the first notification.
type pushCredentialBody struct {
	Token       string `json:"token,omitempty" doc:"android: the JSON of a service account, as text or as an object. ios: a signing key (.p8), or certificate and key in PEM; or a .p12 file in hexadecimal or base64. web: your own private key, 32 bytes in base64url; without it a key is made."`
	ProjectID   string `json:"projectId,omitempty" doc:"Taken without effect: the service account names its project."`
	Password    string `json:"password,omitempty" doc:"ios: of the .p12 file."`
	KeyID       string `json:"key_id,omitempty" doc:"ios: of the signing key."`
	TeamID      string `json:"team_id,omitempty" doc:"ios: of the signing key."`
	Topic       string `json:"topic,omitempty" doc:"ios: the app's bundle id, for devices that do not tell it. A certificate names its own."`
	Environment string `json:"environment,omitempty" doc:"ios: sandbox or production, for devices that do not tell it; production if absent."`
	Subject     string `json:"subject,omitempty" doc:"web: whom push services may write to, mailto:… or https://…."`
}

// pushCredential is what is told of a credential: never the secret.
type pushCredential struct {
	Platform    string `json:"platform"`
	Kind        string `json:"kind,omitempty" enum:"service_account,server_key,token,certificate,vapid"`
	Status      string `json:"status,omitempty" enum:"unverified,valid,invalid" doc:"What the provider said last; unverified before the first notification."`
	Reason      string `json:"reason,omitempty" doc:"Why it is invalid, in the provider's words."`
	CheckedAt   string `json:"checked_at,omitempty" doc:"When the status changed."`
	CreatedAt   string `json:"created_at,omitempty"`
	KeyID       string `json:"key_id,omitempty"`
	TeamID      string `json:"team_id,omitempty"`
	Topic       string `json:"topic,omitempty"`
	Environment string `json:"environment,omitempty"`
	Subject     string `json:"subject,omitempty"`
	PublicKey   string `json:"public_key,omitempty" doc:"web: what browsers subscribe with (applicationServerKey)."`
}

var pushKinds = map[eventv1.PushKind]string{
	eventv1.PushKind_PUSH_KIND_SERVICE_ACCOUNT: "service_account", eventv1.PushKind_PUSH_KIND_SERVER_KEY: "server_key",
	eventv1.PushKind_PUSH_KIND_TOKEN: "token", eventv1.PushKind_PUSH_KIND_CERTIFICATE: "certificate", eventv1.PushKind_PUSH_KIND_VAPID: "vapid",
}

var pushStatuses = map[eventv1.PushStatus]string{
	eventv1.PushStatus_PUSH_STATUS_UNVERIFIED: "unverified", eventv1.PushStatus_PUSH_STATUS_VALID: "valid",
	eventv1.PushStatus_PUSH_STATUS_INVALID: "invalid",
}

// pushPlatform reads the path. An application sees its own credentials alone.
func (c *call) pushPlatform() (eventv1.Platform, error) {
	if c.parameters["application"] != c.who.ApplicationId {
		return 0, code.New(code.ApplicationNotFound, "Application does not exist.")
	}
	p := owner.PlatformOf(c.parameters["platform"])
	if p == eventv1.Platform_PLATFORM_UNSPECIFIED {
		return 0, code.New(code.NotFound, "Nothing is served at this path: the platforms are android, ios and web.")
	}
	return p, nil
}

// getPushToken tells an administrator of a credential, and a user the key to subscribe with.
func (h *Handler) getPushToken(ctx context.Context, c *call) (any, error) {
	p, err := c.pushPlatform()
	if err != nil {
		return nil, err
	}
	if !c.who.Admin && p != eventv1.Platform_PLATFORM_WEB {
		return nil, code.New(code.Permission, "Only an administrator may see push credentials.")
	}
	found, err := h.Cluster.PushCredential(ctx, c.who, p)
	if err != nil {
		return nil, err
	}
	if !c.who.Admin {
		return pushCredential{Platform: owner.PlatformName(p), PublicKey: found.PublicKey}, nil
	}
	return showPush(found), nil
}

func (h *Handler) putPushToken(ctx context.Context, c *call) (any, error) {
	p, err := c.pushPlatform()
	if err != nil {
		return nil, err
	}
	wanted := readPush(c, p)
	if err := c.faults.err(); err != nil {
		return nil, err
	}
	kept, err := h.Cluster.PutPushCredential(ctx, c.who, wanted)
	if err != nil {
		return nil, err
	}
	return showPush(kept), nil
}

func (h *Handler) deletePushToken(ctx context.Context, c *call) (any, error) {
	p, err := c.pushPlatform()
	if err != nil {
		return nil, err
	}
	return c.nothing(), h.Cluster.DeletePushCredential(ctx, c.who, p)
}

func showPush(p *eventv1.PushCredential) pushCredential {
	out := pushCredential{
		Platform: owner.PlatformName(p.Platform), Kind: pushKinds[p.Kind], Status: pushStatuses[p.Status], Reason: p.Reason,
		CreatedAt: pushTime(p.CreatedMs), CheckedAt: pushTime(p.CheckedMs),
		KeyID: p.KeyId, TeamID: p.TeamId, Topic: p.Topic, Subject: p.Subject, PublicKey: p.PublicKey,
	}
	if p.Platform == eventv1.Platform_PLATFORM_IOS {
		out.Environment = owner.EnvironmentProduction
		if p.Sandbox {
			out.Environment = owner.EnvironmentSandbox
		}
	}
	return out
}

func pushTime(ms int64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339)
}

// readPush reads a credential of any form that its platform has.
func readPush(c *call, p eventv1.Platform) *eventv1.PushCredential {
	in := c.body
	most := tenant.PushTextCharactersMax
	out := &eventv1.PushCredential{
		Platform: p, Password: value(in.anyText("password", most)), KeyId: value(in.anyText("key_id", most)), TeamId: value(in.anyText("team_id", most)),
		Topic: value(in.anyText("topic", most)), Subject: value(in.anyText("subject", most)),
		Sandbox: in.choice("environment", owner.EnvironmentProduction, owner.EnvironmentSandbox) == owner.EnvironmentSandbox,
	}
	secret := readSecret(in)
	switch p {
	case eventv1.Platform_PLATFORM_WEB:
		readVAPID(in, out, secret)
		return out
	case eventv1.Platform_PLATFORM_ANDROID:
		out.Kind, out.Secret = eventv1.PushKind_PUSH_KIND_SERVER_KEY, []byte(secret)
		if strings.HasPrefix(strings.TrimSpace(secret), "{") {
			out.Kind = eventv1.PushKind_PUSH_KIND_SERVICE_ACCOUNT
		}
	case eventv1.Platform_PLATFORM_IOS:
		out.Kind, out.Secret = readApple(secret)
	}
	in.required("token", secret != "")
	if len(out.Secret) > tenant.PushSecretBytesMax {
		in.fault("token", "must have at most %d bytes", tenant.PushSecretBytesMax)
	}
	return out
}

// readSecret reads the token, which is a text, or a service account's JSON as it is.
func readSecret(in *input) string {
	raw := in.get("token")
	if len(raw) > 0 && raw[0] == '{' {
		return string(raw)
	}
	return value(in.text("token", 0))
}

// readApple tells a signing key from a certificate, and undoes the form in which a .p12 file was sent.
func readApple(text string) (eventv1.PushKind, []byte) {
	// Forms and command lines tend to send the line breaks as two characters.
	if pem := strings.ReplaceAll(text, `\n`, "\n"); strings.Contains(pem, "-----BEGIN") {
		if strings.Contains(pem, "-----BEGIN CERTIFICATE-----") {
			return eventv1.PushKind_PUSH_KIND_CERTIFICATE, []byte(pem)
		}
		return eventv1.PushKind_PUSH_KIND_TOKEN, []byte(pem)
	}
	compact := strings.Join(strings.Fields(text), "")
	for _, decode := range []func(string) ([]byte, error){hex.DecodeString, base64.StdEncoding.DecodeString} {
		if file, err := decode(compact); err == nil {
			return eventv1.PushKind_PUSH_KIND_CERTIFICATE, file
		}
	}
	return eventv1.PushKind_PUSH_KIND_CERTIFICATE, []byte(text)
}

func readVAPID(in *input, out *eventv1.PushCredential, text string) {
	var err error
	out.Kind = eventv1.PushKind_PUSH_KIND_VAPID
	if text == "" {
		out.Secret, out.PublicKey, err = webpush.GenerateKey()
	} else {
		out.Secret, out.PublicKey, err = webpush.ImportKey(text)
	}
	if err != nil {
		in.fault("token", "%s", err)
	}
}
