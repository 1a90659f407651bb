package push

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// sessionCheckInterval and sessionCheckTimeout together let the connections of a session that
	// has ended live for less than 5 s.
	sessionCheckInterval = 2 * time.Second
	sessionCheckTimeout  = 2 * time.Second
	maxSessionChecks     = 8 // concurrent
)

// session is what Check is asked about once, however many connections it has.
type session struct {
	owner owner
	id    string
}

// checkSessionsLoop ends the connections of sessions that have ended, until ctx ends.
func (h *Hub) checkSessionsLoop(ctx context.Context) error {
	tick := time.NewTicker(sessionCheckInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			h.checkSessions(ctx)
		}
	}
}

func (h *Hub) checkSessions(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sessionCheckTimeout)
	defer cancel()
	sessions := make(map[session]Identity)
	for _, c := range h.connections() {
		if id := c.identity.Load(); id != nil {
			sessions[session{id.owner(), id.SessionID}] = *id
		}
	}
	var checks errgroup.Group
	checks.SetLimit(maxSessionChecks)
	for s, id := range sessions {
		checks.Go(func() error {
			err := h.deps.Auth.Check(ctx, id)
			if errors.Is(err, ErrNotAuthenticated) {
				h.endWhere(func(id Identity) bool { return s == session{id.owner(), id.SessionID} })
				return nil
			}
			return err
		})
	}
	if err := checks.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		h.log.WarnContext(ctx, "session check failed, retrying", "sessions", len(sessions),
			"error", err)
	}
}
