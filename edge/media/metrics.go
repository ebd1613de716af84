package media

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	requests *prometheus.CounterVec
	refused  *prometheus.CounterVec
	stages   *prometheus.HistogramVec
	received prometheus.Counter
	sent     prometheus.Counter
	decoding prometheus.Gauge
	damaged  prometheus.Counter
	panics   prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "parley_edge_media_" + name, Help: help})
	}
	m := metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_edge_media_requests_total",
			Help: "Requests to the image service, by operation and status.",
		}, []string{"operation", "status"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "parley_edge_media_refused_total",
			Help: "Requests to the image service that were refused, by error code.",
		}, []string{"code"}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "parley_edge_media_upload_seconds",
			Help:    "Time that uploads spend in each stage: receive, probe, wait, render, store.",
			Buckets: []float64{.001, .005, .025, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120},
		}, []string{"stage"}),
		received: counter("received_bytes_total", "Bytes of uploaded files."),
		sent:     counter("sent_bytes_total", "Bytes of pictures that were sent."),
		decoding: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "parley_edge_media_decoding_bytes", Help: "Memory that the decodes under way have permits for.",
		}),
		damaged: counter("damaged_total", "Pictures whose stored bytes were not those of their name."),
		panics:  counter("panics_total", "Requests that ended in a panic; each is a bug."),
	}
	for _, c := range []prometheus.Collector{m.requests, m.refused, m.stages, m.received, m.sent, m.decoding, m.damaged, m.panics} {
		if err := r.Register(c); err != nil {
			return m, err
		}
	}
	return m, nil
}
