package jobs

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oei-ms/oei-ms/store"
)

// sweepInterval is how often alarm timers that are due are fired.
const sweepInterval = 200 * time.Millisecond

// Alarms fires the timers of alarms as soon as they are due. It runs while readings are taken, and
// records that they are: time in which they are not does not count as silence of a sensor.
func (j *Jobs) Alarms(ctx context.Context) error {
	var beat atomic.Int64 // the last one recorded, in Unix nanoseconds
	var g errgroup.Group
	g.Go(func() error {
		return j.loop(ctx, "ingest beat", 0, func(ctx context.Context) (time.Duration, error) {
			now := time.Now()
			if err := j.store.BeatIngest(ctx, now); err != nil {
				return store.IngestBeatInterval, err
			}
			beat.Store(now.UnixNano())
			return store.IngestBeatInterval, nil
		})
	})
	g.Go(func() error {
		return j.loop(ctx, "alarm sweep", 0, func(ctx context.Context) (time.Duration, error) {
			now := time.Now()
			if now.Sub(time.Unix(0, beat.Load())) > store.MaxBeatPause {
				// how long the sensors could not be heard is not known yet
				return sweepInterval, nil
			}
			_, err := j.store.SweepAlarms(ctx, now)
			return sweepInterval, err
		})
	})
	return g.Wait()
}
