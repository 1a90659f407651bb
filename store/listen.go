package store

import (
	"context"
	"fmt"
	"time"

	"github.com/lib/pq"
)

// listen calls notified with the payload of each notification on channel until ctx ends. It calls
// it with an empty payload first, and each time notifications may have been missed.
func (s *Store) listen(ctx context.Context, channel string, notified func(payload string)) error {
	dsn, err := withTLS(s.dsn)
	if err != nil {
		return err
	}
	l := pq.NewListener(dsn, 100*time.Millisecond, 5*time.Second,
		func(e pq.ListenerEventType, err error) {
			if err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "database notifications interrupted", "error", err)
			}
		})
	defer l.Close()
	listening := make(chan error, 1)
	go func() { listening <- l.Listen(channel) }() // waits for a connection; Close ends it
	ping := time.NewTicker(30 * time.Second)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-listening:
			if err != nil {
				return fmt.Errorf("listen on %s: %w", channel, err)
			}
			notified("")
		case n := <-l.Notify:
			if n == nil { // connected again
				notified("")
				continue
			}
			notified(n.Extra)
		case <-ping.C:
			go func() { _ = l.Ping() }() // detects a connection that broke silently
		}
	}
}
