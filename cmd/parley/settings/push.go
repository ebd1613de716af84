package settings

import (
	"errors"
	"fmt"

	"parley/actors/push"
	"parley/actors/push/apns"
	"parley/actors/push/fcm"
	"parley/actors/push/webpush"
	eventv1 "parley/proto/event/v1"
)

// Push is where the providers of notifications are. The addresses are the operator's alone: a
// credential that an application uploads cannot send the node anywhere else.
type Push struct {
	FCMURL         string   `koanf:"push-fcm-url"`
	FCMTokenURL    string   `koanf:"push-fcm-token-url"`
	APNSURL        string   `koanf:"push-apns-url"`
	APNSSandboxURL string   `koanf:"push-apns-sandbox-url"`
	WebHosts       []string `koanf:"push-web-hosts"` // push services that browsers' subscriptions may name
}

func defaultPush() Push {
	f, a, w := fcm.DefaultOptions(), apns.DefaultOptions(), webpush.DefaultOptions()
	return Push{FCMURL: f.URL, FCMTokenURL: f.TokenURL, APNSURL: a.URL, APNSSandboxURL: a.SandboxURL, WebHosts: w.Hosts}
}

func (p Push) options() (fcm.Options, apns.Options, webpush.Options) {
	f, a, w := fcm.DefaultOptions(), apns.DefaultOptions(), webpush.DefaultOptions()
	f.URL, f.TokenURL, a.URL, a.SandboxURL, w.Hosts = p.FCMURL, p.FCMTokenURL, p.APNSURL, p.APNSSandboxURL, p.WebHosts
	return f, a, w
}

// validate says what is wrong, by the names the operator typed.
func (p Push) validate() error {
	f, a, w := p.options()
	var errs []error
	for _, check := range []struct {
		names string
		err   error
	}{
		{"push-fcm-url, push-fcm-token-url", f.Validate()}, {"push-apns-url, push-apns-sandbox-url", a.Validate()}, {"push-web-hosts", w.Validate()},
	} {
		if check.err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", check.names, check.err))
		}
	}
	return errors.Join(errs...)
}

// Senders connects the providers.
func (p Push) Senders() (map[eventv1.Platform]push.Sender, error) {
	f, a, w := p.options()
	android, err := fcm.New(f)
	if err != nil {
		return nil, err
	}
	ios, err := apns.New(a)
	if err != nil {
		return nil, err
	}
	web, err := webpush.New(w)
	if err != nil {
		return nil, err
	}
	return map[eventv1.Platform]push.Sender{
		eventv1.Platform_PLATFORM_ANDROID: android, eventv1.Platform_PLATFORM_IOS: ios, eventv1.Platform_PLATFORM_WEB: web,
	}, nil
}
