package driver

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"parley/actors/placement"
	eventv1 "parley/proto/event/v1"
)

// metrics are of the node's driver. What they say of the cluster only the one node shows that drives, so
// that a sum over all nodes is the truth.
type metrics struct {
	steps           *prometheus.CounterVec
	underReplicated *prometheus.GaugeVec
	leaderless      *prometheus.GaugeVec
	waiting         *prometheus.GaugeVec
	tolerated       *prometheus.GaugeVec
	version         *prometheus.GaugeVec
	members         *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	m := &metrics{
		steps: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "parley_placement_steps_total",
			Help: "Steps of the placement driver by kind and outcome."}, []string{"kind", "outcome"}),
		underReplicated: gauge("parley_placement_under_replicated_shards",
			"Shards with fewer caught-up voters on live nodes than there could be. Shown by the node that drives."),
		leaderless: gauge("parley_placement_leaderless_shards", "Shards for which no leader answered. Shown by the node that drives."),
		waiting: gauge("parley_placement_waiting_for_space_shards",
			"Shards that lack a replica because every disk that could take it is full. Shown by the node that drives."),
		tolerated: gauge("parley_placement_failures_tolerated",
			"Nodes that may fail at once without a shard losing its quorum. Shown by the node that drives."),
		version: gauge("parley_placement_cluster_version", "Version that every member speaks. Shown by the node that drives."),
		members: gauge("parley_placement_members", "Members of the cluster by state. Shown by the node that drives.", "state"),
	}
	if r == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.steps, m.underReplicated, m.leaderless, m.waiting, m.tolerated, m.version, m.members} {
		errs = append(errs, r.Register(c))
	}
	return m, errors.Join(errs...)
}

// memberStates are those of a member; one in none of them is shown as 0, so that a scrape never meets a gap.
var memberStates = []eventv1.StoreState{
	eventv1.StoreState_STORE_STATE_UP, eventv1.StoreState_STORE_STATE_DRAINING, eventv1.StoreState_STORE_STATE_REMOVING,
}

// show tells how the cluster fares.
func (m *metrics) show(p *Picture) {
	m.underReplicated.WithLabelValues().Set(float64(p.View.UnderReplicated()))
	m.leaderless.WithLabelValues().Set(float64(len(p.Maps) - len(p.Seen)))
	m.waiting.WithLabelValues().Set(float64(p.View.Cramped()))
	m.tolerated.WithLabelValues().Set(float64(p.View.Tolerated()))
	m.version.WithLabelValues().Set(float64(p.Version))
	count := map[eventv1.StoreState]int{}
	for _, s := range p.Members() {
		count[s.State]++
	}
	for _, state := range memberStates {
		m.members.WithLabelValues(placement.StateName(state)).Set(float64(count[state]))
	}
}

// hide leaves that to another node.
func (m *metrics) hide() {
	for _, g := range []*prometheus.GaugeVec{m.underReplicated, m.leaderless, m.waiting, m.tolerated, m.version, m.members} {
		g.Reset()
	}
}
