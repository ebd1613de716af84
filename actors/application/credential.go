package application

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"parley/actors/conversation/document"
	"parley/actors/grain"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// Limits of a push credential.
const (
	// PushSecretBytesMax bounds a key, certificate or service account.
	PushSecretBytesMax = 64 << 10
	// PushTextCharactersMax bounds its other members.
	PushTextCharactersMax = 1024
	pushReasonCharacters  = 256
)

// putPush replaces the credential for a platform. Nothing is known of it before its first use.
func (m *machine) putPush(now int64, wanted *eventv1.PushCredential) (grain.Decision, error) {
	if !m.alive() {
		return grain.Decision{}, notFound()
	}
	if err := checkPush(wanted); err != nil {
		return grain.Decision{}, err
	}
	c := proto.CloneOf(wanted)
	c.Status, c.Reason, c.CheckedMs, c.CreatedMs = eventv1.PushStatus_PUSH_STATUS_UNVERIFIED, "", 0, now
	return m.writePush(append(m.otherPush(c.Platform), c)), nil
}

// removePush removes the credential for a platform; one that is not there is gone already.
func (m *machine) removePush(p eventv1.Platform) (grain.Decision, error) {
	switch {
	case !m.alive():
		return grain.Decision{}, notFound()
	case PushCredential(m.app, p) == nil:
		return grain.Decision{Changes: changed{}, Reply: &nodev1.Reply{Application: m.app}}, nil
	}
	return m.writePush(m.otherPush(p)), nil
}

// notePush writes what a provider said. It comes after each change of the outcome, at least once,
// and late: a credential that was replaced meanwhile keeps its own status.
func (m *machine) notePush(now int64, n *nodev1.NotePush) (grain.Decision, error) {
	known := PushCredential(m.app, n.Platform)
	reason := []rune(n.Reason)
	reason = reason[:min(len(reason), pushReasonCharacters)]
	if known == nil || known.Id != n.CredentialId || known.Status == n.Status && known.Reason == string(reason) {
		return grain.Decision{Changes: changed{}, Reply: &nodev1.Reply{}}, nil
	}
	c := proto.CloneOf(known)
	c.Status, c.Reason, c.CheckedMs = n.Status, string(reason), now
	return m.writePush(append(m.otherPush(c.Platform), c)), nil
}

// writePush stores the application with these credentials. UpdatedMs stays: the application itself
// has not changed.
func (m *machine) writePush(list []*eventv1.PushCredential) grain.Decision {
	a := proto.CloneOf(m.app)
	a.PushCredentials = list
	return m.write(a)
}

func (m *machine) otherPush(p eventv1.Platform) []*eventv1.PushCredential {
	return slices.DeleteFunc(slices.Clone(m.app.GetPushCredentials()), func(c *eventv1.PushCredential) bool { return c.Platform == p })
}

// PushCredential finds an application's credential for a platform; nil when there is none.
func PushCredential(a *eventv1.Application, p eventv1.Platform) *eventv1.PushCredential {
	for _, c := range a.GetPushCredentials() {
		if c.Platform == p {
			return c
		}
	}
	return nil
}

// checkPush checks sizes alone: whether a credential is any good its provider says.
func checkPush(c *eventv1.PushCredential) error {
	if c.GetPlatform() == eventv1.Platform_PLATFORM_UNSPECIFIED || c.GetKind() == eventv1.PushKind_PUSH_KIND_UNSPECIFIED || c.GetId() == "" {
		return code.New(code.ValidationFail, "a push credential needs an id, a platform and a kind")
	}
	if len(c.Secret) == 0 || len(c.Secret) > PushSecretBytesMax {
		return code.Invalid("token", fmt.Sprintf("must have 1 to %d bytes", PushSecretBytesMax))
	}
	for _, f := range []struct{ field, value string }{
		{"password", c.Password}, {"key_id", c.KeyId}, {"team_id", c.TeamId}, {"topic", c.Topic},
		{"subject", c.Subject}, {"public_key", c.PublicKey},
	} {
		if err := document.CheckText(f.value, PushTextCharactersMax); err != nil {
			return code.Invalid(f.field, err.Error())
		}
	}
	return nil
}
