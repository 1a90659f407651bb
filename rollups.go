package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/configs"
	"github.com/oei-ms/oei-ms/internal/cache"
	"github.com/oei-ms/oei-ms/store"
)

const (
	rollupPause = 2 * time.Second // between passes that leave nothing to do
	// is what a pass should take: ingest and the API want the processors too
	rollupPass = 300 * time.Millisecond
	mostRolled = 4096 // hours in a pass
)

// newCache is nil when no answers are kept. Without rollups, whose marks tell when readings change,
// none are.
func newCache(
	cfg *configs.Config, st *store.Store, log *slog.Logger, reg prometheus.Registerer,
) (*cache.Cache, error) {
	if cfg.Cache.Bytes == 0 || !cfg.Store.Rollups {
		return nil, nil
	}
	return cache.New(cfg.Cache, cfg.Server.RedisURL, st.Changes, log, reg)
}

// keepRollups rolls up what has changed, until ctx ends.
func keepRollups(
	ctx context.Context, st *store.Store, log *slog.Logger, reg prometheus.Registerer,
) error {
	rolled := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "oei_rollup_hours_total",
		Help: "Hours of single sensors that were rolled up.",
	})
	marks := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "oei_rollup_marks",
		Help: "Transactions of ingest that rollups have not looked at yet.",
	})
	hours := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "oei_rollup_waiting_hours",
		Help: "Hours of single sensors that are over and not rolled up yet.",
	})
	reg.MustRegister(rolled, marks, hours)
	size := 64
	pause := time.NewTimer(rollupPause)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		began := time.Now()
		n, more, err := st.RollUp(ctx, size)
		took := time.Since(began)
		rolled.Add(float64(n))
		switch {
		case err != nil:
			if ctx.Err() == nil {
				log.WarnContext(ctx,
					"rolling up failed, it is tried again; answers are made of readings until then",
					"error", err)
			}
			size = max(size/4, 1)
			pause.Reset(5 * rollupPause)
			continue
		case took > rollupPass:
			size = max(size/2, 1)
		case n == size:
			size = min(size*2, mostRolled)
		}
		if more {
			pause.Reset(4 * took) // the others are to have most of the database
			continue
		}
		if m, h, err := st.RollupLag(ctx); err == nil {
			marks.Set(float64(m))
			hours.Set(float64(h))
		}
		pause.Reset(rollupPause)
	}
}
