// Package jobs holds the background jobs of an instance: each is a method that runs until its
// context ends, and decides when its work is due. What the work is stands in store. A job never
// serves requests, and internal/app is the one that runs them.
package jobs

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/store"
)

// Jobs are the background jobs that share a store.
type Jobs struct {
	store    *store.Store
	log      *slog.Logger
	registry prometheus.Registerer
	failures *prometheus.CounterVec
}

// New returns jobs that log to log and register their metrics with registry when they run.
func New(st *store.Store, log *slog.Logger, registry prometheus.Registerer) *Jobs {
	j := &Jobs{
		store:    st,
		log:      log,
		registry: registry,
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oei_job_failures_total",
			Help: "Passes of background jobs that failed and are retried, by job.",
		}, []string{"job"}),
	}
	registry.MustRegister(j.failures)
	return j
}

// counter returns a registered counter.
func (j *Jobs) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	j.registry.MustRegister(c)
	return c
}

// gauge returns a registered gauge.
func (j *Jobs) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	j.registry.MustRegister(g)
	return g
}
