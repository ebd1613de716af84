package rest

import "parley/edge/device"

// pushRows are notifications: devices, and the application's credentials, the same in every generation.
func (h *Handler) pushRows(g *generation) []operation {
	const one, credential = "/devices/{device}", "/applications/{application}/push_tokens/{platform}"
	gone, nothing := noContent, any(nil)
	if g == v02 || g == beta {
		gone, nothing = ok, betaNothing{}
	}
	rows := []operation{
		{g, put, one, "putDevice", "Register a device of the asking user for notifications.", bearer, false,
			nil, device.Body{}, ok, registered{}, h.putDevice},
		{g, remove, one, "deleteDevice", "End the notifications on a device.", bearer, false,
			nil, nil, gone, nothing, h.deleteDevice},
		{g, get, credential, "getPushToken", "Read what is known of a push credential; users read the public key of web alone.", bearer, false,
			nil, nil, ok, pushCredential{}, h.getPushToken},
		{g, put, credential, "putPushToken", "Upload a push credential for android, ios or web. It is not validated: its status shows at the first notification.", bearer, true,
			nil, pushCredentialBody{}, ok, pushCredential{}, h.putPushToken},
		{g, remove, credential, "deletePushToken", "Delete a push credential; its devices get no more notifications.", bearer, true,
			nil, nil, gone, nothing, h.deletePushToken},
	}
	if g == v1 {
		rows = append(rows, operation{g, get, "/devices", "listDevices", "List the asking user's devices.", bearer, false,
			nil, nil, ok, devicesOf{}, h.listDevices})
	}
	return rows
}
