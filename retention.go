package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/store"
)

const (
	retentionFirst = 2 * time.Minute // after the start
	retentionPause = 10 * time.Minute
)

// keepRetention removes readings that are kept no longer, until ctx ends.
func keepRetention(
	ctx context.Context, st *store.Store, log *slog.Logger, reg prometheus.Registerer,
) error {
	partitions := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "oei_retention_partitions_total",
		Help: "Partitions of readings that were dropped.",
	})
	bytes := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "oei_retention_bytes_total",
		Help: "Bytes of the partitions that were dropped.",
	})
	readings := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "oei_retention_readings_total",
		Help: "Readings that were deleted from partitions in which other sensors keep theirs.",
	})
	inUse := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "oei_retention_in_use_total",
		Help: "Drops of a partition that were put off because somebody was at it.",
	})
	reg.MustRegister(partitions, bytes, readings, inUse)
	timer := time.NewTimer(retentionFirst)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		var deleted int64
		began := time.Now()
		err := st.Retain(ctx, began, func(r store.Retired) {
			switch {
			case r.InUse:
				inUse.Inc()
			case r.Dropped:
				partitions.Inc()
				bytes.Add(float64(r.Bytes))
				log.InfoContext(ctx, "a partition was dropped, no sensor keeps anything in it",
					"partition", r.Partition, "bytes", r.Bytes)
			default:
				deleted += r.Readings
				readings.Add(float64(r.Readings))
			}
			timer.Reset(4 * time.Since(began)) // the others are to have most of the database
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			began = time.Now()
		})
		if deleted > 0 {
			log.InfoContext(ctx, "readings were deleted that their sensors keep no longer",
				"readings", deleted)
		}
		if err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "removing what is kept no longer failed, it is tried again",
				"error", err)
		}
		timer.Reset(retentionPause)
	}
}
