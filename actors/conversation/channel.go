package conversation

import (
	"slices"
	"strings"

	"parley/actors/conversation/document"
	"parley/proto/code"
)

// AppChannel is the channel of a member that chats from an application; who names none gets it.
const AppChannel = `{"type":"app"}`

// channelTypes are the mediums that a member may stand behind.
var channelTypes = []string{
	"app", "phone", "sip", "websocket", "vbc", "sms", "mms", "whatsapp", "viber", "messenger",
}

// checkChannel checks an optional channel: an object with one of the types.
func checkChannel(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := checkObject("channel", b); err != nil {
		return err
	}
	if slices.Contains(channelTypes, channelType(b)) {
		return nil
	}
	return code.Invalid("channel.type", "must be one of ["+strings.Join(channelTypes, ", ")+"]")
}

func channelType(b []byte) string {
	s, _ := document.String(document.Fields(b)["type"])
	return s
}
