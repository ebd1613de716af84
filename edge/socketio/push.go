package socketio

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"

	"parley/edge/device"
	"parley/proto/code"
)

// The requests of the mobile SDKs of 2017-18 about notifications. A device that does not say which one
// it is, is the one that logged in.

// registered is the body of the answer to a registration.
type registered struct {
	ID string `json:"id"`
}

// deviceID names the device of a request. One that has never told an id is known by its token.
func (c *call) deviceID() string {
	told := cmp.Or(c.request.field("device_id"), c.session.device)
	if told != "" {
		return told
	}
	sum := sha256.Sum256([]byte(c.request.field("device_token") + c.request.field("endpoint")))
	return hex.EncodeToString(sum[:16])
}

// mayPush checks that the token covers notifications: the grants of the era name devices, or push.
func (c *call) mayPush(method, deviceID string) error {
	err := c.session.allows(method, "/v1/devices/"+deviceID)
	if err == nil || c.session.allows(method, "/v1/push/"+deviceID) == nil {
		return nil
	}
	return err
}

func (c *call) registerDevice(ctx context.Context) (any, error) {
	id := c.deviceID()
	if err := c.mayPush(http.MethodPut, id); err != nil {
		return nil, err
	}
	d, err := device.Read(id, c.request.body)
	if err != nil {
		return nil, err
	}
	p := c.session.principal
	kept, err := c.handler.Cluster.PutDevice(ctx, p, p.GetUserId(), d)
	if err != nil {
		return nil, err
	}
	return registered{kept.Id}, nil
}

func (c *call) unregisterDevice(ctx context.Context) (any, error) {
	id := c.deviceID()
	if err := c.mayPush(http.MethodDelete, id); err != nil {
		return nil, err
	}
	p := c.session.principal
	return struct{}{}, c.handler.Cluster.DeleteDevice(ctx, p, p.GetUserId(), id)
}

// unmute and mute switch the notifications of one conversation on, as they are at first, and off.
func (c *call) unmute(ctx context.Context) (any, error) { return c.switchPush(ctx, false) }

func (c *call) mute(ctx context.Context) (any, error) { return c.switchPush(ctx, true) }

func (c *call) switchPush(ctx context.Context, muted bool) (any, error) {
	conversation := cmp.Or(c.request.cid, c.request.field("cid"))
	if conversation == "" {
		return nil, code.Invalid("cid", "is required")
	}
	if err := c.mayPush(http.MethodPut, conversation); err != nil {
		return nil, err
	}
	p := c.session.principal
	return struct{}{}, c.handler.Cluster.MutePush(ctx, p, p.GetUserId(), conversation, muted)
}
