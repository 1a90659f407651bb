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
			Help: "Answers that did not have to be made: from memory, from redis, or from a flight, one that was being made for another request.",
		}, []string{"from"}),
		misses: f.NewCounter(prometheus.CounterOpts{
			Name: "oei_cache_misses_total",
			Help: "Answers that had to be made.",
		}),
		bypassed: f.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_cache_bypassed_total",
			Help: "Answers for which the cache was not asked: their range is open, or it is behind and does not know what has changed.",
		}, []string{"reason"}),
		evictions: f.NewCounter(prometheus.CounterOpts{
			Name: "oei_cache_evictions_total",
			Help: "Answers that made room for others in memory.",
		}),
		bytes: f.NewGauge(prometheus.GaugeOpts{
			Name: "oei_cache_bytes",
			Help: "Bytes of answers in memory.",
		}),
	}
	for _, from := range []string{"memory", "redis", "flight"} {
		m.hits.WithLabelValues(from)
	}
	for _, reason := range []string{open, behind} {
		m.bypassed.WithLabelValues(reason)
	}
	return m
}
