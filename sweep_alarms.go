package main

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// sweepInterval is how often alarms are swept.
const sweepInterval = 200 * time.Millisecond

// sweepAlarms fires what alarms wait for, as soon as it is due. It runs while readings are taken,
// and says so: time in which they are not does not count as silence.
func sweepAlarms(ctx context.Context, st *store.Store, log *slog.Logger) error {
	var beat atomic.Int64 // the last, in Unix nanoseconds
	var beats sync.WaitGroup
	defer beats.Wait()
	beats.Go(func() {
		every(ctx, store.IngestBeat, func(now time.Time) error {
			err := st.BeatIngest(ctx, now)
			if err == nil {
				beat.Store(now.UnixNano())
			}
			return err
		}, func(err error) { log.WarnContext(ctx, "ingest beat failed, retrying", "error", err) })
	})
	every(ctx, sweepInterval, func(now time.Time) error {
		if now.Sub(time.Unix(0, beat.Load())) > store.MaxBeatPause {
			return nil // it is not known yet what was missed
		}
		_, err := st.SweepAlarms(ctx, now)
		return err
	}, func(err error) { log.WarnContext(ctx, "alarm sweep failed, retrying", "error", err) })
	return nil
}

// every calls f again and again until ctx ends, and failed with the first of failures that follow
// each other.
func every(
	ctx context.Context, interval time.Duration, f func(now time.Time) error, failed func(error),
) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	failing := false
	for {
		err := f(time.Now())
		if err != nil && ctx.Err() == nil && !failing {
			failed(err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
