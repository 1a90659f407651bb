package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// group starts the parts of the program, and stops them in reverse order. A part that ends by
// itself ends the group.
type group struct {
	ctx  context.Context // ends when the program shall stop
	fail context.CancelCauseFunc

	cleanups []func() error

	mu   sync.Mutex
	errs []error
}

func newGroup(ctx context.Context) *group {
	g := &group{}
	g.ctx, g.fail = context.WithCancelCause(ctx)
	return g
}

// start runs a part, whose context ends when it is its turn to stop.
func (g *group) start(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(g.ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := run(ctx)
		if ctx.Err() == nil { // it was not stopped
			err = errors.Join(err, errEndedEarly)
		}
		if err != nil {
			g.add(fmt.Errorf("%s: %w", name, err))
		}
	}()
	g.onStop(func() error {
		cancel()
		<-done
		return nil
	})
}

// onStop has cleanup called after every part that is started later has stopped.
func (g *group) onStop(cleanup func() error) { g.cleanups = append(g.cleanups, cleanup) }

// stop stops everything and returns all that failed since the start.
func (g *group) stop() error {
	for _, cleanup := range slices.Backward(g.cleanups) {
		if err := cleanup(); err != nil {
			g.add(err)
		}
	}
	g.fail(nil)
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.errs...)
}

// add records an error and ends the group.
func (g *group) add(err error) {
	g.mu.Lock()
	g.errs = append(g.errs, err)
	g.mu.Unlock()
	g.fail(err)
}

var errEndedEarly = errors.New("ended without being stopped")
