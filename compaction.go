package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/store"
)

const (
	compactFirst = 30 * time.Second // after the start
	compactPause = 10 * time.Minute
	// mergeRest and compactRest are how many times as long as a step took the next one waits, for
	// others to have the database. Long queries are slow until thousands of partitions are merged.
	mergeRest   = 1
	compactRest = 4
)

// keepCompact merges small partitions that are over, and gives back the room that closed ones need
// not take, until ctx ends.
func keepCompact(
	ctx context.Context, st *store.Store, log *slog.Logger, reg prometheus.Registerer,
) error {
	merged := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "oei_merge_partitions_total",
		Help: "Partitions of readings that were merged into others.",
	})
	partitions := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "oei_compaction_partitions_total",
		Help: "Closed partitions of readings whose keys were built anew.",
	})
	bytes := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "oei_compaction_freed_bytes_total",
		Help: "Bytes that their keys take less since.",
	})
	seconds := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "oei_compaction_seconds_total",
		Help: "Seconds that merging and building keys took, waiting for others included.",
	})
	inUse := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "oei_compaction_in_use_total",
		Help: "Partitions that were put off because others used them.",
	})
	reg.MustRegister(merged, partitions, bytes, seconds, inUse)
	timer := time.NewTimer(compactFirst)
	defer timer.Stop()
	var began time.Time
	step := func(rest time.Duration, f func(took time.Duration)) {
		took := time.Since(began)
		seconds.Add(took.Seconds())
		f(took)
		timer.Reset(rest * took)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		began = time.Now()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		began = time.Now()
		err := st.Merge(ctx, began, func(m store.Merged) {
			step(mergeRest, func(took time.Duration) {
				if m.InUse {
					inUse.Inc()
					return
				}
				merged.Add(float64(m.Count))
				log.InfoContext(ctx, "partitions merged", "partition", m.Partition, "merged",
					m.Count, "bytes", m.Bytes, "took", took.Round(time.Millisecond))
			})
		})
		if err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "merging partitions failed, retrying later", "error", err)
		}
		began = time.Now()
		err = st.Compact(ctx, began, func(c store.Compacted) {
			step(compactRest, func(took time.Duration) {
				if c.InUse {
					inUse.Inc()
					return
				}
				partitions.Inc()
				bytes.Add(float64(max(c.Before-c.After, 0)))
				log.InfoContext(ctx, "partition compacted", "partition", c.Partition, "freed_bytes",
					c.Before-c.After, "took", took.Round(time.Millisecond))
			})
		})
		if err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "compaction failed, it is tried again", "error", err)
		}
		timer.Reset(compactPause)
	}
}
