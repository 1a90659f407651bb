package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oei-ms/oei-ms/store"
)

const (
	compactFirst = 3 * time.Minute // after the start
	compactPause = 10 * time.Minute
)

// keepCompact gives back the room that closed partitions need not take, until ctx ends.
func keepCompact(ctx context.Context, st *store.Store, log *slog.Logger, reg prometheus.Registerer) error {
	partitions := prometheus.NewCounter(prometheus.CounterOpts{Name: "oei_compaction_partitions_total", Help: "Closed partitions of readings whose keys were built anew."})
	bytes := prometheus.NewCounter(prometheus.CounterOpts{Name: "oei_compaction_freed_bytes_total", Help: "Bytes that their keys take less since."})
	seconds := prometheus.NewCounter(prometheus.CounterOpts{Name: "oei_compaction_seconds_total", Help: "Seconds that building them took, waiting for others included."})
	inUse := prometheus.NewCounter(prometheus.CounterOpts{Name: "oei_compaction_in_use_total", Help: "Keys whose building was put off because somebody was in the way."})
	reg.MustRegister(partitions, bytes, seconds, inUse)
	timer := time.NewTimer(compactFirst)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		began := time.Now()
		err := st.Compact(ctx, began, func(c store.Compacted) {
			took := time.Since(began)
			seconds.Add(took.Seconds())
			if c.InUse {
				inUse.Inc()
			} else {
				partitions.Inc()
				bytes.Add(float64(max(c.Before-c.After, 0)))
				log.InfoContext(ctx, "a closed partition takes less room", "partition", c.Partition, "freed_bytes", c.Before-c.After, "took", took.Round(time.Millisecond))
			}
			timer.Reset(4 * took) // the others are to have most of the database
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			began = time.Now()
		})
		if err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "compaction failed, it is tried again", "error", err)
		}
		timer.Reset(compactPause)
	}
}
