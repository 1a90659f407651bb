package push

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	tendEvery  = 500 * time.Millisecond // deadlines, pings
	checkEvery = 2 * time.Second        // from one round of Check to the next
	// for a round; together a session that ends loses its connections within 5 s
	checkWithin = 2 * time.Second
	checkers    = 8 // at once
)

// Run keeps the connections: deadlines, pings, sessions that have ended. When ctx ends it closes
// them all with 1001, waits for their goroutines and returns nil; a hub does not run twice.
func (h *Hub) Run(ctx context.Context) error {
	var loops errgroup.Group
	loops.Go(func() error { return h.tend(ctx) })
	loops.Go(func() error { return h.recheck(ctx) })
	loops.Go(func() error { return h.followAlarms(ctx) })
	_ = loops.Wait() // they end with ctx only

	h.mu.Lock()
	h.stopped = true
	h.mu.Unlock()
	for _, c := range h.all() {
		c.end(CloseGoingAway, "the server is stopping")
	}
	h.cancel()
	h.pumps.Wait()
	return nil
}

func (h *Hub) tend(ctx context.Context) error {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			for _, c := range h.all() {
				c.tend(now)
			}
		}
	}
}

func (h *Hub) recheck(ctx context.Context) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			h.checkAll(ctx)
		}
	}
}

// session is what Check is asked about once, however many connections it has.
type session struct {
	user int64
	id   string
}

func (h *Hub) checkAll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	sessions := make(map[session]Identity)
	for _, c := range h.all() {
		if id := c.identity.Load(); id != nil {
			sessions[session{id.UserID, id.SessionID}] = *id
		}
	}
	var checks errgroup.Group
	checks.SetLimit(checkers)
	for s, id := range sessions {
		checks.Go(func() error {
			err := h.deps.Auth.Check(ctx, id)
			if errors.Is(err, ErrNotAuthenticated) {
				h.endWhere(func(id Identity) bool { return s == session{id.UserID, id.SessionID} },
					"the session has ended")
				return nil
			}
			return err
		})
	}
	if err := checks.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		h.log.WarnContext(ctx, "check sessions of live connections", "sessions", len(sessions),
			"error", err)
	}
}
