package api

import (
	"context"

	"google.golang.org/protobuf/proto"

	"parley/actors/application"
	profile "parley/actors/user"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	"parley/proto/id"
	nodev1 "parley/proto/node/v1"
)

// Push is notifications for users that are away: their devices, and the applications' access to the
// providers that reach those.
type Push interface {
	// PutDevice registers a device of a user, or changes it, and gives it as it is kept. It is for the
	// user itself and for administrators. A user has at most user.DevicesMax devices: one more drops
	// the one that was registered first. A device that was another user's is that user's no more. Repeating
	// it changes nothing.
	PutDevice(ctx context.Context, p *nodev1.Principal, user string, d *eventv1.Device) (*eventv1.Device, error)
	// Devices gives a user's devices, the one that was registered last at the end. It is for the user
	// itself and for administrators.
	Devices(ctx context.Context, p *nodev1.Principal, user string) ([]*eventv1.Device, error)
	// DeleteDevice removes a device; repeating it changes nothing.
	DeleteDevice(ctx context.Context, p *nodev1.Principal, user, device string) error
	// MutePush switches the user's notifications of one conversation off or on.
	MutePush(ctx context.Context, p *nodev1.Principal, user, conversation string, muted bool) error
	// PushCredential gives an application's credential for a platform, without what is secret of it;
	// code.NotFound when there is none. It is as fresh as Application.
	PushCredential(ctx context.Context, p *nodev1.Principal, platform eventv1.Platform) (*eventv1.PushCredential, error)
	// PutPushCredential replaces it; c.Id is made here. It is for administrators.
	PutPushCredential(ctx context.Context, p *nodev1.Principal, c *eventv1.PushCredential) (*eventv1.PushCredential, error)
	// DeletePushCredential removes it; repeating it changes nothing. It is for administrators.
	DeletePushCredential(ctx context.Context, p *nodev1.Principal, platform eventv1.Platform) error
}

// PutDevice implements Push.
func (s *Service) PutDevice(ctx context.Context, p *nodev1.Principal, usr string, d *eventv1.Device) (*eventv1.Device, error) {
	if !isUser(usr) {
		return nil, errUser()
	}
	ctx, cancel := s.deadline(ctx)
	defer cancel()
	app := p.GetApplicationId()
	if (p.GetAdmin() || p.GetUserId() == usr) && profile.CheckDevice(d) == nil { // else it is refused below
		if _, err := s.claim(ctx, app, usr, d.GetToken(), 0); err != nil {
			return nil, err
		}
	}
	for range claimAttempts {
		kept, err := s.keepDevice(ctx, p, usr, d)
		if err != nil {
			return nil, err
		}
		contested, err := s.claim(ctx, app, usr, kept.Token, kept.UpdatedMs)
		if err != nil || !contested {
			return kept, err
		}
		// Whoever had it may have taken it back between the two.
	}
	return nil, errContested()
}

// keepDevice has a user's own grain keep a device.
func (s *Service) keepDevice(ctx context.Context, p *nodev1.Principal, usr string, d *eventv1.Device) (*eventv1.Device, error) {
	reply, err := s.command(ctx, user(p, usr), &nodev1.Command{Principal: p, Body: &nodev1.Command_PutDevice{
		PutDevice: &nodev1.PutDevice{Device: d},
	}})
	if err != nil {
		return nil, err
	}
	if n := len(reply.DroppedDevices); n > 0 {
		s.devices.dropped.Add(float64(n))
		s.options.Logger.Info("a user's oldest devices were dropped", "user", usr, "devices", n) // some clients take the token for an id
	}
	if list := reply.GetDevices().GetDevices(); len(list) == 1 {
		d = list[0]
	}
	return d, nil
}

// Devices implements Push.
func (s *Service) Devices(ctx context.Context, p *nodev1.Principal, usr string) ([]*eventv1.Device, error) {
	if !isUser(usr) {
		return nil, errUser()
	}
	reply, err := s.query(ctx, user(p, usr), &nodev1.Query{Principal: p, Body: &nodev1.Query_GetDevices{GetDevices: &nodev1.GetDevices{}}})
	return reply.GetDevices().GetDevices(), err
}

// DeleteDevice implements Push.
func (s *Service) DeleteDevice(ctx context.Context, p *nodev1.Principal, usr, device string) error {
	if !isUser(usr) {
		return errUser()
	}
	_, err := s.command(ctx, user(p, usr), &nodev1.Command{Principal: p, Body: &nodev1.Command_DeleteDevice{
		DeleteDevice: &nodev1.DeleteDevice{Id: device},
	}})
	return err
}

// MutePush implements Push.
func (s *Service) MutePush(ctx context.Context, p *nodev1.Principal, usr, conversation string, muted bool) error {
	if !isUser(usr) {
		return errUser()
	}
	_, err := s.command(ctx, user(p, usr), &nodev1.Command{Principal: p, Body: &nodev1.Command_MutePush{
		MutePush: &nodev1.MutePush{ConversationId: conversation, Muted: muted},
	}})
	return err
}

// PushCredential implements Push.
func (s *Service) PushCredential(ctx context.Context, p *nodev1.Principal, platform eventv1.Platform) (*eventv1.PushCredential, error) {
	found, err := s.Application(ctx, p.GetApplicationId())
	if err != nil {
		return nil, err
	}
	c := application.PushCredential(found, platform)
	if c == nil {
		return nil, code.New(code.NotFound, "The application has no credential for this platform.")
	}
	return openPart(c), nil
}

// PutPushCredential implements Push.
func (s *Service) PutPushCredential(ctx context.Context, p *nodev1.Principal, c *eventv1.PushCredential) (*eventv1.PushCredential, error) {
	c = proto.CloneOf(c)
	c.Id = id.New("")
	reply, err := s.changePush(ctx, p, &nodev1.Command{Body: &nodev1.Command_PutPushCredential{
		PutPushCredential: &nodev1.PutPushCredential{Credential: c},
	}})
	if err != nil {
		return nil, err
	}
	return openPart(application.PushCredential(reply.Application, c.Platform)), nil
}

// DeletePushCredential implements Push.
func (s *Service) DeletePushCredential(ctx context.Context, p *nodev1.Principal, platform eventv1.Platform) error {
	_, err := s.changePush(ctx, p, &nodev1.Command{Body: &nodev1.Command_DeletePushCredential{
		DeletePushCredential: &nodev1.DeletePushCredential{Platform: platform},
	}})
	return err
}

// changePush has the asker's own application changed.
func (s *Service) changePush(ctx context.Context, p *nodev1.Principal, c *nodev1.Command) (*nodev1.Reply, error) {
	if !p.GetAdmin() {
		return nil, code.New(code.Permission, "only an administrator may change push credentials")
	}
	c.Principal = operator()
	reply, err := s.command(ctx, applicationOf(p.GetApplicationId()), c)
	if err == nil {
		s.refresh(ctx)
	}
	return reply, err
}

// openPart is what may be told of a credential.
func openPart(c *eventv1.PushCredential) *eventv1.PushCredential {
	c = proto.CloneOf(c)
	if c != nil {
		c.Secret, c.Password = nil, ""
	}
	return c
}
