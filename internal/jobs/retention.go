package jobs

import (
	"context"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

const (
	firstRetention = 2 * time.Minute // after the start
	retentionPause = 10 * time.Minute
)

// Retention removes expired readings: a partition at once where no sensor keeps any of it, else
// reading by reading.
func (j *Jobs) Retention(ctx context.Context) error {
	partitions := j.counter("oei_retention_partitions_total",
		"Partitions of readings that were dropped.")
	bytes := j.counter("oei_retention_bytes_total", "Bytes of the partitions that were dropped.")
	readings := j.counter("oei_retention_readings_total",
		"Readings that were deleted from partitions in which other sensors keep theirs.")
	inUse := j.counter("oei_retention_in_use_total",
		"Drops of a partition that were postponed because it was in use.")
	return j.loop(ctx, "retention", firstRetention,
		func(ctx context.Context) (time.Duration, error) {
			var deleted int64
			began := time.Now()
			err := j.store.EnforceRetention(ctx, began, func(r store.RetentionStep) {
				switch {
				case r.InUse:
					inUse.Inc()
				case r.Dropped:
					partitions.Inc()
					bytes.Add(float64(r.Bytes))
					j.log.InfoContext(ctx, "expired partition dropped",
						"partition", r.Partition, "bytes", r.Bytes)
				default:
					deleted += r.Readings
					readings.Add(float64(r.Readings))
				}
				sleep(ctx, restAfter(time.Since(began)))
				began = time.Now()
			})
			if deleted > 0 {
				j.log.InfoContext(ctx, "expired readings deleted", "readings", deleted)
			}
			return retentionPause, err
		})
}
