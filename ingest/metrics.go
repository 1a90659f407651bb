package ingest

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/store"
)

// metrics counts what came and what became of it.
type metrics struct {
	messages *prometheus.CounterVec // by source
	readings *prometheus.CounterVec // by outcome
	refused  *prometheus.CounterVec // by reason and gateway
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
			Help: "Messages and bulk writes whose fate is committed, by source.",
		}, []string{"source"}),
		readings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_ingest_readings_total",
			Help: "Readings by outcome: stored, duplicate, conflict or rejected.",
		}, []string{"outcome"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_ingest_refused_total",
			Help: "Payloads and samples refused, by reason and gateway: its id, of the first 100, else other; none when it is not registered.",
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
			Help: "Transactions that failed and were tried again, or in parts.",
		}),
		split: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "oei_ingest_split_total",
			Help: "Messages committed in several transactions, since their alarms take too much for one.",
		}),
	}
	reg.MustRegister(m.messages, m.readings, m.refused, m.batch, m.seconds, m.retries, m.split)
	return m
}

func (m *metrics) committed(readings int, took time.Duration) {
	m.batch.Observe(float64(readings))
	m.seconds.Observe(took.Seconds())
}

// count counts what became of jobs.
func (m *metrics) count(jobs []*job) {
	var mqtt, http float64
	var outcomes [len(allOutcomes)]float64
	for _, j := range jobs {
		if j.byHTTP {
			http++
		} else {
			mqtt++
		}
		if j.reason != "" {
			by, _ := j.publisher(nil)
			m.refused.WithLabelValues(j.reason, m.gateways.of(by)).Inc()
		}
		for i := range j.samples {
			s := &j.samples[i]
			outcomes[s.outcome]++
			if s.refused != nil {
				by, _ := j.publisher(s)
				m.refused.WithLabelValues(s.refused.reason, m.gateways.of(by)).Inc()
			}
		}
	}
	m.messages.WithLabelValues("mqtt").Add(mqtt)
	m.messages.WithLabelValues("http").Add(http)
	for o, n := range outcomes {
		m.readings.WithLabelValues(allOutcomes[o].String()).Add(n)
	}
}

// labelledGateways is how many gateways are counted apart.
const labelledGateways = 100

// gatewayLabels names gateways in metrics, which anybody may read: by id, never by key, and only
// the first that come.
type gatewayLabels struct {
	mu     sync.Mutex
	labels map[int64]string
}

// of returns the label of the gateway id; 0 is one that is not registered. It is safe for
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
	case len(g.labels) == labelledGateways:
		return "other"
	case g.labels == nil:
		g.labels = map[int64]string{}
	}
	label = strconv.FormatInt(id, 10)
	g.labels[id] = label
	return label
}
