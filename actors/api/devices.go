package api

import (
	"context"
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"parley/actors/name"
	"parley/cluster/version"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
	nodev1 "parley/proto/node/v1"
)

// deviceMetrics count devices that users lose.
type deviceMetrics struct{ dropped, taken prometheus.Counter }

func newDeviceMetrics(r prometheus.Registerer) (deviceMetrics, error) {
	m := deviceMetrics{
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_api_devices_dropped_total",
			Help: "Devices that were dropped because their user registered more than it may have.",
		}),
		taken: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_api_devices_taken_total",
			Help: "Devices that were taken from a user because another one registered them.",
		}),
	}
	if r == nil {
		return m, nil
	}
	return m, errors.Join(r.Register(m.dropped), r.Register(m.taken))
}

// claimAttempts bounds how often a device is taken from a user: each time another may have registered it again.
const claimAttempts = 4

// claim makes usr the one user of its application that has the device with this token, and takes it from who had
// it: a phone that has changed hands must not show its new user what is meant for the former one. A registration
// claims twice: before the user keeps the device (registered 0), so that no registration that stops half way leaves
// a device that no row names, and with the time at which it was registered, so that nothing late frees the row. It
// may stop anywhere; the next registration, of whomever, makes up for it, and clients send one whenever they start.
// contested: another user had it, and may have taken it from usr before it was taken from that one.
func (s *Service) claim(ctx context.Context, application, usr, token string, registered int64) (contested bool, err error) {
	if s.options.Gate != nil && !s.options.Gate.Allows(version.DeviceNames) {
		return false, nil
	}
	device := target{nodev1.Kind_KIND_NAME, application, name.DeviceID(token)}
	for range claimAttempts {
		reply, err := s.command(ctx, device, &nodev1.Command{Principal: node(application), Body: &nodev1.Command_ReserveName{
			ReserveName: &nodev1.ReserveName{OwnerId: usr, Token: uint64(registered)}}})
		if err != nil || !reply.Exists {
			return contested, err
		}
		contested = true
		if err := s.takeDevice(ctx, device, reply.GetName(), token); err != nil {
			return true, err
		}
	}
	return true, errContested()
}

func errContested() error {
	return code.New(code.Unavailable, "the device changes hands too fast; try again")
}

// takeDevice takes a device from the user that holds it, and releases the reservation that was seen: a newer one
// stays, and whoever made that keeps the device again (PutDevice).
func (s *Service) takeDevice(ctx context.Context, device target, held *eventv1.Name, token string) error {
	former := target{nodev1.Kind_KIND_USER, device.application, held.GetOwnerId()}
	reply, err := s.command(ctx, former, &nodev1.Command{Principal: node(device.application), Body: &nodev1.Command_DeleteDevice{
		DeleteDevice: &nodev1.DeleteDevice{Token: token}}})
	if err != nil && !code.Has(err, code.UserNotFound) {
		return err
	}
	if reply.GetExists() {
		s.devices.taken.Inc()
		s.options.Logger.Info("a device has changed hands", "from", former.id)
	}
	_, err = s.command(ctx, device, &nodev1.Command{Principal: node(device.application), Body: &nodev1.Command_ReleaseName{
		ReleaseName: &nodev1.ReleaseName{OwnerId: held.GetOwnerId(), Token: held.GetToken()}}})
	return err
}
