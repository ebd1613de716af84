package rest

import (
	"context"
	"encoding/json"
	"strings"

	owner "parley/actors/user"
	"parley/edge/device"
	"parley/proto/code"
	eventv1 "parley/proto/event/v1"
)

// registered is the answer to a registration.
type registered struct {
	ID   string `json:"id"`
	Href string `json:"href"`
}

// listedDevice is a device as its owner sees it; its token is its provider's business.
type listedDevice struct {
	ID   string `json:"id"`
	Type string `json:"device_type" enum:"android,ios,web"`
	Href string `json:"href"`
}

type devicesOf struct {
	Devices []listedDevice `json:"devices"`
}

// listDevices gives the asker's devices, the one that was registered last at the end.
func (h *Handler) listDevices(ctx context.Context, c *call) (any, error) {
	if err := c.owner(); err != nil {
		return nil, err
	}
	found, err := h.Cluster.Devices(ctx, c.who, c.who.UserId)
	if err != nil {
		return nil, err
	}
	return devicesOf{each(found, func(d *eventv1.Device) listedDevice {
		return listedDevice{d.Id, owner.PlatformName(d.Platform), c.link("devices", d.Id)}
	})}, nil
}

// putDevice registers a device of the asker.
func (h *Handler) putDevice(ctx context.Context, c *call) (any, error) {
	if err := c.owner(); err != nil {
		return nil, err
	}
	raw, err := json.Marshal(c.body.members)
	if err != nil {
		return nil, code.New(code.ValidationFail, "The body can not be read.")
	}
	d, err := device.Read(c.parameters["device"], raw)
	if err != nil {
		return nil, err
	}
	kept, err := h.Cluster.PutDevice(ctx, c.who, c.who.UserId, d)
	if err != nil {
		return nil, err
	}
	return registered{kept.Id, c.link("devices", kept.Id)}, nil
}

// deleteDevice forgets a device of the asker; one that is not there is forgotten already.
func (h *Handler) deleteDevice(ctx context.Context, c *call) (any, error) {
	if err := c.owner(); err != nil {
		return nil, err
	}
	return c.nothing(), h.Cluster.DeleteDevice(ctx, c.who, c.who.UserId, c.parameters["device"])
}

// owner lets users pass: an application has no devices.
func (c *call) owner() error {
	if c.who.UserId == "" {
		return code.New(code.Permission, "A device is a user's: use a user's token, one with sub.")
	}
	return nil
}

// nothing is what a deletion answers: no body, or an empty object in the old generations.
func (c *call) nothing() any {
	if c.operation.reply == nil {
		return nil
	}
	return betaNothing{}
}

// loggedPath is the path as the log may show it: some clients take a device's token for its id.
func (c *call) loggedPath() string {
	path := c.request.URL.EscapedPath()
	if c.parameters["device"] == "" {
		return path
	}
	return path[:strings.LastIndexByte(path, '/')+1] + "{device}"
}
