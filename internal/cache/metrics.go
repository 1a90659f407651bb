package cache

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	hits      *prometheus.CounterVec
	misses    prometheus.Counter
	bypassed  *prometheus.CounterVec
	evictions prometheus.Counter
	bytes     prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		hits: f.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_cache_hits_total",
			Help: "Answers from the cache: from memory, from redis, or from a flight, " +
				"which is a computation shared with another request.",
		}, []string{"from"}),
		misses: f.NewCounter(prometheus.CounterOpts{
			Name: "oei_cache_misses_total",
			Help: "Answers that were computed because the cache did not hold them.",
		}),
		bypassed: f.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_cache_bypassed_total",
			Help: "Answers computed without the cache: their range is open, " +
				"or the cache is behind and does not know the last changes.",
		}, []string{"reason"}),
		evictions: f.NewCounter(prometheus.CounterOpts{
			Name: "oei_cache_evictions_total",
			Help: "Answers removed from memory to make room for others.",
		}),
		bytes: f.NewGauge(prometheus.GaugeOpts{
			Name: "oei_cache_bytes",
			Help: "Bytes of answers in memory.",
		}),
	}
	for _, from := range []string{"memory", "redis", "flight"} {
		m.hits.WithLabelValues(from)
	}
	for _, reason := range []string{reasonOpen, reasonBehind} {
		m.bypassed.WithLabelValues(reason)
	}
	return m
}
