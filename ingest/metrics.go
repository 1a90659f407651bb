package ingest

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/store"
)

// metrics counts what came and what became of it.
type metrics struct {
	messages *prometheus.CounterVec // by source
	readings *prometheus.CounterVec // by outcome
	refused  *prometheus.CounterVec // by reason
	batch    prometheus.Histogram
	seconds  prometheus.Histogram
	retries  prometheus.Counter
}

var allOutcomes = [...]store.Outcome{store.Stored, store.Duplicate, store.Conflict, store.Rejected}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_ingest_messages_total", Help: "Messages and bulk writes whose fate is committed, by source.",
		}, []string{"source"}),
		readings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_ingest_readings_total", Help: "Readings by outcome: stored, duplicate, conflict or rejected.",
		}, []string{"outcome"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_ingest_refused_total", Help: "Payloads and samples refused and recorded, by reason.",
		}, []string{"reason"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "oei_ingest_batch_readings", Help: "Readings of one transaction.", Buckets: prometheus.ExponentialBuckets(1, 4, 8),
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "oei_ingest_commit_seconds", Help: "Duration of one transaction.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 15),
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "oei_ingest_retries_total", Help: "Transactions that failed and were tried again.",
		}),
	}
	reg.MustRegister(m.messages, m.readings, m.refused, m.batch, m.seconds, m.retries)
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
			m.refused.WithLabelValues(j.reason).Inc()
		}
		for i := range j.samples {
			s := &j.samples[i]
			outcomes[s.outcome]++
			if s.refused != nil {
				m.refused.WithLabelValues(s.refused.reason).Inc()
			}
		}
	}
	m.messages.WithLabelValues("mqtt").Add(mqtt)
	m.messages.WithLabelValues("http").Add(http)
	for o, n := range outcomes {
		m.readings.WithLabelValues(allOutcomes[o].String()).Add(n)
	}
}
