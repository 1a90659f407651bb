package jobs

import (
	"context"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

// leaveTimeout bounds telling the other instances that this one ends.
const leaveTimeout = 2 * time.Second

// Presence tells the other instances that this one and its broker run, until ctx ends. It passes
// gateways whose instance has gone to lost, and calls announce when this instance was taken for
// gone: its connections have to be made known again.
func (j *Jobs) Presence(
	ctx context.Context, lost func([]store.Presence), announce func(),
) error {
	err := j.loop(ctx, "presence", 0, func(ctx context.Context) (time.Duration, error) {
		gone, missed, err := j.store.BeatInstance(ctx)
		lost(gone)
		if missed {
			announce()
		}
		return store.InstanceBeatInterval, err
	})
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
	defer cancel()
	gone, leaveErr := j.store.RemoveInstance(leaving)
	if leaveErr != nil { // the others find out by themselves
		j.log.WarnContext(leaving, "presence not withdrawn", "error", leaveErr)
	}
	lost(gone)
	return err
}
