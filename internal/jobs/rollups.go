package jobs

import (
	"context"
	"time"
)

const (
	rollupPause = 2 * time.Second  // between passes that leave nothing to do
	rollupRetry = 10 * time.Second // after a failure
	// of a pass: ingest and the API need the processors too
	targetRollupTime = 300 * time.Millisecond
	firstRollupSize  = 64 // hours of single sensors in a pass
	maxRollupSize    = 4096
)

// Rollups keeps the rollups equal to the readings. Until it has caught up, answers are made from
// readings.
func (j *Jobs) Rollups(ctx context.Context) error {
	rolled := j.counter("oei_rollup_hours_total", "Hours of single sensors that were rolled up.")
	marks := j.gauge("oei_rollup_marks",
		"Ingest transactions whose rollup marks are not processed yet.")
	hours := j.gauge("oei_rollup_waiting_hours",
		"Hours of single sensors that are over and not rolled up yet.")
	size := firstRollupSize
	return j.loop(ctx, "rollups", rollupPause, func(ctx context.Context) (time.Duration, error) {
		began := time.Now()
		n, more, err := j.store.RollUp(ctx, size)
		took := time.Since(began)
		rolled.Add(float64(n))
		switch {
		case err != nil:
			size = max(size/4, 1)
			return rollupRetry, err
		case took > targetRollupTime:
			size = max(size/2, 1)
		case n == size:
			size = min(size*2, maxRollupSize)
		}
		if more {
			return restAfter(took), nil
		}
		if m, h, err := j.store.RollupLag(ctx); err == nil {
			marks.Set(float64(m))
			hours.Set(float64(h))
		}
		return rollupPause, nil
	})
}

// restAfter is how long a job rests after work that took so long: a fifth of the database is enough
// for it.
func restAfter(took time.Duration) time.Duration { return 4 * took }
