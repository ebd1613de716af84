package push

import "github.com/prometheus/client_golang/prometheus"

// Outcomes of a notification beside the verdicts of package delivery.
const (
	outcomeSent = "sent"
	// outcomeUnreadable is an event that has no form in which it fits.
	outcomeUnreadable = "unrenderable"
)

// Reasons for which a row tells nobody.
const (
	dropExpired = "expired" // it waited too long
	dropGone    = "gone"    // the event, the conversation or the application is no more
)

type metrics struct {
	notifications *prometheus.CounterVec
	dropped       *prometheus.CounterVec
	forgotten     prometheus.Counter
	givenUp       prometheus.Counter
	busy          prometheus.Counter
	seconds       prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		notifications: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_push_notifications_total",
			Help: "Attempts to bring a notification to a device, by platform and outcome; retry comes again.",
		}, []string{"platform", "outcome"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_push_rows_dropped_total",
			Help: "Events that no device was told of because of their age, or because they are gone.",
		}, []string{"reason"}),
		forgotten: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_push_devices_forgotten_total",
			Help: "Devices that were removed because their provider does not know them any more.",
		}),
		givenUp: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_push_devices_given_up_total",
			Help: "Devices that were not told of an event because they could not be reached for too long.",
		}),
		busy: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "parley_push_rows_deferred_total",
			Help: "Rows that were put off because as many as may be were being worked on.",
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "parley_push_send_seconds",
			Help:    "Time that a provider takes to answer.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.notifications, m.dropped, m.forgotten, m.givenUp, m.busy, m.seconds} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
