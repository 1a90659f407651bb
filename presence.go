package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/oei-ms/oei-ms/ingest"
	"github.com/oei-ms/oei-ms/internal/broker"
	"github.com/oei-ms/oei-ms/push"
	"github.com/oei-ms/oei-ms/store"
)

// leaveTime is how long it may take to say that an instance ends.
const leaveTime = 2 * time.Second

// keepPresence tells the other instances that this one, with its broker, is there, and everybody of
// gateways whose instance is not, until ctx ends: then nobody knows of those that were connected
// here, until they are somewhere else.
func keepPresence(
	ctx context.Context, st *store.Store, hub *push.Hub, broker *broker.Broker, log *slog.Logger,
) error {
	tick := time.NewTicker(store.InstanceBeat)
	defer tick.Stop()
	failing := false
	for ctx.Err() == nil {
		lost, missed, err := st.KeepPresence(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			log.WarnContext(ctx,
				"cannot tell other instances that this one is there, it is tried again", "error",
				err)
		}
		failing = err != nil
		announce(hub)(ingest.Committed{Presence: lost})
		if missed {
			broker.Announce()
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	lost, err := st.LeavePresence(leaving)
	if err != nil { // the others find out by themselves
		log.WarnContext(leaving, "cannot tell other instances that this one ends", "error", err)
	}
	announce(hub)(ingest.Committed{Presence: lost})
	return nil
}
