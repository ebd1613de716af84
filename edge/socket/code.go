package socket

import "fmt"

// CloseCode is a WebSocket close code. The hundreds of the 4000s say what the client should do:
// 40xx resume, 41xx refetch, 42xx log in again, 43xx do not come back.
type CloseCode uint16

// The close codes of the native protocol, described in docs/protocol.md.
const (
	Bye             CloseCode = 1000
	GoingAway       CloseCode = 4000
	Silent          CloseCode = 4001
	Overloaded      CloseCode = 4002
	SlowConsumer    CloseCode = 4008
	SessionReplaced CloseCode = 4100
	TokenExpired    CloseCode = 4200
	LoginRefused    CloseCode = 4201
	LoginTimeout    CloseCode = 4202
	Malformed       CloseCode = 4300
	Protocol        CloseCode = 4301
	Terminated      CloseCode = 4302
)

// String is the reason that travels with the code, and the label in metrics.
func (c CloseCode) String() string {
	switch c {
	case Bye:
		return "bye"
	case GoingAway:
		return "going_away"
	case Silent:
		return "silent"
	case Overloaded:
		return "overloaded"
	case SlowConsumer:
		return "slow_consumer"
	case SessionReplaced:
		return "session_replaced"
	case TokenExpired:
		return "token_expired"
	case LoginRefused:
		return "login_refused"
	case LoginTimeout:
		return "login_timeout"
	case Malformed:
		return "malformed"
	case Protocol:
		return "protocol"
	case Terminated:
		return "terminated"
	}
	return fmt.Sprintf("code_%d", uint16(c))
}
