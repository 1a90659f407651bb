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
	for _, o := range []store.Outcome{store.Stored, store.Duplicate, store.Conflict, store.Rejected} {
		m.readings.WithLabelValues(o.String())
	}
	return m
}

func (m *metrics) committed(readings int, took time.Duration) {
	m.batch.Observe(float64(readings))
	m.seconds.Observe(took.Seconds())
}

func (m *metrics) count(j *job) {
	source := "mqtt"
	if j.byHTTP {
		source = "http"
	}
	m.messages.WithLabelValues(source).Inc()
	if j.reason != "" {
		m.refused.WithLabelValues(j.reason).Inc()
	}
	for _, r := range j.results {
		m.readings.WithLabelValues(r.Outcome.String()).Inc()
		if r.Outcome == store.Rejected || r.Outcome == store.Conflict {
			m.refused.WithLabelValues(r.Reason).Inc()
		}
	}
}
