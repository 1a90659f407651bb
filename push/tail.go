package push

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	followEvery = time.Second // without a hint
	pageSize    = 500         // events read at once
	recentSize  = 4096        // events kept for those who come back
	askers      = 4           // questions to the database at once
)

// AlarmEvent is one line of the alarm log. Its offset is the next above the one before it.
type AlarmEvent struct {
	Offset   int64
	Severity string
	JSON     []byte // as the contract has it
}

// ActiveAlarm is an alarm that is not normal.
type ActiveAlarm struct {
	Severity string
	JSON     []byte // as the contract has it
}

// AlarmLog reads the alarm log. Epoch names the log: offsets of another one mean nothing. Its
// functions are called by many goroutines at once.
type AlarmLog struct {
	// Events returns the first events after an offset, at most limit, in order. When the log does
	// not reach back so far they begin where it does.
	Events func(ctx context.Context, after int64, limit int) (epoch string, events []AlarmEvent,
		err error)
	// Active returns the alarms that are not normal as they are after the event with the returned
	// offset.
	Active func(ctx context.Context) (epoch string, offset int64, alarms []ActiveAlarm, err error)
}

// errGap means that the log does not hold what has to come next.
var errGap = errors.New("the alarm log does not go on from there")

// tail is the end of the alarm log as far as this instance has read it. What it knows is written
// before any connection is offered it, so that one which joins first and looks then misses nothing.
type tail struct {
	hint chan struct{} // has a token when there may be more

	mu     sync.Mutex
	known  bool
	epoch  string
	last   int64
	recent []*update // contiguous, up to last
}

func newTail() tail { return tail{hint: make(chan struct{}, 1)} }

func (t *tail) position() (epoch string, last int64, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.epoch, t.last, t.known
}

// reset has the tail begin behind offset.
func (t *tail) reset(epoch string, offset int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.known, t.epoch, t.last, t.recent = true, epoch, offset, nil
}

func (t *tail) extend(us []*update) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recent = append(t.recent, us...)
	if n := len(t.recent); n > 2*recentSize {
		t.recent = append([]*update(nil), t.recent[n-recentSize:]...)
	}
	t.last = us[len(us)-1].offset
}

// after returns the events behind offset, at most a page, when they are remembered.
func (t *tail) after(epoch string, offset int64) ([]*update, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := t.last - int64(len(t.recent)) // the offset before the first one remembered
	if epoch != t.epoch || offset < first || offset >= t.last {
		return nil, false
	}
	from := int(offset - first)
	return t.recent[from:min(from+pageSize, len(t.recent))], true
}

// ReadAlarms says that the alarm log may have grown: it is read and what is new goes to everyone
// who listens. It never blocks.
func (h *Hub) ReadAlarms() {
	select {
	case h.tail.hint <- struct{}{}:
	default:
	}
}

// followAlarms gives everyone who listens what the log brings, until ctx ends. Hints make it quick,
// but it does without.
func (h *Hub) followAlarms(ctx context.Context) error {
	if h.deps.AlarmLog == nil {
		return nil
	}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for failing := false; ; {
		err := h.advance(ctx)
		switch {
		case err != nil && !failing && ctx.Err() == nil:
			h.log.WarnContext(ctx, "read the alarm log", "error", err)
		case err == nil && failing:
			h.log.InfoContext(ctx, "the alarm log is read again")
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-h.tail.hint:
		}
	}
}

// advance reads the log to its end.
func (h *Hub) advance(ctx context.Context) error {
	epoch, last, known := h.tail.position()
	if !known {
		epoch, offset, _, err := h.active(ctx)
		if err != nil {
			return err
		}
		h.tail.reset(epoch, offset)
		return nil
	}
	for {
		us, err := h.events(ctx, epoch, last)
		switch {
		case errors.Is(err, errGap):
			return h.startOver(ctx)
		case err != nil:
			return err
		case len(us) == 0:
			return nil
		}
		last = us[len(us)-1].offset
		h.tail.extend(us)
		h.mu.RLock()
		to := h.topics[Topic{Kind: followers}]
		h.mu.RUnlock()
		for _, u := range us {
			for l := range to.all() {
				if !l.c.lane.offerAlarm(u) {
					l.c.end(CloseBehind,
						"alarm events are not being taken; resume from the last one")
				}
			}
		}
		if len(us) < pageSize {
			return nil
		}
	}
}

// startOver begins a log that is not the one before, or has lost events that were not read:
// everyone has to resynchronize.
func (h *Hub) startOver(ctx context.Context) error {
	epoch, offset, _, err := h.active(ctx)
	if err != nil {
		return err
	}
	h.tail.reset(epoch, offset)
	h.mu.RLock()
	to := h.topics[Topic{Kind: followers}]
	h.mu.RUnlock()
	for l := range to.all() {
		l.c.lane.learn(1<<63 - 1) // the writer finds that nothing goes on from where it is
	}
	return nil
}

// events reads a page of the log of that epoch behind offset, or returns errGap.
func (h *Hub) events(ctx context.Context, epoch string, after int64) ([]*update, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	now, es, err := h.deps.AlarmLog.Events(ctx, after, pageSize)
	if err != nil {
		return nil, fmt.Errorf("events after %d: %w", after, err)
	}
	if now != epoch {
		return nil, errGap
	}
	us := make([]*update, len(es))
	for i, e := range es {
		if e.Offset != after+1+int64(i) {
			return nil, errGap
		}
		us[i] = &update{
			about:    Topic{Kind: Alarms},
			offset:   e.Offset,
			severity: severityBit(e.Severity),
			json:     appendAlarm(nil, epoch, e),
		}
	}
	return us, nil
}

func (h *Hub) active(
	ctx context.Context,
) (epoch string, offset int64, alarms []ActiveAlarm, err error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	if epoch, offset, alarms, err = h.deps.AlarmLog.Active(ctx); err != nil {
		err = fmt.Errorf("active alarms: %w", err)
	}
	return epoch, offset, alarms, err
}

// askEvents and askActive do the same for one connection, when it is its turn.
func (h *Hub) askEvents(ctx context.Context, epoch string, after int64) ([]*update, error) {
	release, err := h.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	return h.events(ctx, epoch, after)
}

func (h *Hub) askActive(
	ctx context.Context,
) (epoch string, offset int64, alarms []ActiveAlarm, err error) {
	release, err := h.ask(ctx)
	if err != nil {
		return "", 0, nil, err
	}
	defer release()
	return h.active(ctx)
}

// ask waits for its turn to ask the database: many who come back at once are not to take every
// connection there is.
func (h *Hub) ask(ctx context.Context) (release func(), err error) {
	select {
	case h.asking <- struct{}{}:
		return func() { <-h.asking }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
