package store

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the store's; every one but noSpace has the label pebble: log or state.
type metrics struct {
	registerer prometheus.Registerer // nil: nothing is registered
	registered []prometheus.Collector

	syncSeconds       *prometheus.HistogramVec
	flushSeconds      *prometheus.HistogramVec
	compactionSeconds *prometheus.HistogramVec
	flushBytes        *prometheus.CounterVec
	diskSlow          *prometheus.CounterVec
	stalls            *prometheus.CounterVec
	stallSeconds      *prometheus.CounterVec
	backgroundErrors  *prometheus.CounterVec
	damaged           *prometheus.CounterVec
	noSpace           prometheus.Counter // of the whole store
}

// halfMetrics are the metrics of one Pebble that its events feed.
type halfMetrics struct {
	flushSeconds, compactionSeconds prometheus.Observer
	flushBytes, diskSlow            prometheus.Counter
	stalls, stallSeconds            prometheus.Counter
	backgroundErrors                prometheus.Counter
}

const metricPrefix = "parley_persistence_"

func counter(name, help string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: metricPrefix + name, Help: help}, []string{"pebble"})
}

// histogram has buckets from 100 microseconds to 26 seconds: an NVMe sync to a stalled disk.
func histogram(name, help string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: metricPrefix + name, Help: help, Buckets: prometheus.ExponentialBuckets(0.0001, 2, 19),
	}, []string{"pebble"})
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		registerer:        r,
		syncSeconds:       histogram("sync_seconds", "Duration of file and directory syncs."),
		flushSeconds:      histogram("flush_seconds", "Duration of memtable flushes."),
		compactionSeconds: histogram("compaction_seconds", "Duration of compactions."),
		flushBytes:        counter("flush_bytes_total", "Bytes of memtables flushed."),
		diskSlow:          counter("disk_slow_total", "Disk operations that took longer than five seconds."),
		stalls:            counter("write_stalls_total", "Times that writes had to wait for flushes or compactions."),
		stallSeconds:      counter("write_stall_seconds_total", "Time during which writes were stalled."),
		backgroundErrors:  counter("background_errors_total", "Flushes and compactions that failed."),
		damaged:           counter("damaged_total", "Stores found damaged; any is an alarm."),
		noSpace: prometheus.NewCounter(prometheus.CounterOpts{
			Name: metricPrefix + "no_space_total", Help: "Writes that found no space on the device; they wait or are tried again.",
		}),
	}
	for _, c := range []prometheus.Collector{m.syncSeconds, m.flushSeconds, m.compactionSeconds, m.flushBytes,
		m.diskSlow, m.stalls, m.stallSeconds, m.backgroundErrors, m.damaged, m.noSpace} {
		if err := m.register(c); err != nil {
			m.unwatch()
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) register(c prometheus.Collector) error {
	if m.registerer == nil {
		return nil
	}
	if err := m.registerer.Register(c); err != nil {
		return err
	}
	m.registered = append(m.registered, c)
	return nil
}

// watch adds the gauges that are read from the Pebbles at each scrape.
func (m *metrics) watch(s *Store) error { return m.register(&gauges{store: s}) }

// unwatch takes everything back, so that a store may be opened again in the same process.
func (m *metrics) unwatch() {
	for _, c := range m.registered {
		m.registerer.Unregister(c)
	}
	m.registered = nil
}

func (m *metrics) of(name string) halfMetrics {
	return halfMetrics{
		flushSeconds:      m.flushSeconds.WithLabelValues(name),
		compactionSeconds: m.compactionSeconds.WithLabelValues(name),
		flushBytes:        m.flushBytes.WithLabelValues(name),
		diskSlow:          m.diskSlow.WithLabelValues(name),
		stalls:            m.stalls.WithLabelValues(name),
		stallSeconds:      m.stallSeconds.WithLabelValues(name),
		backgroundErrors:  m.backgroundErrors.WithLabelValues(name),
	}
}

// gauges read both Pebbles when they are scraped.
type gauges struct{ store *Store }

// gauge is one number of a Pebble.
type gauge struct {
	name, help string
	read       func(*pebble.Metrics) float64
}

// gaugesRead is the table of what is read; it is constant.
var gaugesRead = []gauge{
	{"disk_bytes", "Bytes on disk.", func(m *pebble.Metrics) float64 { return float64(m.DiskSpaceUsage()) }},
	{"memtable_bytes", "Bytes allocated for memtables.", func(m *pebble.Metrics) float64 {
		return float64(m.MemTable.Size + m.MemTable.ZombieSize) // one that was flushed is kept for the next
	}},
	{"compaction_debt_bytes", "Estimate of bytes to compact.", func(m *pebble.Metrics) float64 { return float64(m.Compact.EstimatedDebt) }},
	{"read_amplification_tables", "Tables that a read may have to visit.", func(m *pebble.Metrics) float64 { return float64(m.ReadAmp()) }},
	{"tables", "Table files.", func(m *pebble.Metrics) float64 { return float64(m.Total().TablesCount) }},
	{"cache_bytes", "Bytes in the block cache that both Pebbles share.", func(m *pebble.Metrics) float64 { return float64(m.BlockCache.Size) }},
}

func (g gauge) describe() *prometheus.Desc {
	return prometheus.NewDesc(metricPrefix+g.name, g.help, []string{"pebble"}, nil)
}

// The volume is what both Pebbles stand on, and what fills up; these are constant.
var (
	volumeFree = prometheus.NewDesc(metricPrefix+"volume_free_bytes", "Bytes that the store may still take of its file system.", nil, nil)
	volumeSize = prometheus.NewDesc(metricPrefix+"volume_size_bytes", "Size of the file system that holds the store.", nil, nil)
	storeFull  = prometheus.NewDesc(metricPrefix+"full", "1 while the store takes on nothing new because its disk is full.", nil, nil)
)

// Describe implements prometheus.Collector.
func (g *gauges) Describe(out chan<- *prometheus.Desc) {
	for _, one := range gaugesRead {
		out <- one.describe()
	}
	out <- volumeFree
	out <- volumeSize
	out <- storeFull
}

// Collect implements prometheus.Collector. A scrape that meets a closed store gives nothing.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	if errors.Is(g.store.gate.enter(), ErrClosed) {
		return
	}
	defer g.store.gate.leave()
	for name, db := range map[string]*pebble.DB{dirLog: g.store.log.db, dirState: g.store.state.db} {
		read := db.Metrics()
		for _, one := range gaugesRead {
			out <- prometheus.MustNewConstMetric(one.describe(), prometheus.GaugeValue, one.read(read), name)
		}
	}
	full := 0.0
	if g.store.room.full() {
		full = 1
	}
	out <- prometheus.MustNewConstMetric(storeFull, prometheus.GaugeValue, full)
	usage, err := g.store.fs.GetDiskUsage(g.store.dir)
	if err != nil {
		return // a file system in memory has no size, and a scrape has nobody to tell
	}
	out <- prometheus.MustNewConstMetric(volumeFree, prometheus.GaugeValue, float64(usage.AvailBytes))
	out <- prometheus.MustNewConstMetric(volumeSize, prometheus.GaugeValue, float64(usage.TotalBytes))
}
