package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/store"
)

const (
	firstMaintenance = 30 * time.Second // after the start
	maintenancePause = 10 * time.Minute
)

// maintenance counts what one pass over the partitions has done.
type maintenance struct {
	merged, reindexed, freed, seconds, inUse prometheus.Counter
}

// Maintenance merges small closed partitions, and rebuilds the primary keys of others with full
// pages.
func (j *Jobs) Maintenance(ctx context.Context) error {
	c := maintenance{
		merged: j.counter("oei_maintenance_merged_partitions_total",
			"Partitions of readings that were merged into others."),
		reindexed: j.counter("oei_maintenance_reindexed_partitions_total",
			"Closed partitions of readings whose primary key was rebuilt."),
		freed: j.counter("oei_maintenance_freed_bytes_total",
			"Bytes that rebuilding primary keys has freed."),
		seconds: j.counter("oei_maintenance_seconds_total",
			"Seconds that merging and rebuilding took, waiting for locks included."),
		inUse: j.counter("oei_maintenance_postponed_total",
			"Partitions whose merge or rebuild was postponed because they were in use."),
	}
	return j.loop(ctx, "partition maintenance", firstMaintenance,
		func(ctx context.Context) (time.Duration, error) {
			var errs []error
			if err := j.merge(ctx, c); err != nil {
				errs = append(errs, fmt.Errorf("merge partitions: %w", err))
			}
			if err := j.reindex(ctx, c); err != nil {
				errs = append(errs, fmt.Errorf("rebuild primary keys: %w", err))
			}
			return maintenancePause, errors.Join(errs...)
		})
}

// merge rests for as long as each merge took: long queries are slow until thousands of partitions
// are merged.
func (j *Jobs) merge(ctx context.Context, c maintenance) error {
	began := time.Now()
	return j.store.MergePartitions(ctx, began, func(m store.MergedPartitions) {
		took := time.Since(began)
		c.seconds.Add(took.Seconds())
		if m.InUse {
			c.inUse.Inc()
		} else {
			c.merged.Add(float64(m.Count))
			j.log.InfoContext(ctx, "partitions merged", "partition", m.Partition,
				"merged", m.Count, "bytes", m.Bytes, "took", took.Round(time.Millisecond))
		}
		sleep(ctx, took)
		began = time.Now()
	})
}

func (j *Jobs) reindex(ctx context.Context, c maintenance) error {
	began := time.Now()
	return j.store.ReindexClosed(ctx, began, func(r store.Reindexed) {
		took := time.Since(began)
		c.seconds.Add(took.Seconds())
		if r.InUse {
			c.inUse.Inc()
		} else {
			c.reindexed.Inc()
			c.freed.Add(float64(max(r.Before-r.After, 0)))
			j.log.InfoContext(ctx, "partition reindexed", "partition", r.Partition,
				"freed_bytes", r.Before-r.After, "took", took.Round(time.Millisecond))
		}
		sleep(ctx, restAfter(took))
		began = time.Now()
	})
}
