package ingest

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/store"
)

// metrics counts messages, samples and transactions.
type metrics struct {
	messages *prometheus.CounterVec // by source
	readings *prometheus.CounterVec // by outcome
	rejected *prometheus.CounterVec // by reason and gateway
	gateways gatewayLabels
	batch    prometheus.Histogram
	seconds  prometheus.Histogram
	retries  prometheus.Counter
	split    prometheus.Counter
}

var allOutcomes = [...]store.Outcome{store.Stored, store.Duplicate, store.Conflict, store.Rejected}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_ingest_messages_total",
			Help: "Messages and bulk writes whose outcome is committed, by source.",
		}, []string{"source"}),
		readings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_ingest_readings_total",
			Help: "Readings by outcome: stored, duplicate, conflict or rejected.",
		}, []string{"outcome"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_ingest_rejected_total",
			Help: "Payloads and samples rejected, by reason and gateway id " +
				"(the first 100; then other; none when it is not registered).",
		}, []string{"reason", "gateway"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "oei_ingest_batch_readings",
			Help:    "Readings of one transaction.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 8),
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "oei_ingest_commit_seconds",
			Help:    "Duration of one transaction.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "oei_ingest_retries_total",
			Help: "Transactions that failed and were repeated or split.",
		}),
		split: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "oei_ingest_split_total",
			Help: "Messages split into several transactions because of their alarms.",
		}),
	}
	reg.MustRegister(m.messages, m.readings, m.rejected, m.batch, m.seconds, m.retries, m.split)
	return m
}

func (m *metrics) committed(readings int, took time.Duration) {
	m.batch.Observe(float64(readings))
	m.seconds.Observe(took.Seconds())
}

// count counts the outcomes of entries.
func (m *metrics) count(entries []*entry) {
	var mqtt, http float64
	var outcomes [len(allOutcomes)]float64
	for _, e := range entries {
		if e.byHTTP {
			http++
		} else {
			mqtt++
		}
		if e.reason != "" {
			by, _ := e.publisher(nil)
			m.rejected.WithLabelValues(e.reason, m.gateways.of(by)).Inc()
		}
		for i := range e.samples {
			s := &e.samples[i]
			outcomes[s.outcome]++
			if s.rejection != nil {
				by, _ := e.publisher(s)
				m.rejected.WithLabelValues(s.rejection.reason, m.gateways.of(by)).Inc()
			}
		}
	}
	m.messages.WithLabelValues("mqtt").Add(mqtt)
	m.messages.WithLabelValues("http").Add(http)
	for o, n := range outcomes {
		m.readings.WithLabelValues(allOutcomes[o].String()).Add(n)
	}
}

// maxLabelledGateways is how many gateways have a label of their own.
const maxLabelledGateways = 100

// gatewayLabels labels gateways in metrics, which are public: by id, never by key, and only the
// first ones.
type gatewayLabels struct {
	mu     sync.Mutex
	labels map[int64]string
}

// of returns the label of the gateway id; 0 stands for an unregistered one. It is safe for
// concurrent use.
func (g *gatewayLabels) of(id int64) string {
	if id == 0 {
		return "none"
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	label, known := g.labels[id]
	switch {
	case known:
		return label
	case len(g.labels) == maxLabelledGateways:
		return "other"
	case g.labels == nil:
		g.labels = map[int64]string{}
	}
	label = strconv.FormatInt(id, 10)
	g.labels[id] = label
	return label
}
