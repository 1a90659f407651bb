package jobs

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	purgeInterval = 10 * time.Second
	// firstCleanup comes soon: an instance that never runs for an hour has to clean up too.
	firstCleanup    = time.Minute
	cleanupInterval = time.Hour
)

// Kept is for how long records are kept.
type Kept struct {
	Rejections, Deliveries time.Duration
}

// Housekeeping purges the readings of deleted sensors, makes partitions ahead of time, and removes
// ended login sessions, expired idempotency keys, old rejections and old deliveries.
func (j *Jobs) Housekeeping(ctx context.Context, kept Kept) error {
	var g errgroup.Group
	g.Go(func() error {
		return j.loop(ctx, "purge", purgeInterval,
			func(ctx context.Context) (time.Duration, error) {
				return purgeInterval, j.store.PurgeDeletedSensors(ctx)
			})
	})
	g.Go(func() error {
		return j.loop(ctx, "cleanup", firstCleanup,
			func(ctx context.Context) (time.Duration, error) {
				return cleanupInterval, errors.Join(
					j.store.EnsurePartitions(ctx),
					j.store.DeleteExpiredSessions(ctx),
					j.store.DeleteExpiredIdempotencyKeys(ctx),
					j.store.DeleteExpiredRejections(ctx, kept.Rejections),
					j.store.DeleteExpiredDeliveries(ctx, kept.Deliveries),
				)
			})
	})
	return g.Wait()
}
