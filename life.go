package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// life starts the parts of the program and ends them one by one. A part that ends by itself ends
// everything.
type life struct {
	ctx  context.Context // ends when the program shall
	fail context.CancelCauseFunc

	mu   sync.Mutex
	errs []error
}

func newLife(ctx context.Context) *life {
	l := &life{}
	l.ctx, l.fail = context.WithCancelCause(ctx)
	return l
}

// start runs a part until the returned stop is called, which waits for its end. Parts started later
// are stopped earlier.
func (l *life) start(name string, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(l.ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := run(ctx)
		if ctx.Err() == nil { // nobody asked it to
			err = fmt.Errorf("%s ended: %w", name, errors.Join(err, errEndedEarly))
		}
		if err != nil {
			l.mu.Lock()
			l.errs = append(l.errs, err)
			l.mu.Unlock()
			l.fail(err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

var errEndedEarly = errors.New("it should not have")

// err is everything that went wrong.
func (l *life) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.errs...)
}
