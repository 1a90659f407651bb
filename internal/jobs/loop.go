package jobs

import (
	"context"
	"time"
)

// loop calls pass until ctx ends: for the first time after first, then after the pause that pass
// returns. Of failures that follow each other it logs and counts each, but warns of the first only.
func (j *Jobs) loop(
	ctx context.Context, name string, first time.Duration,
	pass func(context.Context) (pause time.Duration, err error),
) error {
	failed := false
	for pause := first; sleep(ctx, pause); {
		var err error
		pause, err = pass(ctx)
		if err != nil && ctx.Err() == nil {
			j.failures.WithLabelValues(name).Inc()
			if failed {
				j.log.DebugContext(ctx, "job failed again, retrying", "job", name, "error", err)
			} else {
				j.log.WarnContext(ctx, "job failed, retrying", "job", name, "error", err)
			}
		}
		failed = err != nil
	}
	return nil
}

// sleep waits for d, and reports false when ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
